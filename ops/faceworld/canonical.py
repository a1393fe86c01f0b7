"""Canonical face coordinates: where the features of the average face lie, seen from the front.

Origin at the nasion, x towards the subject's left, y up, millimetres. The mouth is drawn open by `2 MOUTH_BAND_MM` so
that upper and lower lip have their own places; the shape closes it. Every shape model that is to be painted brings
its texels into these coordinates; every head of the face world starts from them.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from ops.faceworld.noise import FractalNoise, ValueNoise

Grid = Float[np.ndarray, "..."]
Real = int | float

EYE_X_MM, EYE_Y_MM = 31.5, -5.0
"""Centre of the left eye's opening."""
EYE_HALF_LENGTH_MM = 15.2
EYE_UPPER_MM, EYE_LOWER_MM = 6.2, 4.6
"""Opening above and below the line through the corners."""
MOUTH_Y_MM = -75.0
MOUTH_HALF_WIDTH_MM = 25.5
MOUTH_BAND_MM = 2.6
"""Half height of the gap between the lips."""
NOSE_TIP_Y_MM = -44.0
SUBNASALE_Y_MM = -53.0
JAW_MM = ((-70.5, -8), (-69, -27), (-66, -46), (-61, -64), (-53, -81), (-41, -96), (-28, -107), (-14, -114), (0, -117))
"""The right half of the jaw landmarks, ear to chin."""
BROW_X_MM = (52.0, 43.0, 33.0, 23.0, 13.0)
"""Where the brow landmarks sit, outer to inner."""


