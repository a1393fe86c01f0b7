import torch

from ops.texture.colour import luma_chroma_from_rgb, rgb_from_luma_chroma
from ops.texture.completion import SeenTexture, agreement, complete_texture, merge_photos, pull_push
from ops.texture.unwrapping import Unwrapped, unwrap_photo
from tests.ops.texture.conftest import PaintedPeople
from tests.support.known_faces import Shot, photograph_face

SIDE = 32


def flat(luma: float, cb: float, cr: float) -> torch.Tensor:
    return torch.tensor((luma, cb, cr))[:, None, None].expand(-1, SIDE, SIDE).clone()


def unwrapped(people: PaintedPeople, person: int, shot: Shot) -> Unwrapped:
    photo = photograph_face(people.shape, people.albedo[person], people.fitted(person), shot)
    return unwrap_photo(people.shape, people.atlas, photo)


def test_the_better_seen_photo_decides() -> None:
    first = Unwrapped(flat(0.4, 0, 0), torch.full((SIDE, SIDE), 0.9), False, 1.0, 0.004)
    second = Unwrapped(flat(0.8, 0, 0), torch.full((SIDE, SIDE), 0.3), False, 1.0, 0.004)
    found = merge_photos([first, second])
    torch.testing.assert_close(found.albedo, flat((0.81 * 0.4 + 0.09 * 0.8) / 0.9, 0, 0))
    assert float(found.luma_weight.max()) == float(found.chroma_weight.max()) == torch.tensor(0.9)


def test_a_magnified_photo_does_not_blur_a_sharp_one() -> None:
    sharp = Unwrapped(flat(0.4, 0, 0), torch.ones(SIDE, SIDE), False, 0.8, 0.004)
    blurred = Unwrapped(flat(0.8, 0.1, 0), torch.ones(SIDE, SIDE), False, 4.8, 0.004)
    found = merge_photos([sharp, blurred])
    assert float(found.albedo[0].mean()) < 0.402
    assert float(merge_photos([blurred]).luma_weight.max()) == torch.tensor(1 / 16)


def test_a_grey_photo_changes_brightness_and_never_hue() -> None:
    grey = Unwrapped(flat(0.6, 0, 0), torch.ones(SIDE, SIDE), True, 1.0, 0.004)
    coloured = Unwrapped(flat(0.3, -0.06, 0.09), torch.full((SIDE, SIDE), 0.1), False, 1.0, 0.004)
    found = merge_photos([grey, coloured])
    assert float((found.albedo[0] - 0.6).abs().max()) < 0.01
    hue = found.albedo[1:] / found.albedo[:1]
    torch.testing.assert_close(hue, torch.tensor((-0.2, 0.3))[:, None, None].expand(-1, SIDE, SIDE))
    alone = merge_photos([grey])
    assert float(alone.chroma_weight.max()) == 0


def test_grey_photos_teach_no_colour(people: PaintedPeople) -> None:
    """A person with grey photos alone keeps the model's hue wherever its brightness comes from the photo."""
    expected = luma_chroma_from_rgb(people.fitted(1))
    seen = merge_photos([unwrapped(people, 1, Shot(grey=True))])
    everywhere = torch.ones(128, 128)
    full = complete_texture(expected, seen, people.atlas, people.atlas.face, everywhere)
    torch.testing.assert_close(full[1:], expected[1:])
    changed = (full[0] - expected[0]).abs() > 0.01
    assert changed[seen.luma_weight > 0.3].float().mean() > 0.3


def test_agreement_falls_where_glasses_cover_the_face(people: PaintedPeople) -> None:
    truth = luma_chroma_from_rgb(people.albedo[2])
    worn = truth.clone()
    worn[0, 70:76, 40:90] += 0.25
    trust = agreement(worn, truth, 0.08, chroma=False)
    assert float(trust[71:75, 42:88].max()) < 0.02
    assert float(trust[:69].min()) == 1
    tinted = truth.clone()
    tinted[1, :20] += 0.08
    assert float(agreement(tinted, truth, 0.08, chroma=True)[:18].max()) < 0.15
    assert float(agreement(tinted, truth, 0.08, chroma=False).min()) == 1


def test_agreement_is_half_at_its_scale() -> None:
    trust = agreement(flat(0.5, 0, 0), flat(0.42, 0, 0), 0.08, chroma=False)
    torch.testing.assert_close(trust[2:-2, 2:-2], torch.full((SIDE - 4, SIDE - 4), 0.5))


def test_completed_texture_is_the_photo_where_seen_and_the_model_far_away(people: PaintedPeople) -> None:
    person = 3
    truth, expected = (luma_chroma_from_rgb(one) for one in (people.albedo[person], people.fitted(person)))
    seen = merge_photos([unwrapped(people, person, Shot(yaw=0.45))])
    full = complete_texture(expected, seen, people.atlas, people.atlas.face, torch.ones(128, 128))

    def error(found: torch.Tensor, where: torch.Tensor) -> float:
        return float((rgb_from_luma_chroma(found - truth)).abs().mean(0)[where].mean())

    shown = seen.luma_weight > 0.3
    assert error(full, shown) < 0.6 * error(expected, shown)
    only_mirrored = (seen.luma_weight < 0.02) & (seen.luma_weight.flip(1) > 0.3)
    assert int(only_mirrored.sum()) > 300
    assert error(full, only_mirrored) < 0.95 * error(expected, only_mirrored)


def test_nothing_changes_outside_the_region_or_without_trust(people: PaintedPeople) -> None:
    expected = luma_chroma_from_rgb(people.fitted(0))
    ones = torch.ones(128, 128)
    seen = SeenTexture(expected + 0.3, ones, ones)
    region = torch.zeros(128, 128, dtype=torch.bool)
    region[:64] = True
    full = complete_texture(expected, seen, people.atlas, region, ones)
    torch.testing.assert_close(full[:, 64:], expected[:, 64:])
    torch.testing.assert_close(full[:, :64], expected[:, :64] + 0.3)
    untouched = complete_texture(expected, seen, people.atlas, region, torch.zeros(128, 128))
    torch.testing.assert_close(untouched, expected)


def test_pull_push_keeps_known_values_and_fills_smoothly() -> None:
    values = torch.zeros(1, 64, 64)
    values[:, :, :8] = 1.0
    share = torch.zeros(1, 64, 64)
    share[:, :, :8] = share[:, :, -8:] = 1.0
    filled = pull_push(values, share)
    assert bool((filled[:, :, :8] == 1).all())
    assert bool((filled[:, :, -8:] == 0).all())
    assert 0.2 < float(filled[0, 32, 32]) < 0.8
    assert float(filled.max()) <= 1.0
    faded = pull_push(torch.ones(1, 64, 64), torch.nn.functional.pad(torch.ones(1, 2, 2), (0, 62, 0, 62)), fade=1.0)
    assert float(faded[0, 0, 0]) == 1
    assert float(faded[0, 63, 63]) < 0.6
