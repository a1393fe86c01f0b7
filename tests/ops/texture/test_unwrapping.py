from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ops.face.blendshapes import blendshape_direction
from ops.texture.atlas import make_atlas
from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma
from ops.texture.layout import procedural_layout
from ops.texture.unwrapping import FittedPhoto, Unwrapped, unwrap_photo
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_shape
from tests.ops.texture.conftest import PaintedPeople
from tests.support.known_faces import Shot, photograph_face

SEEN = 0.3


def photo_of(people: PaintedPeople, shot: Shot, believed: Shot | None = None, person: int = 0) -> FittedPhoto:
    return photograph_face(people.shape, people.albedo[person], people.fitted(person), shot, believed=believed)


def unwrapped(people: PaintedPeople, shot: Shot, believed: Shot | None = None) -> Unwrapped:
    return unwrap_photo(people.shape, people.atlas, photo_of(people, shot, believed))


def luma_error(people: PaintedPeople, albedo: torch.Tensor, seen: torch.Tensor) -> float:
    """Mean absolute, after the one brightness that photos leave open."""
    truth = luma_chroma_from_rgb(people.albedo[0])[0]
    gain = (truth[seen] / albedo[0][seen]).median()
    assert 0.93 < gain < 1.07
    return float((albedo[0] * gain - truth)[seen].abs().mean())


@pytest.mark.parametrize(
    ("shot", "believed", "most"),
    [
        (Shot(), None, 0.010),
        (Shot(yaw=0.5), None, 0.010),
        (Shot(light_mm=(700, 300, 900)), Shot(light_mm=(200, 400, 1200)), 0.014),
        (Shot(colour=(0.7, 0.5, 0.3)), None, 0.010),
    ],
    ids=["known light", "from the side", "light believed elsewhere", "warm light"],
)
def test_albedo_is_recovered(people: PaintedPeople, shot: Shot, believed: Shot | None, most: float) -> None:
    found = unwrapped(people, shot, believed)
    seen = found.weight > SEEN
    assert seen.float().mean() > 0.25
    fitted = luma_chroma_from_rgb(people.fitted(0))
    assert luma_error(people, found.albedo, seen) < most < 0.6 * luma_error(people, fitted, seen)
    truth = luma_chroma_from_rgb(people.albedo[0])
    hue, true_hue = (one[1:, seen] / one[0, seen] for one in (found.albedo, truth))
    assert (hue - true_hue).abs().mean() < 0.02


def test_remaining_light_is_divided_out(people: PaintedPeople) -> None:
    """A light from the left that is believed on the right: of what divides the halves a seventh is left at most."""
    found = unwrapped(people, Shot(light_mm=(500, 300, 1000)), Shot(light_mm=(-100, 300, 1000)))
    both_seen = (found.weight > SEEN) & (found.weight.flip(1) > SEEN)
    lit_otherwise = 0.33
    truth = luma_chroma_from_rgb(people.albedo[0])[0]
    ratio = (found.albedo[0] / truth).log()
    lean = (ratio - ratio.flip(1))[both_seen & (torch.arange(128) < 64)].mean().abs()
    assert lean < lit_otherwise / 7


def test_a_grey_photo_tells_luma_alone(people: PaintedPeople) -> None:
    found = unwrapped(people, Shot(grey=True, colour=(0.6, 0.5, 0.4)))
    assert found.grey
    assert found.albedo[1:].abs().max() == 0
    assert luma_error(people, found.albedo, found.weight > SEEN) < 0.012


def test_the_far_side_and_what_lies_outside_the_photo_are_not_seen(people: PaintedPeople) -> None:
    photo = photo_of(people, Shot(yaw=0.7))
    weight = unwrap_photo(people.shape, people.atlas, photo).weight
    # The camera stands to the subject's left, which is the atlas' right half.
    half = people.atlas.side // 2
    assert weight[:, half:].sum() > 3 * weight[:, :half].sum()
    below = photo.valid.clone()
    below[100:] = False
    cut = unwrap_photo(people.shape, people.atlas, replace(photo, valid=below)).weight
    assert 0 < cut.sum() < 0.8 * weight.sum()
    assert bool(((cut == 0) | (cut == weight)).all())


def test_the_inside_of_the_mouth_and_clipped_pixels_hardly_count(people: PaintedPeople) -> None:
    photo = photo_of(people, Shot())
    weight = unwrap_photo(people.shape, people.atlas, photo).weight
    points = photo.landmarks_px.clone()
    points[60:68, 1] += torch.tensor((0.0, -6, -8, -6, 0, 6, 8, 6))
    opened = unwrap_photo(people.shape, people.atlas, replace(photo, landmarks_px=points)).weight
    lost = (weight > SEEN) & (opened < 0.05)
    rows = torch.nonzero(lost)[:, 0]
    assert 20 < int(lost.sum()) < 400
    assert int(rows.max() - rows.min()) < 20
    glaring = photo.crop_rgb.clone()
    glaring[:, 60:80, 100:124] = 1.0
    dazzled = unwrap_photo(people.shape, people.atlas, replace(photo, crop_rgb=glaring)).weight
    assert (weight - dazzled).max() > 0.5


@pytest.mark.models
def test_teeth_have_the_colour_that_is_seen_between_open_lips(model_dir: Path) -> None:
    shape = procedural_layout(load_shape(resolve_bundle("ict", model_dir).shape))
    atlas = make_atlas(shape, 128)
    teeth = atlas.spots == 1
    ivory = torch.tensor((0.62, 0.55, 0.44))
    skin = torch.tensor((0.6, 0.4, 0.3))[:, None, None].expand(3, 128, 128)
    albedo, fitted = torch.where(teeth, ivory[:, None, None], skin), torch.where(teeth, 0.9, skin)

    def found(amount: float, *, grey: bool = False) -> Unwrapped:
        lips = amount * blendshape_direction({"mouthUpperUp": 1.0, "mouthLowerDown": 1.0})
        photo = photograph_face(shape, albedo, fitted, Shot(expression=lips, grey=grey))
        return unwrap_photo(shape, atlas, photo)

    shown = found(0.8)
    colour = rgb_from_luma_chroma(shown.albedo)[:, teeth].mean(1)
    torch.testing.assert_close(colour, ivory, atol=0.03, rtol=0)
    assert float(shown.weight[teeth].min()) == 1
    grey = found(0.8, grey=True)
    assert abs(float(grey.albedo[0, teeth].mean() - luma_chroma_from_rgb(ivory[:, None, None])[0])) < 0.03
    assert float(grey.albedo[1:, teeth].abs().max()) == 0
    assert float(found(0.0).weight[atlas.spots > 0].max()) < 0.1
