"""The head surface as a function of its measurements: superellipse sections along a midline, and smooth features.

Every vertex lies on a regular grid, rows from the crown down the face to the neck, columns round the head. Canonical
coordinates are those of the average base head, so a feature sits at the same vertices in everybody.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ops.faceworld.anthropometry import AVERAGE, Measurements
from ops.faceworld.canonical import (
    EYE_HALF_LENGTH_MM,
    EYE_X_MM,
    EYE_Y_MM,
    MOUTH_HALF_WIDTH_MM,
    MOUTH_Y_MM,
    NOSE_TIP_Y_MM,
    Grid,
    Real,
    bump,
    eye_lower,
    eye_upper,
    lip_lower,
    lip_upper,
    mouth_band,
    smoothstep,
)

SIDE = 128
"""Vertices along each side of the grid."""
HALF_WRAP = np.deg2rad(114.0)
"""Angle of the outermost column."""
AXIS_Z_MM = -92.0
"""Depth of the vertical axis the columns turn about."""
BACK_RADIUS_MM = 88.0
FORWARD_LEAN = 0.55
"""Features push outwards along this share of their column's angle."""
EAR_ANGLE, EAR_Y_MM = 1.74, -20.0
ANYWHERE = (0.0, 1e9)
"""Centre and width of a bump along an axis that does not count."""


class HeadGrid(NamedTuple):
    """The fixed coordinates of the grid: columns' angle, rows' height along the midline, canonical position."""

    angle: Float64[np.ndarray, "row column"]
    row_mm: Float64[np.ndarray, "row column"]
    x_mm: Float64[np.ndarray, "row column"]
    y_mm: Float64[np.ndarray, "row column"]


def spline(at: Sequence[Real], values: Sequence[Real], query: Grid, smooth: Real = 5.0) -> Grid:
    """A control polygon smoothed by a Gaussian of standard deviation `smooth`."""
    order = np.argsort(at)
    knots, heights = np.asarray(at, float)[order], np.asarray(values, float)[order]
    margin = 6 * smooth
    line = np.linspace(knots[0] - margin, knots[-1] + margin, 1200)
    step = line[1] - line[0]
    reach = int(3 * smooth / step)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / smooth) ** 2)
    padded = np.pad(np.interp(line, knots, heights), reach, mode="edge")
    return np.interp(query, line, np.convolve(padded, kernel / kernel.sum(), "valid"))


@cache
def head_grid() -> HeadGrid:
    """The grid: columns denser in the middle, rows denser at eyes, nose and mouth."""
    t = np.linspace(-1, 1, SIDE)
    angle = HALF_WRAP * (0.5 * t + 0.5 * t**3)
    fine = np.linspace(122, -190, 3000)
    density = 0.42 + smoothstep(-100, -88, fine) * (1 - smoothstep(18, 34, fine))
    for centre, width, gain in ((-75, 5, 0.5), (-5, 7, 0.35), (-50, 5, 0.4)):
        density = density + gain * np.exp(-0.5 * ((fine - centre) / width) ** 2)
    share = np.cumsum(density)
    share = (share - share[0]) / (share[-1] - share[0])
    angles, rows = np.meshgrid(angle, np.interp(np.linspace(0, 1, SIDE), share, fine))
    base = _base(AVERAGE, angles, rows)
    return HeadGrid(angles, rows, base[..., 0], base[..., 1])


def head_surface(person: Measurements) -> Float64[np.ndarray, "row column 3"]:
    """Every vertex of a head, origin at the canonical nasion."""
    grid = head_grid()
    shift = _brows_and_eyes(person, grid) + _nose(person, grid) + _cheeks(person, grid) + _mouth(person, grid)
    on_front = smoothstep(np.deg2rad(88), np.deg2rad(50), np.abs(grid.angle))
    lean = grid.angle * FORWARD_LEAN
    outwards, upwards, forwards = shift[..., 0], shift[..., 1], shift[..., 2]
    sideways = np.stack([outwards + np.sin(lean) * forwards * 0.6, upwards, forwards * np.cos(lean)], -1)
    base = _base(person, grid.angle, grid.row_mm)
    return base + sideways * on_front[..., None] + _ears(person, grid)


