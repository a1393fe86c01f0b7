"""Textures from photos of a person whose fit is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ops.fit import FitInput, FitModels
from ops.geometry.camera import camera_to_vector
from ops.reconstruction.fitting import AlignedFace, FittedFace, pack_faces, to_bytes
from ops.reconstruction.photo_texture import MOST_PHOTOS, add_photo_textures, choose_photos, texture_crop_px
from ops.render.lighting import light_to_vector
from ops.texture.pca import PcaTexture
from ops.weights.bundle import ModelBundle
from pipeline.stages.models import load_fit_models
from tests.support.known_faces import SIDE, Shot, photograph_face
from tests.support.painted_people import PaintedPeople, paint_people

SHOTS = (Shot(yaw=0.3), Shot(yaw=-0.3), Shot(light_mm=(-300, 300, 1200)))


@pytest.fixture(scope="module")
def painted() -> PaintedPeople:
    return paint_people(4)


@pytest.fixture(scope="module")
def models(embedded: ModelBundle, painted: PaintedPeople) -> FitModels:
    """Those that ship, with a texture model that knows everybody's mean and how bright it is."""
    mean = painted.albedo.mean(0)
    texture = PcaTexture(mean=mean, basis=mean[None], uv_layout="face-world")
    return replace(load_fit_models(embedded, "cpu"), texture=texture)


def fitted(painted: PaintedPeople, person: int, number: int, **changes: object) -> tuple[AlignedFace, FittedFace]:
    """A photo and its true fit, but for the texture."""
    photo = photograph_face(painted.shape, painted.albedo[person], painted.fitted(person), SHOTS[number])
    covered = np.full((SIDE, SIDE, 1), 255, np.uint8)
    rgba = np.concatenate((to_bytes(photo.crop_rgb), covered), -1)
    face = AlignedFace(f"person {person}", rgba, np.eye(2, 3), photo.landmarks_px.double().numpy())
    gain = (painted.fitted(person) / painted.albedo.mean(0)).mean() - 1
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    fit = FittedFace(
        identity=torch.zeros(painted.shape.identity_size), texture=gain.reshape(1),
        expression=torch.zeros(painted.shape.expression_size), camera=camera_to_vector(photo.camera),
        light=light_to_vector(photo.light), identity_similarity=None, judge_similarity=None, landmark_error=None,
        loss_total=None, losses={}, iterations=1, diverged=False, fit_seconds=0.0, shape_std_mm=None,
        render_rgba=picture, shape_rgb=picture[..., :3], texture_rgb=np.zeros((128, 128, 3), np.uint8),
    )  # fmt: skip
    return face, fit._replace(**changes)


def textured(models: FitModels, painted: PaintedPeople, *photos: tuple[AlignedFace, FittedFace]) -> list[FittedFace]:
    faces, fits = zip(*photos, strict=True)
    inputs: FitInput = pack_faces(faces, torch.device("cpu"))
    return add_photo_textures(models, painted.atlas, inputs, faces, fits)


def error(painted: PaintedPeople, person: int, texture_rgb: np.ndarray) -> float:
    """Mean absolute difference to the truth in the middle of the face, bytes."""
    truth = to_bytes(painted.albedo[person]).astype(float)
    return float(np.abs(texture_rgb - truth)[40:90, 40:88].mean())


def test_people_get_textures_nearer_to_the_truth_from_their_own_photos(
    models: FitModels, painted: PaintedPeople
) -> None:
    photos = [fitted(painted, person, number) for number in (0, 1) for person in (0, 1)]
    found = textured(models, painted, *photos)
    for person, fit in enumerate(found[:2]):
        told = fit.photo_texture
        assert told is not None
        assert error(painted, person, fit.texture_rgb) < 0.7 * error(painted, person, told.model_texture_rgb)
        assert error(painted, person, fit.texture_rgb) < error(painted, 1 - person, fit.texture_rgb)
        assert np.abs(told.weight_rgb.astype(int).sum(-1) - 255).max() <= 2
        assert 0.2 < told.seen < 1
        assert (fit.render_rgba[..., 3] > 0).mean() > 0.2
    first, other = found[0], found[2]
    np.testing.assert_array_equal(first.texture_rgb, other.texture_rgb)
    alone = textured(models, painted, photos[0], photos[2])
    np.testing.assert_array_equal(alone[0].texture_rgb, first.texture_rgb)


