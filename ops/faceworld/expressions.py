"""Twenty-nine facial actions as displacements of the canonical head, one function of their activations in [0, 1]."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from ops.faceworld.canonical import (
    EYE_HALF_LENGTH_MM,
    EYE_X_MM,
    EYE_Y_MM,
    MOUTH_HALF_WIDTH_MM,
    MOUTH_Y_MM,
    Grid,
    bump,
    eye_lower,
    eye_upper,
    mouth_band,
    smoothstep,
)
from ops.faceworld.head import HeadGrid, head_grid

JAW_ANGLE = np.deg2rad(20.0)
"""Rotation of the fully open jaw."""
JAW_AXIS_Y_MM, JAW_AXIS_Z_MM = -22.0, -80.0
CANONICAL_FACE_Z_MM = -12.0
"""Mean depth of the jaw's surface, where its rotation is taken."""


class Actions(NamedTuple):
    """Activations of the facial actions."""

    jaw_open: float = 0.0
    smile_left: float = 0.0
    smile_right: float = 0.0
    frown_left: float = 0.0
    frown_right: float = 0.0
    stretch_left: float = 0.0
    stretch_right: float = 0.0
    lip_raise_left: float = 0.0
    lip_raise_right: float = 0.0
    lip_lower: float = 0.0
    pucker: float = 0.0
    funnel: float = 0.0
    press: float = 0.0
    chin_raise: float = 0.0
    jaw_left: float = 0.0
    jaw_forward: float = 0.0
    cheek_puff: float = 0.0
    dimple: float = 0.0
    brow_in_up: float = 0.0
    brow_out_up_left: float = 0.0
    brow_out_up_right: float = 0.0
    brow_down_left: float = 0.0
    brow_down_right: float = 0.0
    blink_left: float = 0.0
    blink_right: float = 0.0
    squint: float = 0.0
    wide: float = 0.0
    sneer: float = 0.0
    lip_roll: float = 0.0


class _Half(NamedTuple):
    """The actions of one half of the face; `sign` is +1 on the subject's left."""

    sign: int
    smile: float
    frown: float
    stretch: float
    lip_raise: float
    brow_out_up: float
    brow_down: float
    blink: float


def expression_offset(actions: Actions) -> Float64[np.ndarray, "row column 3"]:
    """Displacement of every vertex; linear in all actions but the rotation of the jaw."""
    grid = head_grid()
    left = _Half(
        1, actions.smile_left, actions.frown_left, actions.stretch_left, actions.lip_raise_left,
        actions.brow_out_up_left, actions.brow_down_left, actions.blink_left,
    )  # fmt: skip
    right = _Half(
        -1, actions.smile_right, actions.frown_right, actions.stretch_right, actions.lip_raise_right,
        actions.brow_out_up_right, actions.brow_down_right, actions.blink_right,
    )  # fmt: skip
    shift = _jaw(actions, grid) + _lips(actions, grid) + _middle(actions, grid)
    for half in (left, right):
        shift = shift + _half_face(half, grid) + _lids(half, actions, grid)
    on_front = smoothstep(np.deg2rad(88), np.deg2rad(55), np.abs(grid.angle))
    return shift * on_front[..., None]


def _jaw(actions: Actions, grid: HeadGrid) -> Grid:
    x, y = grid.x_mm, grid.y_mm
    ax, s, height = np.abs(x), np.abs(x) / MOUTH_HALF_WIDTH_MM, y - MOUTH_Y_MM
    band = mouth_band(x / MOUTH_HALF_WIDTH_MM)
    across_gap = np.clip((band - height) / np.maximum(2 * band, 0.3), 0, 1)
    on_cheek = smoothstep(-52, -98, y)
    beside = smoothstep(0.75, 1.35, s)
    fade = smoothstep(1.45, 0.55, np.abs(grid.angle))
    below = (across_gap * (1 - beside) + on_cheek * beside) * fade * smoothstep(-165, -125, grid.row_mm)
    weight = np.where(height > band, on_cheek * beside * fade, below)
    turn = JAW_ANGLE * actions.jaw_open * weight
    ry, rz = y - JAW_AXIS_Y_MM, CANONICAL_FACE_Z_MM - JAW_AXIS_Z_MM
    dx = 6 * actions.jaw_left * weight
    dx = dx - 4 * np.sign(x) * actions.jaw_open * bump(ax, y, (MOUTH_HALF_WIDTH_MM, MOUTH_Y_MM), (12, 14))
    dy = np.cos(turn) * ry - np.sin(turn) * rz - ry
    dz = np.sin(turn) * ry + np.cos(turn) * rz - rz + 5 * actions.jaw_forward * weight
    return np.stack([dx, dy, dz], -1)