def _base(person: Measurements, angle: Grid, row: Grid) -> Grid:
    """The head without features."""
    heights = (122, 114, 104, 92, 78, 62, 45, 0, -60, -105, -117, -122, -126, -140, -190)
    y = spline(heights, (97, 95.5, 91, 84, 74, 61, 45, 0, -60, -104, -115, -119, -121, -129, -172), row, 3)
    depth_rows = (122, 114, 104, 92, 78, 62, 45, 28, 14, 0, -20, -40, -60, -78, -92, -104, -114, -124, -136, -150, -190)
    depths = (-90, -69, -50, -33, -19, -9, -2.5, 1, 3, 1, -1, 0, 3, 4, 0.5, 2, -2, -14, -34, -48, -56)
    midline = spline(depth_rows, depths, row, 3) - person.forehead_slope * smoothstep(20, 95, row)
    midline = midline + person.forehead_bulge * _along(row, 48, 18) + person.double_chin * _along(row, -128, 9)
    width_rows = (122, 114, 104, 92, 78, 62, 45, 20, -5, -30, -50, -70, -88, -104, -118, -130, -150, -190)
    widths = (4, 27, 43, 55, 65, 71.5, 75, 75.5, 75, 73.5, 70.5, 66, 61, 56, 52, 52, 54, 60)
    width = spline(width_rows, widths, row, 4) * (1 + (person.face_width / 137 - 1) * smoothstep(-125, -80, row))
    width = width + person.jaw_width * _along(row, -92, 24) + person.temple_width * _along(row, 35, 22)
    width = width + person.cranium_width * smoothstep(40, 80, row) + 0.6 * person.cheek_fat * _along(row, -62, 20)
    across, ahead = (
        np.maximum(width, 3),
        np.where(np.cos(angle) >= 0, np.maximum(midline - AXIS_Z_MM, 8), BACK_RADIUS_MM),
    )
    power = 2.12 + 0.10 * smoothstep(-40, 40, row)
    sine, cosine = np.abs(np.sin(angle)), np.abs(np.cos(angle))
    radius = ((sine / across) ** power + (cosine / ahead) ** power) ** (-1 / power)
    lift = spline((122, 0, -40, -70, -100, -120, -135, -160, -190), (0, 0, 4, 15, 38, 56, 58, 34, 10), row, 7)
    lift = lift + person.jaw_angle * _along(row, -112, 20)
    y = y + lift * smoothstep(0.12, 1.6, np.abs(angle)) ** 1.05
    y = np.where(y < 0, y * person.face_height / 119, y) + 0.8 * person.head_height * smoothstep(20, 110, row)
    x = radius * np.sin(angle)
    z = AXIS_Z_MM + radius * np.cos(angle) + person.chin_protrusion * _along(row, -108, 14) * np.exp(-((x / 30) ** 2))
    z = z - 4 * smoothstep(-20, -110, row) * smoothstep(0.3, 1.2, np.abs(angle))
    return np.stack([x, y, z], -1)


def _along(row: Grid, centre: Real, width: Real) -> Grid:
    return np.exp(-0.5 * ((row - centre) / width) ** 2)


def _ears(person: Measurements, grid: HeadGrid) -> Grid:
    """A shell at each side: rising from the cheek, with a rim, falling away behind."""
    turned = np.abs(grid.angle)
    height = (grid.y_mm - EAR_Y_MM) / (30 * person.ear_size)
    outline = np.clip(1 - np.abs(height) ** 2.6, 0, 1) ** 0.6
    front_edge = EAR_ANGLE - 0.18 - 0.03 * height
    back_edge = EAR_ANGLE + 0.12 + 0.02 * height
    shell = outline * smoothstep(front_edge, back_edge, turned) * smoothstep(back_edge + 0.07, back_edge, turned)
    hollow = bump(turned, height, (EAR_ANGLE - 0.02, -0.05), (0.055, 0.42))
    outwards = np.sign(grid.angle) * person.ear_protrusion * (17 * shell - 4.5 * hollow)
    backwards = -10 * shell * person.ear_protrusion
    return np.stack([outwards, 3 * shell, backwards], -1)