def test_photos_are_judged_by_the_others_alone(models: FitModels, painted: PaintedPeople) -> None:
    """The crossed similarity does not change with what the judged photo itself shows, as long as it is one person."""
    single = textured(models, painted, fitted(painted, 0, 0))[0].photo_texture
    assert single is not None
    assert single.judge_similarity_crossed is None
    pair = textured(models, painted, fitted(painted, 0, 0), fitted(painted, 0, 1))
    crossed = [fit.photo_texture.judge_similarity_crossed for fit in pair if fit.photo_texture]
    assert all(value is not None and 0.3 < value <= 1 for value in crossed)
    mixed = textured(models, painted, fitted(painted, 0, 0), _called(fitted(painted, 1, 1), "person 0"))
    stranger = mixed[0].photo_texture
    assert stranger is not None
    assert stranger.judge_similarity_crossed is not None
    assert crossed[0] is not None
    assert stranger.judge_similarity_crossed < crossed[0] - 0.02
    unjudged = textured(replace(models, judge=None), painted, fitted(painted, 0, 0), fitted(painted, 0, 1))
    assert all(fit.photo_texture and fit.photo_texture.judge_similarity_crossed is None for fit in unjudged)


def test_photos_whose_fit_diverged_tell_nothing(models: FitModels, painted: PaintedPeople) -> None:
    good, bad = fitted(painted, 0, 0), fitted(painted, 0, 1, diverged=True)
    alone, (with_bad, left) = textured(models, painted, good), textured(models, painted, good, bad)
    np.testing.assert_array_equal(alone[0].texture_rgb, with_bad.texture_rgb)
    assert left.photo_texture is None


def test_a_finer_crop_tells_more_detail(models: FitModels, painted: PaintedPeople) -> None:
    face, fit = fitted(painted, 0, 2)
    coarse = face.crop_rgba[::4, ::4].repeat(4, 0).repeat(4, 1)
    blurred = textured(models, painted, (face._replace(crop_rgba=coarse), fit))
    fine = textured(models, painted, (face._replace(crop_rgba=coarse, texture_crop_rgba=face.crop_rgba), fit))
    assert error(painted, 0, fine[0].texture_rgb) < 0.95 * error(painted, 0, blurred[0].texture_rgb)
    assert [texture_crop_px(side) for side in (256, 512, 1024)] == [224, 448, 896]


def test_the_sharpest_photos_of_all_sides_are_chosen() -> None:
    def camera(yaw: float) -> torch.Tensor:
        return torch.tensor((1000 * np.sin(yaw), 0, 1000 * np.cos(yaw), 0, 0, 0, 4, 0), dtype=torch.float32)

    yaws = [0.0] * 10 + [0.6, -0.6]
    zooms = [5.0, 1.0, 2.0, 3.0, 4.0, 0.5, 6.0, 7.0, 8.0, 9.0, 20.0, 20.0]
    chosen = choose_photos([camera(yaw) for yaw in yaws], zooms)
    assert len(chosen) == MOST_PHOTOS
    assert chosen == sorted({10, 11, 5, 1, 2, 3, 4, 0})
    assert choose_photos([camera(0.0)] * 3, [1.0, 1.0, 1.0]) == [0, 1, 2]


def _called(photo: tuple[AlignedFace, FittedFace], person: str) -> tuple[AlignedFace, FittedFace]:
    return photo[0]._replace(person=person), photo[1]