def _half_face(half: _Half, grid: HeadGrid) -> Grid:
    """Mouth corner, cheek, upper lip and brow of one side."""
    x, y = grid.x_mm, grid.y_mm
    ax = np.abs(x)
    side = smoothstep(-8, 8, x * half.sign)
    band = mouth_band(x / MOUTH_HALF_WIDTH_MM)
    corner = bump(ax, y, (MOUTH_HALF_WIDTH_MM, MOUTH_Y_MM), (13, 11)) * side
    cheek = bump(ax, y, (42, -38), (14, 12)) * side
    lip = bump(ax, y, (12, -66), (12, 9)) * side * (y - MOUTH_Y_MM > -0.2 * band)
    outer_brow, brow = bump(ax, y, (42, 16), (14, 10)) * side, bump(ax, y, (22, 15), (17, 9)) * side
    inner_brow = bump(ax, y, (16, 14), (10, 9)) * side
    dx = half.sign * (corner * (7 * half.smile + 6 * half.stretch - 2 * half.frown) - 3 * half.brow_down * inner_brow)
    dy = corner * (7 * half.smile - 7 * half.frown - 1.5 * half.stretch) + 4 * half.smile * cheek
    dy += 5 * half.lip_raise * lip + 7 * half.brow_out_up * outer_brow - 6 * half.brow_down * brow
    dz = 4.5 * half.smile * cheek - corner * (4 * half.smile + 2 * half.stretch) + half.lip_raise * lip
    return np.stack([dx, dy, dz], -1)


def _lids(half: _Half, actions: Actions, grid: HeadGrid) -> Grid:
    x, y = grid.x_mm, grid.y_mm
    ax = np.abs(x)
    side = smoothstep(-8, 8, x * half.sign)
    height, s = y - EYE_Y_MM, (ax - EYE_X_MM) / EYE_HALF_LENGTH_MM
    upper, lower = eye_upper(s), eye_lower(s)
    opening = upper - lower + 1e-3
    share = np.clip((height - lower) / opening, 0, 1)
    reach = np.where(height > upper, np.exp(-np.maximum(height - upper, 0) / 4.5), np.where(height < lower, 0, share))
    reach = reach * smoothstep(1.15, 0.9, np.abs(s)) * side
    dy = -0.90 * half.blink * opening * reach * (opening > 0.5) + 2.0 * actions.wide * reach
    below = bump(ax, y, (EYE_X_MM, EYE_Y_MM - 7), (13, 4)) * side
    dy += actions.squint * (1.6 * below - 0.28 * opening * reach)
    dz = 1.2 * half.blink * np.where(height > lower, reach, 0)
    return np.stack([np.zeros_like(dy), dy, dz], -1)


def _lips(actions: Actions, grid: HeadGrid) -> Grid:
    x, y = grid.x_mm, grid.y_mm
    ax, height = np.abs(x), y - MOUTH_Y_MM
    band = mouth_band(x / MOUTH_HALF_WIDTH_MM)
    mouth = bump(x, y, (0, MOUTH_Y_MM), (26, 13))
    dx = -x * mouth * (0.34 * actions.pucker + 0.2 * actions.funnel)
    lower = smoothstep(0.2 * band, -0.6 * band - 0.3, height) * bump(ax, y, (0, -83), (17, 9))
    dy = (
        0.5 * actions.funnel * np.clip(height, -9, 9) * bump(x, y, (0, MOUTH_Y_MM), (15, 12))
        - 5.5 * actions.lip_lower * lower
    )
    dy -= 0.35 * actions.press * np.clip(height, -8, 8) * bump(x, y, (0, MOUTH_Y_MM), (22, 8))
    dy -= 0.45 * actions.lip_roll * np.clip(height, -9, 9) * bump(x, y, (0, MOUTH_Y_MM), (24, 9))
    dy += 5 * actions.chin_raise * bump(x, y, (0, -92), (17, 12)) * smoothstep(2, -3, height)
    dz = 6.5 * actions.pucker * bump(x, y, (0, MOUTH_Y_MM), (13, 11)) + 2 * actions.chin_raise * bump(
        x, y, (0, -84), (15, 8)
    )
    dz += 5 * actions.funnel * bump(x, y, (0, MOUTH_Y_MM), (15, 12))
    dz -= 1.5 * actions.press * bump(x, y, (0, MOUTH_Y_MM), (22, 7))
    dz -= 3 * actions.lip_roll * bump(x, y, (0, MOUTH_Y_MM), (22, 8))
    return np.stack([dx, dy, dz], -1)


def _middle(actions: Actions, grid: HeadGrid) -> Grid:
    """Cheeks, dimples, inner brows and nose wings."""
    x, y = grid.x_mm, grid.y_mm
    ax, sign = np.abs(x), np.sign(x)
    dx = sign * 5 * actions.cheek_puff * bump(ax, y, (46, -66), (15, 14))
    dx = dx + sign * 2.5 * actions.dimple * bump(ax, y, (MOUTH_HALF_WIDTH_MM, MOUTH_Y_MM), (10, 9))
    dy = 7 * actions.brow_in_up * bump(ax, y, (12, 16), (14, 11))
    dy = dy + actions.sneer * (3 * bump(ax, y, (12, -44), (8, 10)) + 2.5 * bump(ax, y, (14, -60), (10, 10)))
    dz = 9 * actions.cheek_puff * bump(ax, y, (40, -66), (13, 13)) - 3.5 * actions.dimple * bump(
        ax, y, (36, -76), (7, 8)
    )
    dz = dz + 1.2 * actions.sneer * bump(x, y, (0, -12), (6, 6))
    return np.stack([dx, dy, dz], -1)
