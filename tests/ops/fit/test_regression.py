import dataclasses
from typing import Literal

import pytest
import torch

from ops.errors import ConfigurationError
from ops.face.dense_points import choose_dense_points
from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.face.prior import CameraLightPrior
from ops.faceworld.shape import faceworld_model
from ops.fit import FitInput, FitModels, LearningRates, fit_faces, preset
from ops.fit.objective import Objective, with_dense_points, with_recognition
from ops.fit.parameters import to_camera
from ops.fit.regression import (
    identity_points,
    mean_start,
    new_regressor,
    regress,
    reliable_landmarks,
    start_from_regressor,
    with_identity_prior,
)
from ops.fit.stage_one import fit_stage_one
from ops.geometry.camera import project_points
from ops.networks.dense_landmarks import DenseLandmarks, DenseNetwork
from ops.networks.regressor import Regressor
from ops.texture.pca import PcaTexture
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_recognition

SIDE = 150


@pytest.fixture(scope="module")
def models() -> FitModels:
    """The face world under a small texture, with a regressor that knows nothing."""
    rng = torch.Generator().manual_seed(2)
    shape = faceworld_model()
    texture = PcaTexture(
        mean=torch.full((3, 32, 32), 0.5),
        basis=0.05 * torch.randn(6, 3, 32, 32, generator=rng),
        uv_layout=shape.metadata.uv_layout,
    )
    recognition = load_recognition(resolve_bundle("embedded").recognition)
    models = FitModels(shape=shape, texture=texture, recognition=recognition, prior=CameraLightPrior())
    torch.manual_seed(0)
    return dataclasses.replace(models, regressor=new_regressor(models).eval().requires_grad_(False))


@pytest.fixture
def inputs(models: FitModels, rng: torch.Generator) -> FitInput:
    landmarks = mean_start(models.shape).landmarks + 0.01 * torch.randn(3, 68, 2, generator=rng)
    return FitInput(
        images=torch.rand(3, 3, SIDE, SIDE, generator=rng),
        valid=torch.ones(3, SIDE, SIDE, dtype=torch.bool),
        landmarks_px=landmarks * SIDE,
        group=torch.tensor([0, 0, 1]),
        seeds=torch.arange(3),
    )


def test_the_mean_start_sees_the_mean_face_in_the_crop(models: FitModels) -> None:
    shape, start = models.shape, mean_start(models.shape)
    camera = to_camera(start.camera[None])
    seen = project_points(camera, choose_landmarks(shape.mean_mm[landmark_vertices(shape)][None], camera))[0]
    eyes = (start.landmarks[36] - start.landmarks[45]).norm()
    assert float((seen - start.landmarks).norm(dim=-1).mean() / eyes) < 0.02
    assert start.landmarks.min() > 0
    assert start.landmarks.max() < 1


def test_without_steps_the_answer_of_the_regressor_is_the_result(models: FitModels, inputs: FitInput) -> None:
    assert models.regressor is not None
    taught = _taught(models)
    config = dataclasses.replace(preset("default"), render_px=SIDE, steps=0, start="regressor")
    result = fit_faces(taught, inputs, config)
    answer = regress(taught, inputs.images, inputs.landmarks_px / SIDE)
    assert float(answer.identity.abs().max()) > 0.1
    torch.testing.assert_close(result.identity[0], answer.identity[:2].mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result.texture[1], answer.texture[2], atol=1e-4, rtol=1e-4)
    assert result.iterations.tolist() == [0, 0, 0]
    assert not bool(result.diverged.any())


def test_an_answer_is_measured_as_any_fit_is(models: FitModels, inputs: FitInput) -> None:
    """What has been looked at already gives what looking again does."""
    taught = _taught(models)
    config = dataclasses.replace(preset("default"), render_px=SIDE, views=2).by("fastganfit")
    result = fit_faces(taught, inputs, config)
    looked = with_recognition(taught, inputs)
    objective = Objective(taught, looked, config)
    assert objective.sees_straight(config.steps)
    parameters, _ = start_from_regressor(taught, looked)
    for again, once in zip(start_from_regressor(taught, inputs)[0], parameters, strict=True):
        assert torch.equal(again, once)
    for image in range(len(inputs.group)):
        rows = slice(image, image + 1)
        targets = objective.targets(rows)
        shown = objective.render_first(parameters.apply(lambda value, r=rows: value[r]), targets).composite
        assert float(objective.similarity(targets, shown)) == float(result.identity_similarity[image])


