import dataclasses

import numpy as np
import pytest

from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.appearance import SKIN_TONES, Appearance, blend_colours, sample_appearance
from ops.faceworld.shape import faceworld_canonical_map

CANVAS = faceworld_canonical_map(96)


def _plain() -> Appearance:
    look = sample_appearance(np.random.default_rng(0), hair=False, detail=0.0, freedom=0.0)
    return dataclasses.replace(
        look,
        skin=SKIN_TONES[1],
        undertone=(0.0, 0.0, 0.0),
        stubble=0.0,
        moustache=0.0,
        goatee=0.0,
        cheek_beard=0.0,
        moles=0,
        freckles=0.0,
        brow_raise_mm=(0.0, 0.0),
        brow_slope=(0.0, 0.0),
        brow_arch_mm=(0.0, 0.0),
        brow_half_mm=(3.0, 3.0),
        brow_density=(0.9, 0.9),
        lipstick=0.0,
    )


def _at(image: np.ndarray, x: float, y: float) -> np.ndarray:
    square = (CANVAS.x_mm - x) ** 2 + (CANVAS.y_mm - y) ** 2
    return image[:, *np.unravel_index(square.argmin(), square.shape)]


def test_equal_appearances_give_equal_images(painter: AlbedoPainter) -> None:
    first, second = (sample_appearance(np.random.default_rng(seed)) for seed in (3, 4))
    image = painter(first)
    assert np.array_equal(image, painter(first))
    assert not np.array_equal(image, painter(second))
    assert image.shape == (3, 96, 96)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1


def test_size_changes_sharpness_not_the_face() -> None:
    look = _plain()
    small = AlbedoPainter(CANVAS)(look)
    large = AlbedoPainter(faceworld_canonical_map(192))(look).reshape(3, 96, 2, 96, 2).mean((2, 4))
    assert np.abs(small - large).mean() < 0.02


def test_skin_tone_decides_the_cheek(painter: AlbedoPainter) -> None:
    fair, dark = (painter(dataclasses.replace(_plain(), skin=SKIN_TONES[tone])) for tone in (0, -1))
    np.testing.assert_allclose(_at(fair, 45, -60), SKIN_TONES[0], atol=0.12)
    np.testing.assert_allclose(_at(dark, 45, -60), SKIN_TONES[-1], atol=0.12)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"goatee": 1.0}, (0.0, -104.0)),
        ({"moustache": 1.0}, (10.0, -62.0)),
        ({"cheek_beard": 1.0}, (52.0, -85.0)),
        ({"brow_raise_mm": (6.0, 6.0)}, (32.0, 24.0)),
        ({"lipstick": 1.0, "lipstick_colour": (0.2, 0.0, 0.0)}, (0.0, -83.0)),
        ({"hair": 1.0, "hairline_mm": 54.0, "hair_style": 0, "hair_colour": (0.05, 0.05, 0.05)}, (0.0, 75.0)),
    ],
)
def test_features_darken_their_own_place(
    painter: AlbedoPainter, change: dict[str, float | tuple[float, ...] | int], place: tuple[float, float]
) -> None:
    plain = dataclasses.replace(_plain(), brow_colour=(0.05, 0.05, 0.05), beard_colour=(0.05, 0.05, 0.05))
    before, after = painter(plain), painter(dataclasses.replace(plain, **change))
    assert _at(after, *place).mean() < 0.8 * _at(before, *place).mean()
    np.testing.assert_allclose(_at(after, 0.0, -20.0), _at(before, 0.0, -20.0), atol=1e-6)


def test_sides_of_the_face_are_painted_apart(painter: AlbedoPainter) -> None:
    look = dataclasses.replace(_plain(), brow_density=(0.1, 1.0), brow_colour=(0.05, 0.05, 0.05))
    image = painter(look)
    assert _at(image, 32, 17.5).mean() < 0.6 * _at(image, -32, 17.5).mean()


def test_blend_meets_its_ends() -> None:
    assert blend_colours(SKIN_TONES, 0.0) == SKIN_TONES[0]
    assert blend_colours(SKIN_TONES, 1.0) == pytest.approx(SKIN_TONES[-1])
    assert blend_colours(((0.0, 0.0, 0.0), (1.0, 0.5, 0.2)), 0.5) == pytest.approx((0.5, 0.25, 0.1))
