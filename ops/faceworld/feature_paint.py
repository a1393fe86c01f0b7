"""Lips, mouth, eyes and brows, mixed over the skin."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from ops.faceworld.appearance import Appearance, Colour, Sides
from ops.faceworld.canonical import (
    EYE_HALF_LENGTH_MM,
    EYE_X_MM,
    EYE_Y_MM,
    MOUTH_HALF_WIDTH_MM,
    MOUTH_Y_MM,
    CanonicalMap,
    Grid,
    Part,
    brow_arch,
    brow_middle,
    bump,
    eye_lower,
    eye_upper,
    lip_lower,
    lip_upper,
    mouth_band,
    smoothstep,
)
from ops.faceworld.noise import ValueNoise

MOUTH_COLOUR = (0.16, 0.05, 0.05)
SOCKET_COLOUR = (0.30, 0.11, 0.11)
TEETH_COLOUR = (0.80, 0.76, 0.66)
TOOTH_WIDTH_MM = 7.2
SCLERA_COLOUR = (0.86, 0.83, 0.80)
LASH_COLOUR = (0.06, 0.04, 0.04)
LIMBUS_WIDTH_MM = 1.0
PUPIL_RADIUS_MM = 2.3
MOUTH_REACH_MM, EYE_REACH_MM, BROW_REACH_MM, BROW_END_MM = 25.0, 32.0, 32.0, 70.0
"""How far from its middle line a feature can show; where the outermost brow ends."""
Pixels = Float32[np.ndarray, "3 height width"]
Mask = Bool[np.ndarray, "height width"]


def mix(rgb: Pixels, colour: "Colour | Grid", cover: Grid) -> None:
    """Lay a colour (or an image) over `rgb` in place; `cover` is clipped to [0, 1]."""
    cover = np.clip(cover, 0, 1)
    for channel in range(3):
        rgb[channel] += (colour[channel] - rgb[channel]) * cover


def darken(rgb: Pixels, share: Grid) -> None:
    """Take away a share of the light in place."""
    rgb *= 1 - share


def tinted(colour: Colour, gain: Colour, scale: float = 1.0) -> Colour:
    """A colour times a gain."""
    return (colour[0] * gain[0] * scale, colour[1] * gain[1] * scale, colour[2] * gain[2] * scale)


@dataclass(frozen=True)
class _Lips:
    """Where lips and mouth lie: coordinates relative to the mouth."""

    s: Grid
    height_mm: Grid
    upper: Grid
    lower: Grid
    band: Grid


class FeaturePaint:
    """Paints lips, eyes and brows on one layout; each only where it can show, which is a small part of a face."""

    def __init__(self, canvas: CanonicalMap) -> None:
        ax, x, y, front, part = canvas.abs_x, canvas.x_mm, canvas.y_mm, canvas.front > 0, canvas.part
        mouth = front & (np.abs(x) < MOUTH_HALF_WIDTH_MM + 2) & (np.abs(y - MOUTH_Y_MM) < MOUTH_REACH_MM)
        eyes = front & (np.abs(y - EYE_Y_MM) < EYE_REACH_MM)
        brows = front & (ax < BROW_END_MM) & (np.abs(y - brow_middle(ax)) < BROW_REACH_MM)
        places: list[tuple[type[_MouthPaint] | type[_EyePaint] | type[_BrowPaint], Mask]] = [
            (_MouthPaint, mouth | (part == Part.TEETH) | (part == Part.MOUTH)),
            (_EyePaint, eyes | (part == Part.EYEBALL)),
            (_BrowPaint, brows),
        ]
        windows = [(kind, _window(place)) for kind, place in places]
        self._paints = [(kind(canvas.cropped(*window)), window) for kind, window in windows]

    def __call__(self, rgb: Pixels, look: Appearance, rng: np.random.Generator) -> None:
        """Paint everything over `rgb` in place."""
        for paint, (rows, columns) in self._paints:
            paint(rgb[:, rows, columns], look, rng)


class _MouthPaint:
    """Lips, and what is between them."""

    def __init__(self, canvas: CanonicalMap) -> None:
        x, y = canvas.x_mm, canvas.y_mm
        self._canvas = canvas
        s = x / MOUTH_HALF_WIDTH_MM
        self._lips = _Lips(s, y - MOUTH_Y_MM, lip_upper(s), lip_lower(s), mouth_band(s))
        self._lip_lines = (ValueNoise(x / 1.1, y / 9), ValueNoise(x / 3, y / 3))

    def __call__(self, rgb: Pixels, look: Appearance, rng: np.random.Generator) -> None:
        """Paint over `rgb` in place."""
        lips, front = self._lips, self._canvas.front
        upper = lips.band + (lips.upper - lips.band) * look.lip_upper
        lower = -lips.band + (lips.lower + lips.band) * look.lip_lower
        on_upper = lips.height_mm > 0
        edge = np.where(
            on_upper, smoothstep(0.8, -0.6, lips.height_mm - upper), smoothstep(0.9, -0.8, lower - lips.height_mm)
        )
        cover = edge * smoothstep(1.02, 0.95, np.abs(lips.s)) * front
        base = look.skin
        pigment = (1 - 0.35 * look.lip_darkness) * (1 - 0.25 * (1 - base[0]))
        colour = tinted(base, (0.93, 0.60, 0.60), pigment)
        if look.lipstick > 0:
            share = 0.6 * look.lipstick
            colour = tuple(a * (1 - share) + b * share for a, b in zip(colour, look.lipstick_colour, strict=True))
        lines = np.ones_like(cover)
        if look.detail > 0:
            lines += look.detail * (0.06 * self._lip_lines[0](rng) + 0.03 * self._lip_lines[1](rng))
        textured = np.stack([channel * lines for channel in colour])
        mix(rgb, textured, cover * (0.50 + 0.45 * look.lip_redness) * np.where(on_upper, 1, 0.9))
        darken(rgb, 0.22 * cover * on_upper * front)
        inside = smoothstep(0.5, -0.3, np.abs(lips.height_mm) - lips.band) * (np.abs(lips.s) < 0.99) * front
        if self._canvas.open_holes:
            mix(rgb, SOCKET_COLOUR, inside * 0.75 * look.mouth_line)
        else:
            mix(rgb, MOUTH_COLOUR, inside)
            teeth = inside * smoothstep(-0.2, 0.4, lips.height_mm + 0.2) * smoothstep(0.95, 0.75, np.abs(lips.s))
            offset = np.abs(self._canvas.x_mm % TOOTH_WIDTH_MM - TOOTH_WIDTH_MM / 2)
            gaps = 1 - 0.5 * np.exp(-((offset / 0.35) ** 2))
            mix(rgb, np.stack([channel * gaps for channel in TEETH_COLOUR]), 0.9 * teeth)
        mix(rgb, TEETH_COLOUR, (self._canvas.part == Part.TEETH).astype(np.float32))
        mix(rgb, SOCKET_COLOUR, (self._canvas.part == Part.MOUTH).astype(np.float32))


class _EyePaint:
    """Lids, eyes and lashes."""

    def __init__(self, canvas: CanonicalMap) -> None:
        ax, x, y = canvas.abs_x, canvas.x_mm, canvas.y_mm
        self._canvas = canvas
        self._eye_s, self._eye_height = (ax - EYE_X_MM) / EYE_HALF_LENGTH_MM, y - EYE_Y_MM
        self._lid_upper, self._lid_lower = eye_upper(self._eye_s), eye_lower(self._eye_s)
        self._on_eyeball = canvas.part == Part.EYEBALL
        from_centre = np.where(x > 0, x - EYE_X_MM, x + EYE_X_MM)
        self._radius = np.hypot(from_centre, self._eye_height)
        angle = np.arctan2(self._eye_height, from_centre)
        self._fibres = ValueNoise(angle * 9 + 40, self._radius / 3.5)
        self._veins = ValueNoise(x * 1.2, y * 1.2)

    def __call__(self, rgb: Pixels, look: Appearance, rng: np.random.Generator) -> None:
        """Paint over `rgb` in place."""
        self._paint_lids(rgb, look)
        self._paint_eyes(rgb, look, rng)
        self._paint_lashes(rgb, look)

    def _paint_lids(self, rgb: Pixels, look: Appearance) -> None:
        front, over = self._canvas.front, self._eye_height - self._lid_upper
        beside = smoothstep(1.15, 0.6, np.abs(self._eye_s)) * front
        crease = np.exp(-(((over - look.lid_crease_mm) / 1.0) ** 2))
        mix(rgb, tinted(look.skin, (0.62, 0.58, 0.56)), crease * beside * 0.5 * look.lid_crease)
        lid = smoothstep(look.lid_crease_mm + 2.5, look.lid_crease_mm - 1, over) * smoothstep(-0.5, 0.5, over) * beside
        darken(rgb, np.clip(0.22 * look.lid_shade * lid, -0.15, 0.3))
        if look.eye_shadow > 0:
            place = bump(self._canvas.abs_x, self._eye_height, (EYE_X_MM, 7), (13, 4)) * (over > 0) * front
            mix(rgb, look.eye_shadow_colour, 0.5 * look.eye_shadow * place)
        margin = smoothstep(0.5, -0.4, np.maximum(over, self._lid_lower - self._eye_height)) * (np.abs(self._eye_s) < 1)
        if self._canvas.open_holes:
            mix(rgb, tinted(look.skin, (0.80, 0.55, 0.52)), margin * front * 0.8)

    def _paint_eyes(self, rgb: Pixels, look: Appearance, rng: np.random.Generator) -> None:
        over = self._eye_height - self._lid_upper
        if self._canvas.open_holes:
            inside = self._on_eyeball.astype(np.float32)
        else:
            opening = smoothstep(0.35, -0.35, np.maximum(over, self._lid_lower - self._eye_height))
            inside = opening * (np.abs(self._eye_s) < 1) * self._canvas.front
        redness = np.minimum(np.abs(self._eye_s), 1) ** 3
        veins = 0.05 * look.detail * self._veins(rng) if look.detail > 0 else np.zeros_like(redness)
        white = [SCLERA_COLOUR[0] - 0.02 * redness, SCLERA_COLOUR[1] - 0.18 * redness - veins]
        white.append(SCLERA_COLOUR[2] - 0.17 * redness - veins)
        mix(rgb, np.stack(white) * look.sclera, inside)
        rim = look.iris_radius_mm
        fibres = 1 + 0.25 * smoothstep(rim - 1.4, 2.4, self._radius)
        if look.detail > 0:
            fibres = fibres + 0.35 * look.detail * self._fibres(rng)
        limbus = 1 - 0.65 * smoothstep(rim - LIMBUS_WIDTH_MM, rim, self._radius)
        iris = np.stack([channel * fibres * limbus for channel in look.iris])
        mix(rgb, iris, inside * smoothstep(rim + 0.25, rim - 0.25, self._radius))
        mix(rgb, (0.02, 0.02, 0.02), inside * smoothstep(PUPIL_RADIUS_MM + 0.2, PUPIL_RADIUS_MM - 0.2, self._radius))
        sideways = self._canvas.x_mm - np.sign(self._canvas.x_mm) * EYE_X_MM + 1.2
        glint = np.exp(-(((sideways**2 + (self._eye_height - 2.2) ** 2) / 0.8) ** 2))
        mix(rgb, (0.95, 0.95, 0.95), inside * glint * 0.8)
        darken(rgb, 0.55 * inside * smoothstep(3.2, -0.2, -over))

    def _paint_lashes(self, rgb: Pixels, look: Appearance) -> None:
        on_skin = self._canvas.front * ~self._on_eyeball
        inner_x = EYE_X_MM - EYE_HALF_LENGTH_MM
        caruncle = smoothstep(1.6, 0.6, np.hypot(self._canvas.abs_x - inner_x - 1.6, self._eye_height))
        mix(rgb, tinted(look.skin, (0.85, 0.5, 0.48)), caruncle * on_skin * 0.8)
        over, under = self._eye_height - self._lid_upper, self._eye_height - self._lid_lower
        width = 0.75 + 0.5 * look.liner
        upper = np.exp(-(((over - 0.25) / width) ** 2)) * smoothstep(1.08, 0.9, np.abs(self._eye_s))
        mix(rgb, LASH_COLOUR, upper * on_skin * (0.70 + 0.28 * look.liner))
        lower = np.exp(-(((under + 0.2) / 0.55) ** 2)) * smoothstep(1.05, 0.8, np.abs(self._eye_s))
        mix(rgb, (0.12, 0.07, 0.06), lower * on_skin * (0.30 + 0.35 * look.liner))


class _BrowPaint:
    """Brows."""

    def __init__(self, canvas: CanonicalMap) -> None:
        ax, x, y = canvas.abs_x, canvas.x_mm, canvas.y_mm
        self._canvas = canvas
        self._on_eyeball = canvas.part == Part.EYEBALL
        self._tail = smoothstep(-4, 4, x)
        self._arch_t, self._brow_mid = (ax - 12) / 42, brow_middle(ax)
        self._brow_lines = ValueNoise(ax / 0.85 + (y - self._brow_mid) * 0.55, y / 2.6 + ax * 0.12)
        self._brow_clumps = canvas.fractal(4.0)

    def __call__(self, rgb: Pixels, look: Appearance, rng: np.random.Generator) -> None:
        """Paint over `rgb` in place."""
        ax, y = self._canvas.abs_x, self._canvas.y_mm
        middle = self._brow_mid + self._sided(look.brow_raise_mm) + self._sided(look.brow_slope) * (ax - 32)
        middle = middle + self._sided(look.brow_arch_mm) * brow_arch(self._arch_t)
        half = np.maximum(self._sided(look.brow_half_mm), 1.0) * (1 - 0.55 * smoothstep(34, 54, ax))
        across = np.abs((y - middle) / half)
        hairs = 0.75 + np.zeros_like(across)
        if look.detail > 0:
            hairs = 0.55 + look.detail * (0.45 * self._brow_lines(rng) + 0.15 * self._brow_clumps(rng))
        reach = smoothstep(look.brow_start_mm - 2, look.brow_start_mm + 2.5, ax)
        reach = reach * smoothstep(look.brow_end_mm + 4, look.brow_end_mm - 4, ax) * self._canvas.front
        cover = smoothstep(1.25, 0.35, across) * reach * ~self._on_eyeball
        mix(
            rgb, look.brow_colour, np.clip(cover * hairs * 1.25, 0, 1) * np.clip(self._sided(look.brow_density), 0.1, 1)
        )

    def _sided(self, values: Sides) -> Grid:
        """The right value on the right half, the left one on the left."""
        return values[0] + (values[1] - values[0]) * self._tail


def _window(place: Mask) -> tuple[slice, slice]:
    """The rows and columns that hold all of a place."""
    rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
    if not len(rows):
        return slice(0), slice(0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