def test_a_regressor_may_answer_identities_to_dense_points(models: FitModels, inputs: FitInput) -> None:
    """The landmarks then decide the rest; without a network it says what is missing."""
    taught = _taught(models)
    assert taught.regressor is not None
    taught.regressor.points = "dense"
    config = dataclasses.replace(preset("default"), render_px=SIDE).by("fastganfit")
    with pytest.raises(ConfigurationError, match="add the role dense_landmarks"):
        fit_faces(taught, inputs, config)
    torch.manual_seed(1)
    seeing = dataclasses.replace(taught, dense=DenseLandmarks(DenseNetwork(choose_dense_points(models.shape)).eval()))
    looked = with_dense_points(seeing, inputs, config)
    assert looked.dense is not None
    moved = looked._replace(landmarks_px=inputs.landmarks_px + 3)
    given = identity_points(seeing, looked, config)
    assert given is not None
    assert torch.equal(given[:, 17:], looked.dense.points[:, 17:68].float())
    before, after = (start_from_regressor(seeing, seen, given)[0] for seen in (looked, moved))
    assert torch.equal(before.identity, after.identity)
    assert not torch.equal(before.camera, after.camera)
    camera = to_camera(before.camera)
    vertices = models.shape.vertices_mm(before.identity, before.expression)[:, landmark_vertices(models.shape)]
    seen = project_points(camera, choose_landmarks(vertices, camera))
    assert float((seen - inputs.landmarks_px / SIDE).norm(dim=-1).mean()) < 0.05
    assert identity_points(seeing, looked, preset("default")) is None  # stage one sees them itself
    torch.testing.assert_close(fit_faces(seeing, inputs, config).identity[1], before.identity[2], atol=1e-4, rtol=1e-4)


def test_pixels_tell_a_texture_that_the_regressor_does_not_know(models: FitModels, inputs: FitInput) -> None:
    assert models.regressor is not None
    other = dataclasses.replace(models, regressor=_taught(models).regressor.without_texture(models.texture.latent_size))
    config = dataclasses.replace(preset("default"), render_px=SIDE, steps=0, start="regressor")
    found, known = fit_faces(other, inputs, config), fit_faces(_taught(models), inputs, config)
    assert found.texture.abs().max() > 0.01
    torch.testing.assert_close(found.identity, known.identity)
    torch.testing.assert_close(found.camera, known.camera)


def test_an_answer_that_is_not_finite_fails_alone(models: FitModels, inputs: FitInput) -> None:
    landmarks = inputs.landmarks_px.clone()
    landmarks[1] = torch.inf
    parameters, finite = start_from_regressor(_taught(models), inputs._replace(landmarks_px=landmarks))
    assert finite.tolist() == [True, False, True]
    alone, _ = start_from_regressor(_taught(models), inputs.rows(slice(1)))
    torch.testing.assert_close(parameters.identity[0], alone.identity[0])


def test_pictures_of_a_person_together_leave_less_open(models: FitModels, inputs: FitInput) -> None:
    taught = _taught(models)
    assert taught.regressor is not None
    before, _ = start_from_regressor(taught, inputs)
    taught.regressor.explained.fill_(0.5)
    taught.regressor.shared_error.fill_(0.2)
    after, _ = start_from_regressor(taught, inputs)
    torch.testing.assert_close(after.identity[:2], before.identity[:2] / (0.5 + 0.5 * (0.2 + 0.8 / 2)))
    torch.testing.assert_close(after.identity[2], before.identity[2])
    assert torch.equal(after.texture, before.texture)
    lost = inputs.landmarks_px.clone()
    lost[0] = torch.inf
    alone, finite = start_from_regressor(taught, inputs._replace(landmarks_px=lost))
    one, _ = start_from_regressor(taught, inputs.rows(slice(1, 2))._replace(group=torch.tensor([0])))
    assert finite.tolist() == [False, True, True]
    torch.testing.assert_close(alone.identity[1], one.identity[0])


def test_stage_one_starts_from_what_the_regressor_tells_of_an_identity(models: FitModels, inputs: FitInput) -> None:
    taught = _taught(models)
    assert taught.regressor is not None
    taught.regressor.explained.fill_(0.9)
    taught.regressor.shared_error.fill_(0.5)
    config = dataclasses.replace(preset("default"), render_px=SIDE)
    lost = inputs.landmarks_px.clone()
    lost[2] = torch.inf
    given = inputs._replace(landmarks_px=lost)
    answer, _ = start_from_regressor(taught, given)
    told = with_identity_prior(taught, given, config)
    prior = told.identity_prior
    assert prior is not None
    torch.testing.assert_close(prior.mean[:2], answer.identity[:2])
    torch.testing.assert_close(prior.precision[0], torch.full_like(prior.precision[0], 1 + 0.9 / (0.1 * 0.75)))
    assert (prior.mean[2] == 0).all()
    assert (prior.precision[2] == 1).all()
    assert with_identity_prior(taught, told, config) is told
    by_points, _ = fit_stage_one(taught, given, config)
    with_answer, _ = fit_stage_one(taught, told, config)
    away, before = ((fit.identity[0] - answer.identity[0]).norm() for fit in (with_answer, by_points))
    assert float(away) < 0.5 * float(before)
    for other in (config.by("fastganfit"), dataclasses.replace(config, identity_prior="population")):
        assert with_identity_prior(taught, given, other) is given
    assert with_identity_prior(dataclasses.replace(models, regressor=None), given, config) is given


def test_answers_stay_within_the_limits(models: FitModels, inputs: FitInput) -> None:
    wild = _taught(models, scale=100.0)
    parameters, _ = start_from_regressor(wild, inputs)
    assert float(parameters.texture.abs().max()) <= 3
    assert float(parameters.camera[:, 6].min()) >= 0.1
    assert float(parameters.light[:, 3:].min()) >= 0