def smoothstep(start: Real | Grid, end: Real | Grid, value: Grid) -> Grid:
    """0 at `start`, 1 at `end` (in either order), smooth between."""
    t = np.clip((value - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def bump(x: Grid, y: Grid, centre: tuple[Real, Real], width: tuple[Real, Real], power: Real = 2.0) -> Grid:
    """A (super-)Gaussian hill of height 1; with an infinite width an axis does not count."""
    across, along = np.abs((x - centre[0]) / width[0]), np.abs((y - centre[1]) / width[1])
    if power == 2.0:
        return np.exp(-0.5 * (across * across + along * along))
    return np.exp(-0.5 * (across**power + along**power))


def eye_upper(s: Grid) -> Grid:
    """Height of the upper lid's edge over the corner line, s in [-1, 1] from corner to corner."""
    return EYE_UPPER_MM * np.clip(1 - np.abs(s) ** 2.2, 0, 1) ** 0.75


def eye_lower(s: Grid) -> Grid:
    """Height of the lower lid's edge (negative)."""
    return -EYE_LOWER_MM * np.clip(1 - np.abs(s) ** 2.4, 0, 1) ** 0.85


def mouth_band(s: Grid) -> Grid:
    """Half height of the gap between the lips, s in [-1, 1] from corner to corner."""
    return MOUTH_BAND_MM * np.clip(1 - s * s, 0, 1)


def lip_upper(s: Grid) -> Grid:
    """Upper edge of the upper lip over the mouth line, with the cupid's bow."""
    bow = 0.6 * np.exp(-(((np.abs(s) - 0.2) / 0.12) ** 2)) - 1.1 * np.exp(-((s / 0.09) ** 2))
    return MOUTH_BAND_MM * (1 - s * s) + 6.6 * np.clip(1 - np.abs(s) ** 1.6, 0, 1) ** 0.9 + bow


def lip_lower(s: Grid) -> Grid:
    """Lower edge of the lower lip (negative)."""
    return -MOUTH_BAND_MM * (1 - s * s) - 8.6 * np.clip(1 - s * s, 0, 1) ** 0.85


def brow_arch(t: Grid) -> Grid:
    """0 at the brow's ends, 1 at its top; t in [0, 1] from the inner end outwards."""
    return np.sin(np.clip(t, 0, 1) * np.pi)


def brow_middle(x_mm: Grid) -> Grid:
    """Height of the brow's middle line at |x|."""
    t = np.clip((x_mm - 12) / 42, 0, 1)
    return 14.5 + 3.4 * np.sin(t**1.15 * np.pi * 0.86) - 3.5 * smoothstep(38, 56, x_mm)


def canonical_landmarks() -> Float64[np.ndarray, "68 2"]:
    """The 68 iBUG points in canonical coordinates."""
    points = np.zeros((68, 2))
    flip = np.array([-1.0, 1.0])
    points[:9] = JAW_MM
    points[9:17] = points[:8][::-1] * flip
    brow_x = np.array(BROW_X_MM)
    points[17:22] = np.stack([-brow_x, brow_middle(brow_x)], 1)
    points[22:27] = points[17:22][::-1] * flip
    points[27:31, 1] = (-1, -15, -29, NOSE_TIP_Y_MM)
    points[31:36] = ((-12, -51), (-6.5, -53), (0, -54), (6.5, -53), (12, -51))
    s = np.array([-1.0, -0.36, 0.36, 1.0, 0.36, -0.36])
    heights = np.where(np.arange(6) < 4, eye_upper(s), eye_lower(s))
    points[36:42] = np.stack([-EYE_X_MM + s * EYE_HALF_LENGTH_MM, EYE_Y_MM + heights], 1)
    points[[45, 44, 43, 42, 47, 46]] = points[36:42] * flip
    s = np.array([-1, -0.56, -0.2, 0, 0.2, 0.56, 1])
    points[48:55] = np.stack([s * MOUTH_HALF_WIDTH_MM, MOUTH_Y_MM + np.where(np.abs(s) < 1, lip_upper(s), 0)], 1)
    s = np.array([0.56, 0.22, 0, -0.22, -0.56])
    points[55:60] = np.stack([s * MOUTH_HALF_WIDTH_MM, MOUTH_Y_MM + lip_lower(s)], 1)
    s = np.array([-0.86, -0.4, 0, 0.4, 0.86])
    inner = np.where(np.abs(s) < 0.8, mouth_band(s) + 0.2, 0)
    points[60:65] = np.stack([s * MOUTH_HALF_WIDTH_MM, MOUTH_Y_MM + inner], 1)
    points[65:68] = points[[63, 62, 61]] * (1, -1) + (0, 2 * MOUTH_Y_MM)
    return points


class Part(IntEnum):
    """What a texel shows."""

    SKIN = 0
    EYEBALL = 1
    TEETH = 2
    MOUTH = 3


@dataclass(frozen=True, kw_only=True)
class CanonicalMap:
    """Canonical coordinates of every texel of a UV layout (row 0 at v = 1), or of a part of it."""

    x_mm: Float32[np.ndarray, "height width"]
    y_mm: Float32[np.ndarray, "height width"]
    angle: Float32[np.ndarray, "height width"]
    """Angle about the head's vertical axis in radians, 0 in front, positive to the subject's left."""
    part: UInt8[np.ndarray, "height width"]
    """A `Part` for every texel; x and y of eyeball texels are those of the eye's surface seen from the front."""
    open_holes: bool
    """True where eyes and mouth are separate patches; False where they are painted on the skin."""

    def cropped(self, rows: slice, columns: slice) -> "CanonicalMap":
        """The map of some of the texels."""
        grids = {name: np.ascontiguousarray(getattr(self, name)[rows, columns]) for name in ("x_mm", "y_mm", "angle")}
        return replace(self, part=self.part[rows, columns], **grids)

    @cached_property
    def abs_x(self) -> Float32[np.ndarray, "height width"]:
        """Distance from the midline."""
        return np.abs(self.x_mm)

    @cached_property
    def front(self) -> Float32[np.ndarray, "height width"]:
        """1 on the front of the head, 0 at the sides, where frontal coordinates mean nothing."""
        return smoothstep(1.5, 1.1, np.abs(self.angle))

    @cached_property
    def arc_mm(self) -> Float32[np.ndarray, "height width"]:
        """A sideways coordinate that keeps growing round the head, for noise and hair."""
        turned = np.abs(self.angle)
        around = np.sign(self.angle) * (60 + (turned - 0.9) * 80)
        return np.where(turned > 0.9, around, self.x_mm).astype(np.float32)

    def fractal(self, *widths_mm: Real) -> FractalNoise:
        """Noise with octaves of these widths on the skin."""
        return FractalNoise(self.arc_mm, self.y_mm, widths_mm)

    def streaks(self, width_mm: Real, height_mm: Real) -> ValueNoise:
        """Noise stretched along one axis."""
        return ValueNoise(self.arc_mm / width_mm, self.y_mm / height_mm)