def _brows_and_eyes(person: Measurements, grid: HeadGrid) -> Grid:
    """Sockets and brow ridge, lids on one sphere and the eye on another inside the opening."""
    x, y = grid.x_mm, grid.y_mm
    ax, sign = np.abs(x), np.sign(x)
    socket = -person.eye_depth * bump(ax, y, (26, EYE_Y_MM + 4.5), (15, 8.5), 2.4)
    socket -= (2.0 + 0.3 * person.root_depth) * bump(ax, y, (15, EYE_Y_MM + 3), (5.5, 8))
    socket -= 1.6 * bump(ax, y, (27, EYE_Y_MM - 11), (12, 4.5))
    ridge = bump(ax, y, (27, 15 + 0.5 * person.brow_height), (18, 6.5)) + 0.45 * bump(x, y, (0, 12), (12, 8))
    socket += person.brow_ridge * ridge + person.eye_bag * bump(ax, y, (EYE_X_MM - 1, EYE_Y_MM - 11), (11, 3.5))
    s, height = (ax - EYE_X_MM) / EYE_HALF_LENGTH_MM, y - EYE_Y_MM
    upper, lower = eye_upper(s), eye_lower(s)
    square = ((ax - EYE_X_MM) / 1.12) ** 2 + height**2
    apex = -2.0 - 0.55 * (person.eye_depth - 8)
    ball = apex - 12.2 + np.sqrt(np.clip(12.2**2 - square, 0.2, None))
    crease = bump(x, height - upper, ANYWHERE, (5.0, 1.2)) * smoothstep(1.1, 0.5, np.abs(s))
    lid = apex - 11.6 + np.sqrt(np.clip(13.1**2 - square, 0.2, None)) - 0.4 * person.lid_crease * crease
    blend = 1.1
    skin = blend * np.logaddexp(np.maximum(socket, -30) / blend, np.where(square < 13**2, lid, -30) / blend)
    inside = smoothstep(0.7, -0.5, np.maximum(height - upper, lower - height)) * (np.abs(s) < 1.02)
    dz = skin * (1 - inside) + np.maximum(ball, socket - 3) * inside
    dx = sign * (person.eye_spacing - 32.5) * 0.5 * bump(ax, y, (31, EYE_Y_MM), (17, 13), 2.6)
    dx += sign * (person.eye_length - 30.5) * 0.5 * np.clip(s, -1.4, 1.4) * bump(ax, y, (EYE_X_MM, EYE_Y_MM), (13, 8))
    dy = (person.eye_opening - 10.6) * np.clip(height / 10.6, -0.6, 0.6) * bump(ax, y, (EYE_X_MM, EYE_Y_MM), (14, 7))
    tilt = np.tan(np.deg2rad(person.eye_tilt_deg))
    dy += tilt * (ax - EYE_X_MM) * bump(ax, y, (EYE_X_MM, EYE_Y_MM), (16, 10))
    dy += person.eye_height * bump(ax, y, (EYE_X_MM, EYE_Y_MM), (20, 14)) + person.brow_height * bump(
        ax, y, (30, 15), (20, 6)
    )
    return np.stack([dx, dy, dz], -1)


def _nose(person: Measurements, grid: HeadGrid) -> Grid:
    x, y = grid.x_mm, grid.y_mm
    ax, sign = np.abs(x), np.sign(x)
    q = np.clip(y / NOSE_TIP_Y_MM, -0.4, 1.6)
    bridge = person.bridge_height
    profile_at = (-0.4, -0.1, 0, 0.2, 0.5, 0.8, 0.93, 1.03, 1.12, 1.2, 1.28, 1.6)
    profile = spline(profile_at, (0, 0.5, 1.2, 6.5, 13.6, 20.6, 23.0, 22.3, 16.5, 6.5, 0, 0), q, 0.032)
    profile = profile + bridge * spline((0, 0.2, 0.5, 0.8), (0, 0.6, 1, 0), q, 0.032)
    profile = profile * (person.nose_protrusion / 21.0) + person.nose_hump * _along(q, 0.42, 0.17)
    profile = profile - person.root_depth * _along(q, 0.02, 0.12)
    width = spline((-0.4, 0, 0.3, 0.6, 0.9, 1.05, 1.2, 1.6), (7.0, 6.4, 6.6, 7.6, 8.6, 7.6, 5.2, 5), q, 0.05)
    width = width + person.bridge_width * spline((-0.4, 0, 0.3, 0.6, 0.9), (0, 1, 1, 0.6, 0), q, 0.05)
    width = width + 0.6 * person.tip_size * _along(q, 0.9, 0.12)
    dz = profile * np.exp(-((ax / (1.42 * width)) ** 2))
    dz += (1.6 + person.tip_size) * bump(x, y, (0, NOSE_TIP_Y_MM + 0.5), (6.5, 5.5))
    dz += (7.6 + person.ala_size) * bump(ax, y, (11.6, -46.0), (4.6, 4.4), 2.3) + 2.0 * bump(ax, y, (9, -41), (5, 6))
    dz -= 1.2 * bump(ax, y, (18.4, -47), (1.7, 5)) + 4.5 * bump(ax, y, (6.2, -51.4), (2.5, 1.4))
    dy = -(person.nose_length - 50) * smoothstep(-5, -40, y) * smoothstep(34, 10, ax) * smoothstep(-75, -52, y)
    dy += person.tip_up * bump(x, y, (0, NOSE_TIP_Y_MM), (9, 8))
    dx = sign * (person.nose_width / 35.0 - 1) * 16 * bump(ax, y, (13, -47), (8, 9))
    return np.stack([dx, dy, dz], -1)