def test_models_without_a_regressor_are_refused(models: FitModels, inputs: FitInput) -> None:
    config = dataclasses.replace(preset("default"), render_px=SIDE, steps=0, start="regressor")
    with pytest.raises(ConfigurationError, match="role regressor"):
        fit_faces(dataclasses.replace(models, regressor=None), inputs, config)


def test_a_method_is_a_start_and_a_number_of_steps() -> None:
    config = preset("default")
    assert config.method == "ganfit"
    assert config.by("ganfit") == config
    fast = config.by("fastganfit")
    assert (fast.method, fast.start, fast.steps, fast.second_render) == ("fastganfit", "regressor", 0, False)
    both = config.by("ganfit++")
    assert (both.method, both.start, both.steps) == ("ganfit++", "regressor", config.steps)
    assert dataclasses.replace(config, steps=8).by("ganfit++").steps == 8
    with pytest.raises(ConfigurationError, match=r"ganfit\+\+ optimises"):
        fast.by("ganfit++")


def test_scattered_landmarks_give_way_to_the_answers_own(models: FitModels, rng: torch.Generator) -> None:
    taught = _taught(models)
    assert taught.regressor is not None
    mean = mean_start(models.shape).landmarks
    faces = mean + torch.einsum("sk,kpc->spc", torch.randn(500, 4, generator=rng), _gestures(rng))
    taught.regressor.learn_plausible(faces + 0.001 * torch.randn(500, 68, 2, generator=rng))
    count = 3
    landmarks = faces[:count].clone()
    landmarks[1] += 0.03 * torch.randn(68, 2, generator=rng)
    landmarks[2] += torch.tensor((0.02, 0.01))
    inputs = FitInput(
        images=torch.rand(count, 3, SIDE, SIDE, generator=rng),
        valid=torch.ones(count, SIDE, SIDE, dtype=torch.bool),
        landmarks_px=landmarks * SIDE,
        group=torch.arange(count),
        seeds=torch.arange(count),
    )
    answer, _ = start_from_regressor(taught, inputs)
    believed = reliable_landmarks(taught, inputs, answer)
    assert torch.equal(believed[0], inputs.landmarks_px[0])
    assert torch.equal(believed[2], inputs.landmarks_px[2])
    camera = to_camera(answer.camera)
    vertices = models.shape.vertices_mm(answer.identity, answer.expression)[:, landmark_vertices(models.shape)]
    seen = project_points(camera, choose_landmarks(vertices, camera))
    torch.testing.assert_close(believed[1], seen[1] * SIDE, atol=1e-2, rtol=1e-4)
    config = dataclasses.replace(preset("default"), render_px=SIDE, steps=0, start="regressor")
    result = fit_faces(taught, inputs, config)
    eyes = (landmarks[:, 36] - landmarks[:, 45]).norm(dim=-1)
    torch.testing.assert_close(
        result.landmark_error, (seen - landmarks).norm(dim=-1).mean(1) / eyes, atol=1e-3, rtol=1e-2
    )


@pytest.mark.parametrize("start", ["landmarks", "regressor"])
def test_the_first_step_is_as_long_as_the_step_sizes_say(
    models: FitModels, inputs: FitInput, start: Literal["landmarks", "regressor"]
) -> None:
    config = dataclasses.replace(
        preset("default"),
        render_px=SIDE,
        start=start,
        learning_rates=LearningRates(camera=0.01),
        nesterov=False,
        views=1,
        second_render=False,
    )
    before = fit_faces(models, inputs, dataclasses.replace(config, steps=0))
    after = fit_faces(models, inputs, dataclasses.replace(config, steps=1))
    # The first step of plain Adam is as long as the step size in every unknown.
    focal, roll = (after.camera - before.camera)[:, 6:].abs().T
    torch.testing.assert_close(focal, torch.full((3,), 0.01), rtol=1e-2, atol=0)
    torch.testing.assert_close(roll, torch.full((3,), 0.01), rtol=1e-2, atol=0)
    longer = dataclasses.replace(config, steps=100)
    assert [longer.step_scale(step) for step in (0, 50, 100)] == pytest.approx([1, 0.55, 0.1])


def _gestures(rng: torch.Generator) -> torch.Tensor:
    """A common shift among the ways in which the landmarks of faces differ."""
    moves = 0.02 * torch.randn(4, 68, 2, generator=rng)
    moves[0], moves[1] = torch.tensor((0.02, 0.0)), torch.tensor((0.0, 0.02))
    return moves


def _taught(models: FitModels, scale: float = 1.0) -> FitModels:
    """The same models with a regressor that answers something."""
    assert models.regressor is not None
    torch.manual_seed(3)
    regressor = Regressor(models.regressor.layout, mean_start(models.shape)).eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(4)
    for head in (regressor.appearance, regressor.shape, regressor.camera):
        head.weight.copy_(0.01 * scale * torch.randn(head.weight.shape, generator=rng))
    return dataclasses.replace(models, regressor=regressor)
