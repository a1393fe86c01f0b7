"""Bare skin: tone, blood, wrinkles, spots and the shade in its folds, as absorption in the logarithm of the colour."""

import numpy as np
from jaxtyping import Float32

from ops.faceworld.appearance import Appearance
from ops.faceworld.canonical import (
    EYE_Y_MM,
    MOUTH_HALF_WIDTH_MM,
    MOUTH_Y_MM,
    SUBNASALE_Y_MM,
    CanonicalMap,
    Grid,
    bump,
    smoothstep,
)
from ops.faceworld.noise import FractalNoise, ValueNoise

BLOOD = (0.05, 0.55, 0.45)
"""Absorption of blood in red, green, blue."""
MELANIN = (0.45, 0.75, 1.0)
SHADOW = (1.0, 1.0, 1.0)
FOREHEAD_LINES_MM = (28.0, 36.0, 45.0)
NOISE_DEVIATION = 0.38
"""Standard deviation of value noise with uniform lattice values in [-1, 1]."""
ANYWHERE = (0.0, 1e9)
"""Centre and width of a bump along an axis that does not count."""


class SkinPaint:
    """Paints skin on one layout; everything that depends on the layout alone is computed once."""

    def __init__(self, canvas: CanonicalMap) -> None:
        ax, x, y = canvas.abs_x, canvas.x_mm, canvas.y_mm
        self._canvas = canvas
        self._flush = bump(ax, y, (42, -34), (14, 13)) + 0.9 * bump(x, y, (0, -44), (10, 9))
        self._flush += 0.4 * bump(x, y, (0, -104), (14, 9))
        self._cheek = bump(ax, y, (45, -32), (11, 8))
        self._circle = bump(ax, y, (27, -16), (11, 4.5))
        self._below_eye = bump(ax, y, (27, -13), (13, 6))
        self._inner_eye = bump(ax, y, (18, 0), (7, 9))
        self._flank = bump(ax, y, (13, -30), (4, 14)) + 0.8 * bump(ax, y, (11, -8), (4, 9))
        self._flank -= 0.8 * bump(x, y, (0, -25), (4, 20))
        self._centre = bump(ax, y, (0, -32), (42, 42), 4)
        self._under_jaw = smoothstep(-112, -132, y)
        self._nostril = bump(ax, y, (6.3, -51.6), (3.0, 1.6), 2.6) * canvas.front
        corners = bump(ax, y, (MOUTH_HALF_WIDTH_MM + 1, MOUTH_Y_MM - 0.5), (2, 1.5))
        self._crevices = 0.28 * bump(ax, y, (17.2, -48), (1.3, 4)) + 0.5 * corners
        self._crevices += 0.2 * np.exp(-(((y + 55) / 2) ** 2)) * smoothstep(12, 6, ax)
        self._freckled = bump(ax, y, (28, -28), (26, 15)) + 0.25 * canvas.front
        self._frown = bump(x, y, ANYWHERE, (14, 7))
        self._crow = _crows_feet(ax, y)
        self._fold = _nasolabial_fold(ax, y)
        self._line_width = smoothstep(48, 30, ax) * canvas.front
        self._blotch, self._middle = canvas.fractal(26, 13, 6.5), canvas.fractal(14, 7)
        self._fine, self._pore = canvas.fractal(5, 2.5), canvas.fractal(0.9)
        self._spot, self._old_spot = canvas.fractal(1.7), canvas.fractal(4.5)
        self._broad, self._local = canvas.fractal(50, 27), canvas.fractal(17, 9)
        self._wobble, self._break_up = canvas.streaks(18, 40), ValueNoise(x / 6, y / 90)

    def __call__(self, look: Appearance, rng: np.random.Generator) -> Float32[np.ndarray, "3 side side"]:
        """The colour of the skin everywhere, in [0, 1] up to a little noise."""
        blood = self._blood(look, rng)
        melanin = self._melanin(look, rng) + self._wrinkles(look, rng)
        shade = self._shade(look, rng)
        tone = np.log(np.array(look.skin)) + np.array(look.undertone)
        tints = (rng, self._broad, look.tint)
        colour_shift = (_field(*tints), np.zeros_like(shade), _field(*tints))
        layers: list[Grid] = []
        for channel in range(3):
            absorbed = blood * BLOOD[channel] + melanin * MELANIN[channel] + shade * SHADOW[channel]
            layers.append(tone[channel] + colour_shift[channel] - absorbed)
        return np.exp(np.stack(layers)).astype(np.float32)

    def _blood(self, look: Appearance, rng: np.random.Generator) -> Grid:
        blood = 0.14 * look.mottling * (0.5 + 0.5 * self._blotch(rng)) + 0.45 * look.blood * self._flush
        blood += 0.25 * self._below_eye + 0.6 * look.blush * self._cheek
        if look.detail > 0:
            blood += 0.07 * look.detail * look.mottling * self._fine(rng)
        return blood

    def _melanin(self, look: Appearance, rng: np.random.Generator) -> Grid:
        melanin = 0.07 * look.mottling * self._middle(rng) + (0.10 + 0.25 * look.dark_circles) * self._circle
        melanin += 0.10 * self._inner_eye
        if look.freckles > 0:
            melanin += 0.55 * look.freckles * smoothstep(0.52, 0.75, self._spot(rng)) * self._freckled
        if look.age_spots > 0:
            melanin += 0.30 * look.age_spots * smoothstep(0.45, 0.75, self._old_spot(rng)) * self._canvas.front
        for _ in range(look.moles):
            x, y, radius = rng.uniform(-60, 60), rng.uniform(-100, 50), rng.uniform(0.6, 1.5)
            distance = ((self._canvas.x_mm - x) ** 2 + (self._canvas.y_mm - y) ** 2) / radius**2
            melanin += np.exp(-(distance**2)) * self._canvas.front
        return melanin

    def _wrinkles(self, look: Appearance, rng: np.random.Generator) -> Grid:
        depth = look.age**1.5
        ax, x, y = self._canvas.abs_x, self._canvas.x_mm, self._canvas.y_mm
        forehead, crow, fold, frown = look.furrows
        wobble = 2.0 * self._wobble(rng)
        lines = np.zeros_like(y)
        for height in FOREHEAD_LINES_MM:
            lines += np.exp(-(((y - height - wobble - 0.0016 * x * x) / 1.1) ** 2)) * (0.6 + 0.4 * self._break_up(rng))
        wrinkles = 0.22 * depth * forehead * lines * self._line_width + 0.25 * depth * crow * self._crow
        wrinkles += (0.06 + 0.22 * depth) * fold * self._fold
        return wrinkles + 0.25 * depth * frown * np.exp(-(((ax - 5 - wobble * 0.3) / 1.2) ** 2)) * self._frown

    def _shade(self, look: Appearance, rng: np.random.Generator) -> Grid:
        shade = 1.4 * look.nostril * self._nostril + self._crevices * self._canvas.front + 0.3 * self._under_jaw
        shade += 0.16 * look.nose_shade * self._flank
        shade += _field(rng, self._broad, look.shade) + self._centre * _field(rng, self._local, look.local_shade)
        if look.detail > 0:
            shade += look.detail * (0.03 * self._pore(rng) + 0.022 * rng.standard_normal(shade.shape, np.float32))
        return shade


def _field(rng: np.random.Generator, noise: FractalNoise, deviation: float) -> Grid:
    return noise(rng) * (deviation / NOISE_DEVIATION)


def _crows_feet(ax: Grid, y: Grid) -> Grid:
    angle = np.arctan2(y - EYE_Y_MM, ax - 47)
    fan = np.clip(np.cos(angle * 9), 0, 1) ** 6 * (np.abs(angle) < 0.9)
    return fan * bump(ax, y, (56, EYE_Y_MM), (6, 8))


def _nasolabial_fold(ax: Grid, y: Grid) -> Grid:
    offset = ax - 16.5 - (-46 - y) * 0.42
    line = np.exp(-((offset / 1.3) ** 2)) + 0.5 * np.exp(-((offset / 3.5) ** 2))
    return line * smoothstep(SUBNASALE_Y_MM + 9, SUBNASALE_Y_MM + 1, y) * smoothstep(-80, -70, y)
