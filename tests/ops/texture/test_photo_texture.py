from dataclasses import replace
from typing import NamedTuple

import pytest
import torch

from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma
from ops.texture.photo_texture import BANDS, blurred, divide_residual, photo_residual
from ops.texture.unwrapping import FittedPhoto, unwrap_photo
from tests.ops.texture.conftest import PaintedPeople
from tests.support.known_faces import Shot, photograph_face

PERSON = 3


def photo(people: PaintedPeople, shot: Shot) -> FittedPhoto:
    return photograph_face(people.shape, people.albedo[PERSON], people.fitted(PERSON), shot)


class Textured(NamedTuple):
    """A texture with all of a residual, and where it comes from."""

    rgb: torch.Tensor
    seen: torch.Tensor
    mirrored: torch.Tensor


def texture(people: PaintedPeople, *photos: FittedPhoto) -> Textured:
    unwrapped = [unwrap_photo(people.shape, people.atlas, one) for one in photos]
    residual = photo_residual(people.fitted(PERSON), unwrapped, people.atlas)
    return Textured(residual.texture(torch.ones(BANDS, 1, 1)), residual.seen, residual.mirrored)


def error(people: PaintedPeople, rgb: torch.Tensor, where: torch.Tensor) -> float:
    return float((rgb - people.albedo[PERSON]).abs().mean(0)[where].mean())


def test_photos_bring_a_texture_nearer_to_the_truth(people: PaintedPeople) -> None:
    fitted = people.fitted(PERSON)
    front = texture(people, photo(people, Shot()))
    shown = front.seen > 0.5
    assert shown[people.atlas.face].float().mean() > 0.3
    assert error(people, front.rgb, shown) < 0.75 * error(people, fitted, shown)
    sides = texture(people, photo(people, Shot(yaw=0.6)), photo(people, Shot(yaw=-0.6)), photo(people, Shot()))
    assert sides.seen.sum() > 1.2 * front.seen.sum()
    assert error(people, sides.rgb, people.atlas.face) < error(people, front.rgb, people.atlas.face)


