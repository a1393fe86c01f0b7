from dataclasses import replace

import pytest
import torch

from ops.texture.photo_texture import REPEATS, PhotoTexture, blurred, kept_residual, photo_texture
from ops.texture.unwrapping import FittedPhoto, unwrap_photo
from tests.ops.texture.conftest import PaintedPeople
from tests.support.known_faces import Shot, photograph_face

PERSON = 3


def photo(people: PaintedPeople, shot: Shot) -> FittedPhoto:
    return photograph_face(people.shape, people.albedo[PERSON], people.fitted(PERSON), shot)


def texture(people: PaintedPeople, *photos: FittedPhoto) -> PhotoTexture:
    unwrapped = [unwrap_photo(people.shape, people.atlas, one) for one in photos]
    return photo_texture(people.fitted(PERSON), unwrapped, people.atlas)


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


def test_what_more_photos_agree_on_is_kept_more_and_wide_luma_is_taken_for_light(people: PaintedPeople) -> None:
    wide = torch.full((3, 128, 128), 0.1)
    narrow = wide * torch.tensor((1.0, -1.0)).repeat(64)
    face, kept = people.atlas.face, []
    for count in (1.0, 2.0, 8.0):
        photos_seen = torch.full((128, 128), count)
        found = kept_residual(wide, photos_seen, people.atlas)
        torch.testing.assert_close(found[1:, face], wide[1:, face], atol=1e-4, rtol=0)
        assert found[0].abs().max() < 1e-3
        kept.append(float(kept_residual(narrow, photos_seen, people.atlas)[0].abs()[face].mean()) / 0.1)
    assert kept[0] == pytest.approx(REPEATS, abs=0.03)
    assert kept[0] < kept[1] < kept[2] < 1


def test_a_blur_keeps_the_sum() -> None:
    spot = torch.zeros(2, 64, 64)
    spot[0, 30, 33] = 1.0
    wide = blurred(spot, 3.0)
    assert float(wide[0].sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(wide[0, 30, 33]) == pytest.approx(1 / (2 * torch.pi * 9), rel=0.02)
    assert float(wide[1].abs().max()) == 0