def _cheeks(person: Measurements, grid: HeadGrid) -> Grid:
    y = grid.y_mm
    ax = np.abs(grid.x_mm)
    dz = person.cheekbone * bump(ax, y, (47, -30 + person.cheekbone_height), (15, 12))
    dz += person.cheek_fat * bump(ax, y, (42, -62), (16, 18))
    offset = ax - 16 - (-46 - y) * 0.42
    fold = np.abs(offset * 0.92)
    ridge = 1.3 * np.exp(-(((fold - 5.0) / 4.0) ** 2)) * smoothstep(-4, 4, offset) - 0.6 * np.exp(-((fold / 3.0) ** 2))
    dz += person.nasolabial * ridge * smoothstep(-42, -54, y) * smoothstep(-84, -66, y)
    return np.stack([np.zeros_like(dz), np.zeros_like(dz), dz], -1)


def _mouth(person: Measurements, grid: HeadGrid) -> Grid:
    """Maxilla, lips and chin; closes the canonically open mouth by drawing the lips over the gap."""
    x, y = grid.x_mm, grid.y_mm
    ax, sign = np.abs(x), np.sign(x)
    s, height = x / MOUTH_HALF_WIDTH_MM, y - MOUTH_Y_MM
    ends = np.clip(1 - np.abs(s) ** 2.4, 0, 1)
    top, bottom, band = lip_upper(s), lip_lower(s), mouth_band(s)
    up = np.clip((height - band) / np.maximum(top - band, 0.5), -1, 2)
    down = np.clip((-band - height) / np.maximum(-band - bottom, 0.5), -1, 2)
    above = height > 0
    rolls = np.where(above, 0.85 * np.exp(-(((up - 0.45) / 0.50) ** 2)), np.exp(-(((down - 0.45) / 0.52) ** 2)))
    dz = 3.6 * bump(x, y, (0, -71), (22, 15)) + person.lip_protrusion * bump(x, y, (0, MOUTH_Y_MM), (17, 9))
    dz += person.lip_fullness * ends * rolls + 0.9 * ends * bump(x, height - band, (0, 1.8), (4.5, 1.8))
    groove = 0.5 * bump(ax, y, (4.6, -61), (1.6, 5.5)) - 1.1 * bump(x, y, (0, -60), (2.2, 5.5))
    dz += person.philtrum_depth * groove
    gap = smoothstep(0.5, -0.4, np.abs(height) - band) * (np.abs(s) < 1.0)
    corner = bump(ax, y, (MOUTH_HALF_WIDTH_MM + 1, MOUTH_Y_MM - 0.6), (3.0, 2.2))
    dz -= 3.5 * gap * ends**0.4 + 1.8 * corner
    dz += 3.2 * bump(x, y, (0, -105), (13 + person.chin_width, 8)) - person.chin_fold * bump(
        x, y, (0, -91.5), (15, 3.6)
    )
    dz -= 0.9 * person.chin_cleft * bump(x, y, (0, -107), (1.8, 6))
    pulled = np.sign(height) * band * 0.90 * np.exp(-(np.abs(height) - band) / 9.0)
    dy = -np.where(np.abs(height) <= band, height * 0.90, pulled)
    dy += (person.upper_lip - 7.2) * np.clip(up, 0, 1) * ends * _along(height, 4, 7) * above
    dy -= (person.lower_lip - 9.2) * np.clip(down, 0, 1) * ends * _along(height, -5, 8) * ~above
    dy -= person.philtrum_length * smoothstep(-54, -66, y) * smoothstep(-100, -80, y) * smoothstep(45, 15, ax)
    dy -= person.chin_height * smoothstep(-86, -104, y) * smoothstep(60, 20, ax)
    reach = np.clip(np.abs(s), 0, 1.1) * bump(ax, y, (20, MOUTH_Y_MM), (14, 10))
    dx = sign * (person.mouth_width - 51) * 0.5 * reach
    return np.stack([dx, dy, dz], -1)
