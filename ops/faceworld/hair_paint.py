"""Stubble, beard and the hair of the scalp, mixed over the skin."""

import numpy as np
from jaxtyping import Float32

from ops.faceworld.appearance import Appearance
from ops.faceworld.canonical import MOUTH_HALF_WIDTH_MM, MOUTH_Y_MM, CanonicalMap, Grid, bump, lip_upper, smoothstep
from ops.faceworld.feature_paint import mix

FRINGE, PARTING, SHORN_SIDES = 2, 1, 3
"""Hair styles; style 0 is plain."""


class HairPaint:
    """Paints beard and hair on one layout."""

    def __init__(self, canvas: CanonicalMap) -> None:
        ax, x, y = canvas.abs_x, canvas.x_mm, canvas.y_mm
        turned = np.abs(canvas.angle)
        self._canvas = canvas
        over_mouth = y - MOUTH_Y_MM
        around_lips = bump(x, over_mouth, (0, -1.5), (30, 10.5), 4)
        jaw = smoothstep(-58, -84, y - 0.45 * np.clip(ax - 42, 0, 30)) * smoothstep(-142, -122, y) * (1 - around_lips)
        chin = smoothstep(36, 24, ax)
        sideburn = (
            smoothstep(50, 60, ax) * smoothstep(0, -30, y) * smoothstep(-90, -60, y) * smoothstep(1.5, 1.1, turned)
        )
        self._cheeks, self._chin = np.clip(jaw * (1 - 0.8 * chin) + sideburn, 0, 1), jaw * chin
        lip = smoothstep(-1.0, 1.0, over_mouth - lip_upper(x / MOUTH_HALF_WIDTH_MM))
        below_nose = smoothstep(-53 - 0.22 * ax, -58.5 - 0.34 * ax, y) * smoothstep(34, 26, ax)
        self._lip = below_nose * lip * (0.45 + 0.55 * smoothstep(1.5, 5, ax))
        self._links = bump(ax, y, (29.5, -78), (3.4, 8), 3)
        self._beard_noise = canvas.streaks(0.9, 1.8)
        self._strands = (canvas.streaks(1.4, 28), canvas.streaks(0.6, 20))
        beside_ear = smoothstep(1.50, 1.57, turned) * smoothstep(1.95, 1.88, turned)
        self._off_ears = 1 - beside_ear * bump(x, y, (0, -20), (1e9, 29), 6)
        self._ragged = (canvas.streaks(7, 1e9), canvas.streaks(1.3, 1e9))

    def __call__(self, rgb: Float32[np.ndarray, "3 side side"], look: Appearance, rng: np.random.Generator) -> None:
        """Paint everything over `rgb` in place."""
        on_skin = self._canvas.part == 0
        hairs = np.ones_like(self._chin)
        if look.detail > 0:
            grain = 0.18 * rng.standard_normal(hairs.shape, np.float32)
            hairs = hairs + look.detail * (0.35 * self._beard_noise(rng) + grain - 0.1)
        zones = ((self._cheeks, look.cheek_beard), (self._chin, look.goatee), (self._lip, look.moustache))
        shadow = np.maximum(np.maximum(self._cheeks, self._chin), self._lip) * on_skin
        soft = 0.8 * np.array(look.beard_colour) + 0.2 * np.array(look.skin)
        mix(rgb, soft, 0.32 * look.stubble * shadow * hairs)
        links = self._links * min(look.moustache, look.goatee)
        cover = np.maximum.reduce([zone * amount for zone, amount in zones] + [links]) * on_skin
        strands = np.stack([channel * (0.7 + 0.4 * hairs) for channel in look.beard_colour])
        mix(rgb, strands, 0.9 * cover * hairs)
        if look.hair > 0:
            self._paint_scalp(rgb, look, rng)

    def _paint_scalp(self, rgb: Grid, look: Appearance, rng: np.random.Generator) -> None:
        ax, x, turned = self._canvas.abs_x, self._canvas.x_mm, np.abs(self._canvas.angle)
        ragged = 3.0 * self._ragged[0](rng) + 1.5 * self._ragged[1](rng)
        line = look.hairline_mm - 18 * smoothstep(30, 66, ax) - 26 * smoothstep(60, 72, ax) * (turned < 1.3)
        line = line - 70 * smoothstep(1.18, 1.5, turned) + ragged
        if look.hair_style == PARTING:
            line = line - 22 * smoothstep(-40, 40, x) * smoothstep(70, 20, ax)
        elif look.hair_style == FRINGE:
            line = np.where(ax < 60, np.minimum(line, 30 + ragged), line)
        elif look.hair_style == SHORN_SIDES:
            line = line - 150 * smoothstep(1.10, 1.30, turned)
        cover = smoothstep(-2.0, 3.5, self._canvas.y_mm - line) * look.hair * self._off_ears * (self._canvas.part == 0)
        strands = 0.75 + 0.35 * self._strands[0](rng) + 0.25 * self._strands[1](rng)
        shaded = np.clip(strands, 0.2, 1.6)
        mix(
            rgb,
            np.stack([channel * shaded for channel in look.hair_colour]),
            cover * np.clip(0.75 + 0.4 * strands, 0, 1),
        )
