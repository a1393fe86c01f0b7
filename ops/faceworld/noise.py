"""Smooth noise on fixed positions: the lattice indices are worked out once, a draw costs four look-ups."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

LATTICE = 128
"""Cells after which the noise repeats."""


class ValueNoise:
    """Value noise with one lattice cell a unit of the given coordinates, in [-1, 1]."""

    def __init__(self, x: Float32[np.ndarray, "height width"], y: Float32[np.ndarray, "height width"]) -> None:
        column, row = np.floor(x), np.floor(y)
        self._index = (row.astype(np.int32) % LATTICE) * (LATTICE + 1) + column.astype(np.int32) % LATTICE
        along, down = x - column, y - row
        self._along, self._down = (t * t * (3 - 2 * t) for t in (along, down))

    def __call__(self, rng: np.random.Generator) -> Float32[np.ndarray, "height width"]:
        """A fresh field."""
        lattice = rng.random((LATTICE, LATTICE), dtype=np.float32) * 2 - 1
        table = np.pad(lattice, ((0, 1), (0, 1)), mode="wrap").ravel()
        i = self._index
        upper = table[i]
        upper = upper + (table[i + 1] - upper) * self._along
        lower = table[i + LATTICE + 1]
        lower = lower + (table[i + LATTICE + 2] - lower) * self._along
        return upper + (lower - upper) * self._down


class FractalNoise:
    """A sum of octaves of value noise, each half as wide and `gain` times as strong as the one before."""

    def __init__(
        self,
        x_mm: Float32[np.ndarray, "height width"],
        y_mm: Float32[np.ndarray, "height width"],
        widths_mm: Sequence[int | float],
        gain: float = 0.55,
    ) -> None:
        self._octaves = [ValueNoise(x_mm / width, y_mm / width) for width in widths_mm]
        self._gain = gain

    def __call__(self, rng: np.random.Generator) -> Float32[np.ndarray, "height width"]:
        """A fresh field; its first octave lies in [-1, 1]."""
        first, *others = self._octaves
        total = first(rng)
        for power, octave in enumerate(others, start=1):
            total = total + self._gain**power * octave(rng)
        return total
