from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ops.fit import FitConfig, FitModels, preset
from ops.fit.objective import FitLosses, Objective
from ops.fit.parameters import FitParameters
from ops.fit.stage_one import fit_stage_one
from ops.networks.recognition import Recognition

Photographs = Callable[..., Any]


def without(*terms: str) -> FitConfig:
    config = replace(preset("default"), views=2)
    return replace(config, weights=replace(config.weights, **dict.fromkeys(terms, 0.0)))


def loss_and_gradient(objective: Objective, parameters: FitParameters) -> tuple[Tensor, list[Tensor]]:
    leaves = parameters.apply(lambda v: v.clone().requires_grad_())
    loss = objective(leaves, objective.everyone(), 1).total(objective.config)
    return loss.detach(), list(torch.autograd.grad(loss.sum(), list(leaves), materialize_grads=True))


def test_a_term_left_out_is_not_in_the_loss_and_its_value_is_unknown(
    models: FitModels, photographs: Photographs
) -> None:
    inputs = photographs(1, 1, seed=4).inputs
    full, ablated = (
        Objective(models, inputs, without(*terms)) for terms in ((), ("content", "pixel", "identity_second"))
    )
    with torch.no_grad():
        parameters = fit_stage_one(models, inputs, full.config)[0]
        every, some = (objective(parameters, objective.everyone(), 1) for objective in (full, ablated))
    weights = full.config.weights
    rest = weights.content * every.content + weights.pixel * every.pixel + every.identity_second * 2.0
    torch.testing.assert_close(some.total(ablated.config), every.total(full.config) - rest)
    torch.testing.assert_close(some.identity, every.identity)
    assert all(torch.isnan(value).all() for value in (some.content, some.pixel, some.identity_second))
    _, gradient = loss_and_gradient(ablated, parameters)
    assert all(torch.isfinite(value).all() for value in gradient)
    assert gradient[0].abs().sum() > 0


def test_recognition_is_asked_for_nothing_that_does_not_count(models: FitModels, photographs: Photographs) -> None:
    inputs = photographs(1, 1, seed=4).inputs
    shown: list[int] = []

    def recognise(images: Tensor) -> Recognition:
        shown.append(len(images))
        return models.recognition(images)

    watched = replace(models, recognition=recognise)
    faces = {(): 2, ("identity_second",): 1, ("identity", "content"): 1, ("identity", "identity_second", "content"): 0}
    for terms, expected in faces.items():
        objective = Objective(watched, inputs, without(*terms))
        with torch.no_grad():
            parameters = fit_stage_one(watched, inputs, objective.config)[0]
            shown.clear()
            objective(parameters, objective.everyone(), 1)
        assert sum(shown) == expected, terms


def test_recognition_in_bfloat16_computes_the_same_loss_and_reports_in_float32(
    models: FitModels, photographs: Photographs
) -> None:
    inputs = photographs(1, 1, seed=4).inputs
    full, reduced = (
        Objective(models, inputs, replace(without(), recognition_precision=precision))
        for precision in ("float32", "bfloat16")
    )
    parameters = fit_stage_one(models, inputs, full.config)[0]
    expected, slope = loss_and_gradient(full, parameters)
    found, reduced_slope = loss_and_gradient(reduced, parameters)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)
    for name in ("identity", "texture", "camera"):
        place = FitParameters._fields.index(name)
        assert torch.cosine_similarity(slope[place], reduced_slope[place]).min() > 0.98, name
    with torch.no_grad():
        shown = [one.render_first(parameters, one.everyone()).composite for one in (full, reduced)]
        similarities = [one.similarity(one.everyone(), shown[0]) for one in (full, reduced)]
    assert torch.equal(*shown)
    torch.testing.assert_close(*similarities)


def test_readings_of_the_published_terms(models: FitModels, photographs: Photographs) -> None:
    inputs = photographs(1, 1, seed=4).inputs
    read = replace(without("content", "identity", "identity_second"), pixel_range=255.0, landmark_term="squares")
    plain, other = (Objective(models, inputs, config) for config in (without(*FitLosses._fields[:3]), read))
    with torch.no_grad():
        parameters = fit_stage_one(models, inputs, plain.config)[0]
        expected, found = (one(parameters, one.everyone(), 1) for one in (plain, other))
    torch.testing.assert_close(found.pixel, 255 * expected.pixel)
    torch.testing.assert_close(found.landmark, expected.landmark.square())


def test_no_second_render_no_term_of_it() -> None:
    config = without("texture")
    assert "identity_second" in config.terms()
    assert "identity_second" not in replace(config, second_render=False).terms()
    assert "texture" not in config.terms()


def test_images_of_a_person_share_the_prior_of_its_texture_up_to_a_number(
    models: FitModels, photographs: Photographs
) -> None:
    config = preset("default")
    inputs = photographs(6, 1, seed=4).inputs._replace(group=torch.tensor([0, 1, 1, 1, 2, 1]))
    with torch.no_grad():
        parameters = fit_stage_one(models, inputs, config)[0]
        parameters = parameters._replace(texture=torch.ones_like(parameters.texture))
        terms = {}
        for most in (1, 3, 4):
            objective = Objective(models, inputs, replace(config, images_that_share_texture_prior=most))
            terms[most] = objective(parameters, objective.everyone(), 0).texture / parameters.texture.shape[1]
    for most, share in ((1, 1.0), (3, 1 / 3), (4, 1 / 4)):
        torch.testing.assert_close(terms[most], torch.tensor([1.0, share, share, share, 1.0, share]))
    spoilt = inputs.images.clone()
    spoilt[5] = torch.nan
    shares = Objective(models, inputs._replace(images=spoilt), config).texture_prior
    torch.testing.assert_close(shares, torch.tensor([1.0, 1 / 3, 1 / 3, 1 / 3, 1.0, 1 / 3]))