def test_weights_say_where_texels_come_from(people: PaintedPeople) -> None:
    side = texture(people, photo(people, Shot(yaw=0.7)))
    assert float(side.seen.min()) >= 0
    assert float(side.mirrored.min()) >= 0
    assert float((side.seen + side.mirrored).max()) <= 1
    # The camera stands to the subject's left, which is the atlas' right half.
    left, right = (half.sum() for half in side.seen.split(people.atlas.side // 2, 1))
    assert right > 2 * left
    left, right = (half.sum() for half in side.mirrored.split(people.atlas.side // 2, 1))
    assert left > 2 * right


def test_texels_that_nothing_tells_keep_the_model_s_detail(people: PaintedPeople) -> None:
    fitted = people.fitted(PERSON)
    front = texture(people, photo(people, Shot()))
    outside = ~people.atlas.covered
    torch.testing.assert_close(front.rgb[:, outside], fitted.clamp(0, 1)[:, outside], atol=1e-5, rtol=0)
    guessed = people.atlas.face & (blurred((front.seen + front.mirrored)[None], 4.0)[0] < 1e-3)
    assert int(guessed.sum()) > 200
    change = front.rgb - fitted
    # What is continued there is smooth: no texel differs from its neighbour in a way that the model's does not.
    step = (change[:, 1:] - change[:, :-1]).abs()[:, guessed[1:] & guessed[:-1]]
    assert float(step.max()) < 0.03


def test_teeth_have_the_colour_that_photos_show_as_far_as_they_show_it(people: PaintedPeople) -> None:
    spots = torch.zeros(people.atlas.side, people.atlas.side, dtype=torch.int64)
    spots[-8:-4, 20:24] = 1
    teeth = spots > 0
    atlas = replace(people.atlas, spots=spots, covered=people.atlas.covered & ~teeth)
    one = unwrap_photo(people.shape, people.atlas, photo(people, Shot()))
    ivory = luma_chroma_from_rgb(torch.tensor((0.62, 0.55, 0.44))[:, None, None])
    fitted = people.fitted(PERSON)
    for share in (0.0, 0.5, 1.0):
        shown = one._replace(albedo=torch.where(teeth, ivory, one.albedo), weight=torch.where(teeth, share, one.weight))
        residual = photo_residual(fitted, [shown], atlas)
        expected = fitted + share * (rgb_from_luma_chroma(ivory) - fitted)
        textured = residual.texture(torch.ones(BANDS, 1, 1))
        torch.testing.assert_close(textured[:, teeth], expected[:, teeth].clamp(0, 1), atol=1e-5, rtol=0)
        assert bool((residual.seen[teeth] == share).all())


@pytest.mark.parametrize(
    "colour", [(0.0, 0.0, 0.0), (0.95, 0.95, 0.95), (0.1, 0.15, 0.6)], ids=["black", "white", "blue"]
)
def test_a_bar_over_the_photo_is_not_painted_on(people: PaintedPeople, colour: tuple[float, float, float]) -> None:
    plain = photo(people, Shot())
    barred = plain.crop_rgb.clone()
    barred[:, 120:134, 60:164] = torch.tensor(colour)[:, None, None]
    clean, covered = texture(people, plain), texture(people, replace(plain, crop_rgb=barred))
    hidden = (clean.seen > 0.5) & (covered.seen < 0.1)
    assert int(hidden.sum()) > 100
    assert error(people, covered.rgb, hidden) < 1.2 * error(people, people.fitted(PERSON), hidden)
    assert float((covered.rgb - people.fitted(PERSON)).abs().amax(0)[hidden].max()) < 0.2


def test_a_person_s_colour_photo_colours_the_grey_one(people: PaintedPeople) -> None:
    grey, coloured = Shot(grey=True), Shot(yaw=0.3)
    alone, both = texture(people, photo(people, grey)), texture(people, photo(people, grey), photo(people, coloured))
    shown = both.seen > 0.5
    assert error(people, both.rgb, shown) < error(people, alone.rgb, shown)


def test_the_bands_of_a_residual_add_up_and_divide_it_by_fineness(people: PaintedPeople) -> None:
    face, side = people.atlas.face, people.atlas.side
    stripes = 0.1 * torch.tensor((1.0, -1.0)).repeat(side // 2).expand(side, -1)
    even = torch.full((side, side), 0.05)
    bands = divide_residual((stripes + even)[None], people.atlas)[:, 0]
    torch.testing.assert_close(bands.sum(0), (stripes + even) * face, atol=1e-6, rtol=0)
    torch.testing.assert_close(divide_residual(even[None], people.atlas)[-1, 0], even * face, atol=1e-5, rtol=0)
    # Stripes of one texel lie below the first two blurs, of half a texel and of one here.
    inner = blurred(face[None].float(), 3.0)[0] > 0.99
    assert bands[:2].sum(0)[inner].abs().mean() > 0.098
    assert bands[2:4][:, inner].abs().max() < 0.005


def test_shares_on_a_grid_decide_where_a_band_is_kept(people: PaintedPeople) -> None:
    unwrapped = unwrap_photo(people.shape, people.atlas, photo(people, Shot()))
    residual = photo_residual(people.fitted(PERSON), [unwrapped], people.atlas)
    left = torch.zeros(BANDS, 1, 8)
    left[0, :, :4] = 1.0
    side, added = people.atlas.side, residual.texture(left) - residual.bare_rgb.clamp(0, 1)
    assert added[..., 3 * side // 4 :].abs().max() == 0
    half = slice(0, side // 4)
    expected = (residual.bare_rgb + residual.luma[0] * residual.tint).clamp(0, 1)[..., half]
    torch.testing.assert_close(residual.texture(left)[..., half], expected, atol=1e-6, rtol=0)


def test_darker_luma_keeps_the_hue_of_the_photos(people: PaintedPeople) -> None:
    fitted, plain = people.fitted(PERSON), photo(people, Shot())
    warm = replace(plain, crop_rgb=plain.crop_rgb * torch.tensor((1.0, 0.95, 0.9))[:, None, None])
    neutral, residual = (
        photo_residual(fitted, [unwrap_photo(people.shape, people.atlas, one)], people.atlas) for one in (plain, warm)
    )
    shown = (residual.seen > 0.5) & people.atlas.face & (fitted.amin(0) > 0.05)
    assert int(shown.sum()) > 1000
    blue, before = (one.bare_rgb[2][shown] / one.bare_rgb[0][shown] for one in (residual, neutral))
    assert float((blue / before).median()) == pytest.approx(0.9, abs=0.03)
    fainter = residual._replace(luma=-0.1 * fitted.mean(0).expand_as(residual.luma))
    darker = fainter.texture(torch.ones(BANDS, 1, 1))[:, shown]
    torch.testing.assert_close(darker[2] / darker[0], blue, atol=0.05, rtol=0)


def test_a_blur_keeps_the_sum() -> None:
    spot = torch.zeros(2, 64, 64)
    spot[0, 30, 33] = 1.0
    wide = blurred(spot, 3.0)
    assert float(wide[0].sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(wide[0, 30, 33]) == pytest.approx(1 / (2 * torch.pi * 9), rel=0.02)
    assert float(wide[1].abs().max()) == 0
