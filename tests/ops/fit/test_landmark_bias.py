import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ops.errors import MissingModelFileError, ModelFormatError
from ops.face.landmark_points import choose_landmarks, landmark_surface
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.fit import FitModels, fit_faces, preset
from ops.fit.calibration import mirror_landmarks
from ops.fit.landmark_bias import (
    OPENINGS,
    TERMS,
    LandmarkBias,
    fit_landmark_bias,
    head_angles,
    load_landmark_bias,
    save_landmark_bias,
)
from ops.geometry.camera import Camera, project_points
from ops.texture.pca import PcaTexture

IMAGES = 24


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def seen(shape: MorphableModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact points of the mean face from many sides, and the yaw of each."""
    points = landmark_surface(shape).points_mm(shape.mean_mm).double()
    centre = points.mean(0)
    yaw = torch.linspace(-0.6, 0.6, IMAGES).double()
    eye = centre + 1200 * torch.stack((yaw.sin(), 0.1 * (3 * yaw).cos(), yaw.cos()), 1)
    camera = Camera(eye, centre.expand(IMAGES, 3), torch.full((IMAGES,), 5.0).double(), torch.zeros(IMAGES).double())
    return project_points(camera, choose_landmarks(points.expand(IMAGES, -1, 3), camera)), yaw


@pytest.fixture(scope="module")
def bias() -> LandmarkBias:
    """Some symmetric bias: of a mirrored head it is the mirrored one."""
    one = 0.01 * torch.randn(TERMS, 68, 2, generator=torch.Generator().manual_seed(2)).double()
    turned = mirror_landmarks(one) - one.new_tensor((1.0, 0.0))
    turned[1] *= -1
    both = (one + turned) / 2
    for pair in OPENINGS:
        both[:, pair] = both[:, pair].mean(1, keepdim=True)
    return LandmarkBias(coefficients=both)


def test_the_angles_are_those_of_the_head(shape: MorphableModel, seen: tuple[torch.Tensor, torch.Tensor]) -> None:
    landmarks, yaw = seen
    torch.testing.assert_close(head_angles(shape, landmarks)[:, 0], yaw, atol=0.06, rtol=0)


def test_a_bias_is_found_again_and_taken_off(
    shape: MorphableModel, seen: tuple[torch.Tensor, torch.Tensor], bias: LandmarkBias
) -> None:
    landmarks = seen[0].repeat(8, 1, 1)
    angles = head_angles(shape, landmarks)
    found = fit_landmark_bias(bias.at(angles), angles, torch.ones(len(landmarks)))
    assert (found.at(angles) - bias.at(angles)).square().mean().sqrt() < 0.1 * bias.at(angles).square().mean().sqrt()
    beside = landmarks + bias.at(angles)
    left = (found.taken_off(shape, beside) - landmarks).square().mean().sqrt()
    assert left < 0.15 * bias.at(angles).square().mean().sqrt()


def test_photos_without_weight_do_not_count(bias: LandmarkBias) -> None:
    angles = torch.linspace(-0.5, 0.5, IMAGES).double()[:, None].expand(-1, 2) * torch.tensor((1.0, 0.3))
    true, wrong = bias.at(angles), torch.ones(IMAGES, 68, 2).double()
    weight = torch.cat((torch.ones(IMAGES), torch.zeros(IMAGES)))
    found = fit_landmark_bias(torch.cat((true, wrong)), torch.cat((angles, angles)), weight)
    expected = fit_landmark_bias(true, angles, torch.ones(IMAGES))
    torch.testing.assert_close(found.coefficients, expected.coefficients)


def test_closed_eyes_do_not_open_those_of_others(bias: LandmarkBias) -> None:
    angles = torch.linspace(-0.5, 0.5, IMAGES).double()[:, None].expand(-1, 2)
    closed = bias.at(angles).clone()
    upper, lower = (list(points) for points in zip(*OPENINGS, strict=True))
    closed[:, upper, 1] += 0.02
    found = fit_landmark_bias(closed, angles, torch.ones(IMAGES)).at(angles)
    torch.testing.assert_close(found[:, upper], found[:, lower])


def test_points_that_are_not_finite_stay(
    shape: MorphableModel, seen: tuple[torch.Tensor, torch.Tensor], bias: LandmarkBias
) -> None:
    landmarks = seen[0][:3].clone()
    landmarks[1, 5, 0] = torch.nan
    corrected = bias.taken_off(shape, landmarks)
    torch.testing.assert_close(corrected[1], landmarks[1], equal_nan=True)
    assert torch.equal(corrected[2:], bias.taken_off(shape, landmarks[2:])), "an image depends on the others"
    assert not torch.equal(corrected[2], landmarks[2])


def test_a_bias_survives_its_file(bias: LandmarkBias, tmp_path: Path) -> None:
    save_landmark_bias(bias, tmp_path / "bias.json", {"photos": 3})
    read = load_landmark_bias(tmp_path / "bias.json")
    torch.testing.assert_close(read.coefficients, bias.coefficients, atol=6e-7, rtol=0)
    with pytest.raises(MissingModelFileError):
        load_landmark_bias(tmp_path / "other.json")
    content = json.loads((tmp_path / "bias.json").read_text())
    (tmp_path / "foreign.json").write_text(json.dumps({**content, "format": "other"}))
    (tmp_path / "short.json").write_text(json.dumps({**content, "coefficients_1e-6": [[[1, 2]]]}))
    for name in ("foreign.json", "short.json"):
        with pytest.raises(ModelFormatError):
            load_landmark_bias(tmp_path / name)


def test_a_fit_does_not_make_up_for_a_known_bias(
    models: FitModels, photographs: Callable[..., Any], bias: LandmarkBias
) -> None:
    known = photographs(1, 3, seed=5, noise_px=0.5)
    exact = known.inputs.landmarks_px / 224
    beside = (exact.double() + bias.at(head_angles(models.shape, exact.double()))).float() * 224
    inputs = known.inputs._replace(landmarks_px=beside)
    alone = replace(preset("default"), steps=0)
    aware, unaware = (fit_faces(replace(models, bias=known_bias), inputs, alone) for known_bias in (bias, None))
    assert aware.landmark_error.mean() < 0.5 * unaware.landmark_error.mean()


def test_the_landmarks_posterior_holds_a_shape(models: FitModels, photographs: Callable[..., Any]) -> None:
    nothing = LandmarkBias(coefficients=torch.zeros(TERMS, 68, 2))
    known, biased = photographs(1, 2, seed=6), replace(models, bias=nothing)
    config = replace(preset("default"), steps=16, views=1)
    start = fit_faces(biased, known.inputs, replace(config, steps=0)).identity
    moved: list[float] = []
    for weight in (0.0, 1.0):
        found = fit_faces(biased, known.inputs, replace(config, weights=replace(config.weights, posterior=weight)))
        moved.append(float((found.identity - start).norm()))
        assert bool((found.losses.posterior > 0).all()) == (weight > 0)
    assert moved[1] < 0.7 * moved[0]


def test_the_posterior_weighs_more_with_a_learned_texture(models: FitModels, photographs: Callable[..., Any]) -> None:
    nothing = LandmarkBias(coefficients=torch.zeros(TERMS, 68, 2))
    painted, config = models.texture, replace(preset("default"), steps=8, views=1)
    assert isinstance(painted, PcaTexture)
    found = {
        people: fit_faces(
            replace(models, bias=nothing, texture=replace(painted, people=people)),
            photographs(1, 2, seed=6).inputs,
            fit,
        )
        for people, fit in ((0, config), (60, config), (61, replace(config, learned_posterior=None)))
    }
    assert torch.equal(found[0].identity, found[61].identity)
    assert bool((found[60].losses.posterior < found[0].losses.posterior).all())
