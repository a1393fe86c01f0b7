"""The procedural albedo: skin, brows, lips, eyes, beard and hair painted texel by texel in canonical coordinates.

Works for every UV layout whose texels have canonical coordinates (`CanonicalMap`), at any size, and depends on nothing
but them and the `Appearance`. Pigment, blood and shade absorb, so they add up in the logarithm of the colour; hair,
lips and eyes are mixed over the skin.
"""

import numpy as np
from jaxtyping import Float32

from ops.faceworld.appearance import Appearance
from ops.faceworld.canonical import CanonicalMap
from ops.faceworld.feature_paint import FeaturePaint
from ops.faceworld.hair_paint import HairPaint
from ops.faceworld.skin_paint import SkinPaint


class AlbedoPainter:
    """Paints faces on one layout; what depends on the layout alone is computed here, once."""

    def __init__(self, canvas: CanonicalMap) -> None:
        self._skin = SkinPaint(canvas)
        self._features = FeaturePaint(canvas)
        self._hair = HairPaint(canvas)

    def __call__(self, look: Appearance) -> Float32[np.ndarray, "3 side side"]:
        """The albedo of one face, RGB in [0, 1], row 0 at v = 1; equal appearances give equal images."""
        rng = np.random.default_rng(look.seed)
        rgb = self._skin(look, rng)
        self._features(rgb, look, rng)
        self._hair(rgb, look, rng)
        return np.clip(rgb, 0, 1, out=rgb)
