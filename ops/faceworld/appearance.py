"""The parameters of a painted face and how they vary over people."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
Sides = tuple[float, float]
"""A value for the right and one for the left half of the face."""

SKIN_TONES: tuple[Colour, ...] = (
    (0.97, 0.83, 0.76),
    (0.92, 0.75, 0.66),
    (0.86, 0.67, 0.56),
    (0.77, 0.56, 0.43),
    (0.61, 0.41, 0.29),
    (0.44, 0.28, 0.20),
    (0.29, 0.18, 0.135),
)
"""From very fair to very dark."""
IRIS_COLOURS: tuple[Colour, ...] = (
    (0.16, 0.09, 0.05),
    (0.26, 0.15, 0.08),
    (0.35, 0.24, 0.12),
    (0.34, 0.37, 0.22),
    (0.40, 0.46, 0.50),
    (0.28, 0.40, 0.57),
)
HAIR_COLOURS: tuple[Colour, ...] = (
    (0.05, 0.045, 0.045),
    (0.14, 0.09, 0.06),
    (0.29, 0.19, 0.11),
    (0.45, 0.24, 0.12),
    (0.60, 0.46, 0.29),
    (0.46, 0.45, 0.44),
    (0.80, 0.78, 0.75),
)
GREY_HAIR = 5
"""Index of the first hair colour of the old."""
LIPSTICKS: tuple[Colour, ...] = ((0.62, 0.12, 0.15), (0.70, 0.27, 0.30), (0.52, 0.12, 0.22), (0.76, 0.42, 0.38))
EYE_SHADOWS: tuple[Colour, ...] = ((0.35, 0.22, 0.25), (0.45, 0.30, 0.22), (0.25, 0.25, 0.35))


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """One painted face. Amounts lie in [0, 1] unless said otherwise."""

    seed: int
    """Of every noise field of this face."""
    detail: float
    """Strength of pores, streaks and fine mottling; 0 paints what a few dozen linear modes can carry."""
    skin: Colour
    undertone: Colour
    """Log gain of each colour channel of the skin."""
    mottling: float
    blood: float
    """Redness of cheeks, nose and chin."""
    age: float
    furrows: tuple[float, float, float, float]
    """Depth of forehead lines, crow's feet, nasolabial folds and frown lines, about 1."""
    freckles: float
    age_spots: float
    moles: int
    dark_circles: float
    shade: float
    """Log standard deviation of broad tonal variation."""
    local_shade: float
    """Log standard deviation of tonal variation a centimetre wide round eyes, nose and mouth."""
    tint: float
    """Log standard deviation of broad colour variation."""
    nose_shade: float
    """Darkness of the nose's flanks, may be negative."""
    nostril: float
    iris: Colour
    iris_radius_mm: float
    liner: float
    eye_shadow: float
    eye_shadow_colour: Colour
    lid_crease: float
    lid_crease_mm: float
    """Height of the crease over the lid's edge."""
    lid_shade: float
    """Darkness of the upper lid and of the eye's inner corner."""
    sclera: float
    """Brightness of the white of the eye, about 1."""
    brow_colour: Colour
    brow_density: Sides
    brow_half_mm: Sides
    brow_raise_mm: Sides
    brow_slope: Sides
    """Rise per millimetre outwards."""
    brow_arch_mm: Sides
    brow_start_mm: float
    """Distance of the inner ends from the midline."""
    brow_end_mm: float
    lip_redness: float
    lip_darkness: float
    lipstick: float
    lipstick_colour: Colour
    lip_upper: float
    """Height of the painted upper lip relative to the canonical one."""
    lip_lower: float
    mouth_line: float
    blush: float
    hair_colour: Colour
    hair: float
    """Coverage of the scalp; 0 leaves skin where hair would be."""
    hairline_mm: float
    hair_style: int
    stubble: float
    moustache: float
    goatee: float
    cheek_beard: float
    beard_colour: Colour


def blend_colours(colours: tuple[Colour, ...], position: float) -> Colour:
    """A colour between its neighbours; position 0 is the first and 1 the last."""
    scaled = min(max(position, 0.0), 1.0) * (len(colours) - 1)
    lower = min(int(scaled), len(colours) - 2)
    share = scaled - lower
    red, green, blue = (a + (b - a) * share for a, b in zip(colours[lower], colours[lower + 1], strict=True))
    return (red, green, blue)


def _either_side(rng: np.random.Generator, mean: float, spread: float, asymmetry: float) -> Sides:
    common = mean + spread * rng.normal()
    return (common + asymmetry * rng.normal(), common + asymmetry * rng.normal())


def _maybe(rng: np.random.Generator, probability: float, low: float) -> float:
    """Mostly 0, otherwise between `low` and 1."""
    present = rng.random() < probability
    amount = rng.uniform(low, 1.0)
    return amount if present else 0.0


