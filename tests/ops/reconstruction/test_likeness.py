"""Shares of a residual that recognition asks for."""

import pytest
import torch

from ops.fit import FitModels
from ops.geometry.camera import Camera
from ops.reconstruction.likeness import (
    FINE,
    GRID,
    LOOKED_AT,
    OF_ONE,
    SKIN_PIXEL,
    Look,
    draw,
    kept_shares,
    make_look,
    parts_of,
    plain_skin,
    shows_skin,
    similarity,
)
from ops.render.lighting import Light
from ops.texture.photo_texture import PhotoResidual, photo_residual
from ops.texture.unwrapping import unwrap_photo
from ops.weights.bundle import ModelBundle
from pipeline.stages.models import load_fit_models
from tests.support.known_faces import Shot, photograph_face
from tests.support.painted_people import PaintedPeople, paint_people

PERSON = 1
SHOTS = (Shot(yaw=0.2), Shot(yaw=-0.2, grey=True))


@pytest.fixture(scope="module")
def painted() -> PaintedPeople:
    return paint_people(3)


@pytest.fixture(scope="module")
def models(embedded: ModelBundle) -> FitModels:
    return load_fit_models(embedded, "cpu")


def seen(painted: PaintedPeople, *shots: Shot) -> tuple[PhotoResidual, list[Look]]:
    """The residual of photos of one person, and the photos."""
    expected = painted.fitted(PERSON).clamp(0, 1)
    photos = [photograph_face(painted.shape, painted.albedo[PERSON], expected, shot) for shot in shots]
    unwrapped = [unwrap_photo(painted.shape, painted.atlas, photo) for photo in photos]
    looks: list[Look] = []
    for photo in photos:
        camera = Camera(*(value.unsqueeze(0) for value in photo.camera))
        light = Light(*(value.unsqueeze(0) for value in photo.light))
        looks.append(make_look(photo.crop_rgb, photo.landmarks_px, photo.vertices_mm.unsqueeze(0), camera, light))
    return photo_residual(expected, unwrapped, painted.atlas), looks


def likeness(models: FitModels, residual: PhotoResidual, looks: list[Look], shares: torch.Tensor) -> list[float]:
    texture = residual.texture(shares)
    return [float(similarity(models.recognition, look, draw(models, look, texture))) for look in looks]


def test_kept_shares_make_the_renders_more_like_the_photos(models: FitModels, painted: PaintedPeople) -> None:
    residual, looks = seen(painted, *SHOTS)
    assert [look.grey for look in looks] == [False, True]
    shares = kept_shares(models, painted.atlas, residual, looks)
    fine = torch.tensor(FINE)[:, None, None] * plain_skin(painted.shape, painted.atlas)
    before, after = (likeness(models, residual, looks, values) for values in (fine, shares))
    assert all(second > first + 0.02 for first, second in zip(before, after, strict=True)), (before, after)
    decided = torch.tensor(LOOKED_AT) > 0
    assert float(shares[decided].min()) >= 0
    assert float(shares[decided].max()) <= 1
    torch.testing.assert_close(shares[~decided], fine[~decided])
    torch.testing.assert_close(kept_shares(models, painted.atlas, residual, looks), shares, atol=0, rtol=0)


def test_of_a_single_photo_a_part_is_kept(models: FitModels, painted: PaintedPeople) -> None:
    residual, looks = seen(painted, SHOTS[0])
    one, twice = (kept_shares(models, painted.atlas, residual, looks * count) for count in (1, 2))
    decided = torch.tensor(LOOKED_AT) > 0
    assert float(twice[decided].max()) > 0.5
    torch.testing.assert_close(one[decided], OF_ONE * twice[decided], atol=1e-3, rtol=0)
    nothing = residual._replace(luma=torch.zeros_like(residual.luma))
    assert float(kept_shares(models, painted.atlas, nothing, looks)[decided].max()) == 0


def test_plain_skin_leaves_out_features(painted: PaintedPeople) -> None:
    shape, atlas = painted.shape, painted.atlas
    point, side = atlas.at(shape.mean_mm), atlas.side // GRID
    plain = plain_skin(shape, atlas).repeat_interleave(side, 0).repeat_interleave(side, 1)
    for landmarks, expected in (([30, 48, 54, 19, 24], (1, 0, 0, 0, 0)), ([8], (1,))):
        for place, value in zip(shape.mean_mm[shape.landmarks[landmarks]], expected, strict=True):
            row, column = divmod(int(((point - place).norm(dim=-1) + 1e6 * ~atlas.covered).argmin()), atlas.side)
            assert abs(float(plain[row, column]) - value) < 0.45, (landmarks, float(plain[row, column]))


def test_a_picture_of_shares_is_that_of_the_texture_with_them(models: FitModels, painted: PaintedPeople) -> None:
    residual, looks = seen(painted, SHOTS[0])
    shares = torch.rand(len(FINE), GRID, GRID, generator=torch.Generator().manual_seed(0))
    parts = parts_of(models, residual, looks[0])
    drawn = draw(models, looks[0], residual.texture(shares))
    difference = (parts.picture(shares).image - drawn.image)[:, drawn.mask].abs()
    assert float(residual.luma.abs().sum(0)[painted.atlas.face].mean()) > 0.01
    assert float(difference.mean()) < 5e-4


def test_magnified_photos_show_no_pores(models: FitModels, painted: PaintedPeople) -> None:
    residual, looks = seen(painted, SHOTS[0])
    kept_of = [
        kept_shares(models, painted.atlas, residual._replace(pixel=pixel), looks)[torch.tensor(FINE) > 0]
        for pixel in (residual.pixel, SKIN_PIXEL[1])
    ]
    fine = [share for share in FINE if share > 0]
    assert kept_of[0].flatten(1).amax(1).tolist() == pytest.approx(fine)
    assert not kept_of[1].any()


def test_pores_fade_with_what_a_pixel_covers() -> None:
    sharp, blurred = SKIN_PIXEL
    told = [shows_skin(pixel) for pixel in (0.0, sharp, (sharp + blurred) / 2, blurred, 1.0)]
    assert told == pytest.approx([1, 1, 0.5, 0, 0])
