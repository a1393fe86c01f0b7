"""Smooth noise on fixed positions: the lattice cells are worked out once, a draw costs four look-ups."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32

from ops.geometry.per_image import image_kernel

LATTICE = 128
"""Cells after which the noise repeats."""
ROW = LATTICE + 1
"""Nodes of the lattice in a row; the last are the first again."""


class ValueNoise:
    """Value noise with one lattice cell a unit of the given coordinates, in [-1, 1]."""

    def __init__(self, x: Float32[np.ndarray, "height width"], y: Float32[np.ndarray, "height width"]) -> None:
        column, row = np.floor(x), np.floor(y)
        self._cell = (row.astype(np.int32) % LATTICE) * ROW + column.astype(np.int32) % LATTICE
        along, down = x - column, y - row
        self._along, self._down = (t * t * (3 - 2 * t) for t in (along, down))

    def __call__(self, rng: np.random.Generator) -> Float32[np.ndarray, "height width"]:
        """A fresh field."""
        lattice = np.empty((ROW, ROW), np.float32)
        lattice[:-1, :-1] = rng.random((LATTICE, LATTICE), dtype=np.float32) * 2 - 1
        lattice[-1], lattice[:, -1] = lattice[0], lattice[:, 0]
        lattice[-1, -1] = lattice[0, 0]
        field = np.empty_like(self._along)
        _interpolate(lattice.ravel(), *(grid.ravel() for grid in (self._cell, self._along, self._down, field)))
        return field


@image_kernel
def _interpolate(
    lattice: Float32[np.ndarray, " node"],
    cells: Int32[np.ndarray, " texel"],
    along: Float32[np.ndarray, " texel"],
    down: Float32[np.ndarray, " texel"],
    field: Float32[np.ndarray, " texel"],
) -> None:
    """Fill `field` with the lattice at the places within its cells, bilinear in the given weights."""
    for texel in range(len(cells)):
        cell = np.uint32(cells[texel])
        upper, lower = lattice[cell], lattice[cell + np.uint32(ROW)]
        upper += (lattice[cell + np.uint32(1)] - upper) * along[texel]
        lower += (lattice[cell + np.uint32(ROW + 1)] - lower) * along[texel]
        field[texel] = upper + (lower - upper) * down[texel]


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