def sample_appearance(
    rng: np.random.Generator, masculinity: float = 0.0, *, hair: bool = True, detail: float = 1.0, freedom: float = 0.12
) -> Appearance:
    """Draw a face's paint; features vary independently of each other, so that any mixture can occur.

    Args:
        rng: source of every draw; equal states give equal faces.
        masculinity: +1 allows beards and heavy brows, -1 make-up; 0 allows both.
        hair: whether the scalp carries hair.
        detail: see `Appearance.detail`.
        freedom: scale of the tonal fields, which give the set variation beyond its named features.
    """
    u, n = rng.uniform, rng.normal
    age = u()
    darkness = float(np.clip(u() ** 1.15, 0, 1))
    hair_index = u(0, 0.75 - 0.55 * darkness)
    if age > 0.55 and u() < age:
        hair_index = u(GREY_HAIR - 1, len(HAIR_COLOURS) - 1) / (len(HAIR_COLOURS) - 1)
    hair_colour = blend_colours(HAIR_COLOURS, hair_index)
    beard_colour = blend_colours(HAIR_COLOURS, max(hair_index, 0.85) if age > 0.6 and u() < 0.5 else hair_index)
    bearded = 0.30 + 0.30 * masculinity if masculinity > -0.5 else 0.0
    painted = 0.30 - 0.30 * masculinity
    warm, dim = 0.035 * n(), 0.10 * n()
    heavy = 1 + 0.12 * masculinity
    return Appearance(
        seed=int(rng.integers(1 << 30)),
        detail=detail,
        skin=blend_colours(SKIN_TONES, darkness),
        undertone=(dim + warm, dim, dim - 1.4 * warm + 0.04 * n()),
        mottling=u(0.3, 1),
        blood=u(0.1, 1),
        age=age,
        furrows=(u(0, 2), u(0, 2), u(0, 2), u(0, 2)),
        freckles=u() ** 3 * float(u() < 0.4),
        age_spots=float(np.clip(age - 0.5, 0, 1)) * 2 * u(),
        moles=int(rng.integers(0, 7)),
        dark_circles=u(),
        shade=freedom * 0.35,
        local_shade=freedom * 0.45,
        tint=freedom * 0.12,
        nose_shade=0.5 * n(),
        nostril=u(0.5, 1.3),
        iris=blend_colours(IRIS_COLOURS, u() if darkness < 0.5 else u(0, 0.3)),
        iris_radius_mm=u(5.6, 6.3),
        liner=_maybe(rng, 0.5 * painted, 0.2),
        eye_shadow=_maybe(rng, 0.5 * painted, 0.2),
        eye_shadow_colour=EYE_SHADOWS[int(rng.integers(len(EYE_SHADOWS)))],
        lid_crease=u(0.1, 1.3),
        lid_crease_mm=u(2.8, 6.5),
        lid_shade=0.2 + 0.3 * n(),
        sclera=u(0.88, 1.06),
        brow_colour=tuple(0.9 * channel for channel in hair_colour),  # pyright: ignore[reportArgumentType]
        brow_density=_either_side(rng, 0.75 * heavy, 0.22, 0.04),
        brow_half_mm=_either_side(rng, 3.1 * heavy, 0.75, 0.15),
        brow_raise_mm=_either_side(rng, 0.0, 2.2, 0.6),
        brow_slope=_either_side(rng, 0.0, 0.055, 0.02),
        brow_arch_mm=_either_side(rng, 0.0, 1.3, 0.3),
        brow_start_mm=float(np.clip(12 + 3 * n(), 4, 18)),
        brow_end_mm=float(np.clip(52 + 3.5 * n(), 44, 60)),
        lip_redness=u(0.2, 1),
        lip_darkness=u(0, 0.55),
        lipstick=_maybe(rng, 0.7 * painted, 0.3),
        lipstick_colour=LIPSTICKS[int(rng.integers(len(LIPSTICKS)))],
        lip_upper=float(np.clip(0.95 + 0.22 * n(), 0.4, 1.5)),
        lip_lower=float(np.clip(0.97 + 0.18 * n(), 0.5, 1.4)),
        mouth_line=u(0.2, 1.2),
        blush=_maybe(rng, 0.5 * painted, 0.2),
        hair_colour=hair_colour,
        hair=(0.12 if masculinity > 0 and u() < 0.15 else 1.0) * float(hair),
        hairline_mm=u(54, 72),
        hair_style=int(rng.integers(0, 4)),
        stubble=_maybe(rng, 1.6 * bearded, 0.05),
        moustache=_maybe(rng, 0.8 * bearded, 0.3),
        goatee=_maybe(rng, 0.7 * bearded, 0.3),
        cheek_beard=_maybe(rng, 0.5 * bearded, 0.3),
        beard_colour=beard_colour,
    )
