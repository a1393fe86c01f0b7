"""A whole fit on the pretended device: the CPU's result, and what an iteration costs."""

import dataclasses

import pytest
import torch

from ops.fit import FitConfig, FitInput, FitModels, FitResult, LearningRates, fit_faces, preset, render_fit
from ops.fit.regression import with_identity_prior
from ops.fit.stage_one import fit_stage_one, hold_identity
from ops.weights.bundle import ModelBundle
from pipeline.stages.models import load_fit_models
from tests.gpu.conftest import SIDE
from tests.support.iteration_costs import counted_iterations
from tests.support.pretended_cuda import PretendedCuda, to_cuda

TOLERANCES = {"identity": 5e-3, "texture": 5e-3, "expression": 5e-3, "camera": 0.1, "light": 5.0, "loss_total": 1e-2}
"""Of what a few steps reach on the two devices; millimetres for camera and light."""
TURNED = {"landmarks": 0.01, "regressor": 0.05}
"""Share of values that may end elsewhere, by what a fit starts from: Adam's first step is the sign of a gradient, and
where that is zero to rounding, rounding decides."""

KERNELS_AN_ITERATION = 1000
"""Of the embedded models under the default preset, whatever the batch."""
MEGABYTES_AN_IMAGE = 180.0
"""Of images of 96 pixels a side."""


def few_steps(method: str) -> FitConfig:
    """Of a short length, so that a turned one has little effect on those that follow; from the population's prior."""
    base = preset("default").by(method)  # type: ignore[arg-type]
    steps = 3 if method == "ganfit" else 1
    short = dataclasses.replace(base, steps=steps, learning_rates=LearningRates(), identity_prior="population")
    return dataclasses.replace(short, landmark_steps=3, views=2, render_px=SIDE)


def assert_close(found: FitResult, expected: FitResult, turned: float = 0.0) -> None:
    for name, tolerance in TOLERANCES.items():
        apart = (getattr(found, name) - getattr(expected, name)).abs() > tolerance
        assert apart.float().mean() <= turned, f"{name}: {int(apart.sum())} of {apart.numel()} differ"
    assert not found.diverged.any()


@pytest.fixture(scope="module", params=["ganfit", "ganfit++"])
def on_the_cpu(models: FitModels, inputs: FitInput, request: pytest.FixtureRequest) -> tuple[FitConfig, FitResult]:
    config = few_steps(request.param)
    return config, fit_faces(models, inputs, config)


def test_a_few_steps_end_where_the_cpu_ends_without_waiting(
    on_the_cpu: tuple[FitConfig, FitResult],
    inputs: FitInput,
    embedded: ModelBundle,
    cuda: PretendedCuda,
) -> None:
    config, expected = on_the_cpu
    models = load_fit_models.__wrapped__(embedded, "cuda")
    fit_faces(models, to_cuda(inputs), config)  # constants are copied to the device once in a process
    with counted_iterations(cuda) as costs:
        found = fit_faces(models, to_cuda(inputs), config)
    assert_close(found, expected, turned=TURNED[config.start])
    launches, waits, moved = costs[-1]
    assert waits == {}
    assert launches.total() <= KERNELS_AN_ITERATION
    assert moved / len(inputs.images) / 1e6 <= MEGABYTES_AN_IMAGE
    assert render_fit(to_cuda(inputs), found).render.device.type == "cpu"


def test_recognition_in_bfloat16_ends_near_the_cpu_and_moves_fewer_bytes(
    models: FitModels, inputs: FitInput, embedded: ModelBundle
) -> None:
    config = dataclasses.replace(few_steps("ganfit"), recognition_precision="bfloat16")
    expected = fit_faces(models, inputs, config)
    moved: dict[str, int] = {}
    for precision in ("float32", "bfloat16"):
        with PretendedCuda() as cuda:
            on_cuda = load_fit_models.__wrapped__(embedded, "cuda")
            found = fit_faces(on_cuda, to_cuda(inputs), dataclasses.replace(config, recognition_precision=precision))
            moved[precision] = cuda.bytes
    torch.testing.assert_close(found.loss_total, expected.loss_total, rtol=0.02, atol=0)
    assert not found.diverged.any()
    assert moved["bfloat16"] < moved["float32"]


@pytest.mark.parametrize("usable", [(True, True, True), (True, False, True), (False, False, False)])
def test_identities_are_held_as_on_the_cpu(
    models: FitModels, inputs: FitInput, embedded: ModelBundle, usable: tuple[bool, ...]
) -> None:
    start, _ = fit_stage_one(models, inputs, few_steps("ganfit"))
    expected = hold_identity(models, inputs, start, torch.tensor(usable))
    with PretendedCuda():
        on_cuda = load_fit_models.__wrapped__(embedded, "cuda")
        found = hold_identity(on_cuda, to_cuda(inputs), to_cuda(start), to_cuda(torch.tensor(usable)))
        precision = found.precision.cpu()
    torch.testing.assert_close(precision, expected.precision, rtol=1e-4, atol=1e-4)
    held = precision.flatten(1).any(-1)
    assert held.tolist() == list(usable)


def test_stage_one_takes_the_regressors_answer_as_on_the_cpu(
    models: FitModels, inputs: FitInput, embedded: ModelBundle
) -> None:
    config = dataclasses.replace(few_steps("ganfit"), identity_prior="regressor")
    told = with_identity_prior(models, inputs, config)
    expected, _ = fit_stage_one(models, told, config)
    with PretendedCuda():
        on_cuda = load_fit_models.__wrapped__(embedded, "cuda")
        found_prior = with_identity_prior(on_cuda, to_cuda(inputs), config)
        found, _ = fit_stage_one(on_cuda, found_prior, config)
        assert found_prior.identity_prior is not None
        prior = found_prior.identity_prior.to("cpu")
        identity = found.identity.cpu()
    assert told.identity_prior is not None
    assert float(told.identity_prior.mean.abs().max()) > 0.1
    torch.testing.assert_close(prior.mean, told.identity_prior.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior.precision, told.identity_prior.precision)
    torch.testing.assert_close(identity, expected.identity, rtol=1e-3, atol=1e-3)


def test_a_person_ends_where_it_ends_alone(inputs: FitInput, embedded: ModelBundle) -> None:
    config = dataclasses.replace(few_steps("ganfit"), steps=2)
    alone = inputs.rows(slice(2))
    with PretendedCuda():
        models = load_fit_models.__wrapped__(embedded, "cuda")
        expected, together = (fit_faces(models, to_cuda(some), config) for some in (alone, inputs))
    for name in ("identity", "texture", "expression", "camera", "identity_similarity", "loss_total"):
        mine = getattr(expected, name)
        torch.testing.assert_close(getattr(together, name)[: len(mine)], mine, rtol=1e-4, atol=1e-4, msg=name)


def test_between_reviews_finished_people_stay_as_they_are(
    models: FitModels, inputs: FitInput, embedded: ModelBundle
) -> None:
    """Early stopping ends every image at the CPU's iteration, though a GPU lets go of it later."""
    config = dataclasses.replace(
        preset("default"),
        steps=5,
        landmark_steps=2,
        views=1,
        render_px=SIDE,
        second_render=False,
        early_stop_window=2,
        early_stop_tolerance=0.9,
        learning_rates=LearningRates(),
    )
    expected = fit_faces(models, inputs, config)
    with PretendedCuda():
        found = fit_faces(load_fit_models.__wrapped__(embedded, "cuda"), to_cuda(inputs), config)
    assert max(expected.iterations.tolist()) < 5
    assert found.iterations.tolist() == expected.iterations.tolist()
    assert_close(found, expected)
