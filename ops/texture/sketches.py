"""Mean and principal directions of textures that never lie in memory together, exactly symmetric.

A face and its mirror image are equally likely. With both in the data the mean is symmetric, and the covariance falls
apart into that of the even parts (m + mirror m) / 2 and that of the odd parts (m - mirror m) / 2: every mode is one or
the other, and half of the texels hold it. A sketch keeps, of some textures, their number, the mean of the even parts
and the leading directions of both scatters; two sketches are merged by stacking these (Ross et al. 2008, "Incremental
Learning for Robust Visual Tracking", for the mean) and cutting again, so the whole needs the memory of a few sketches.
Below `DIRECTIONS` textures nothing is lost.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

DIRECTIONS = 150
"""Directions a sketch keeps of the even and of the odd parts."""


class Parts(NamedTuple):
    """Textures taken apart: numbers of the even parts, and of the odd ones."""

    even: Float[Tensor, "texture even"]
    odd: Float[Tensor, "texture odd"]


@dataclass(frozen=True, kw_only=True)
class Mirroring:
    """Which texels mirror each other; others belong to the even part alone, as they are."""

    mirrored: Bool[Tensor, "side side"]
    """Symmetric under a flip of the columns."""

    def __post_init__(self) -> None:
        assert bool((self.mirrored == self.mirrored.flip(-1)).all())

    @property
    def _left(self) -> Bool[Tensor, "side side"]:
        columns = torch.arange(self.mirrored.shape[1])
        return self.mirrored & (columns < self.mirrored.shape[1] // 2)

    def split(self, textures: Float[Tensor, "texture channel side side"]) -> Parts:
        """The even and odd parts."""
        first, second = textures[..., self._left], textures.flip(-1)[..., self._left]
        apart = textures[..., ~self.mirrored]
        even = torch.cat((((first + second) / 2).flatten(1), apart.flatten(1)), 1)
        return Parts(even, ((first - second) / 2).flatten(1))

    def join_even(
        self, even: Float[Tensor, "texture even"], channels: int
    ) -> Float[Tensor, "texture channel side side"]:
        """Textures with these even parts and no odd ones."""
        pairs = channels * int(self._left.sum())
        textures = self._mirror_images(even[:, :pairs], channels, 1.0)
        textures[..., ~self.mirrored] = even[:, pairs:].unflatten(1, (channels, -1))
        return textures

    def join_odd(self, odd: Float[Tensor, "texture odd"], channels: int) -> Float[Tensor, "texture channel side side"]:
        """Textures with these odd parts and no even ones."""
        return self._mirror_images(odd, channels, -1.0)

    def _mirror_images(
        self, half: Float[Tensor, "texture half"], channels: int, sign: float
    ) -> Float[Tensor, "texture channel side side"]:
        side = len(self.mirrored)
        left = half.new_zeros(len(half), channels, side, side)
        left[..., self._left] = half.unflatten(1, (channels, -1))
        return left + sign * left.flip(-1)

    def metric(self, weight: Float[Tensor, "channel side side"]) -> Parts:
        """Square roots of what each number of the two parts counts, for a weight per texel and channel.

        Of texels that mirror each other both count what they weigh on average.
        """
        pair = (weight + weight.flip(-1))[..., self._left].flatten()
        apart = weight[..., ~self.mirrored].flatten()
        return Parts(torch.cat((pair, apart)).sqrt().unsqueeze(0), pair.sqrt().unsqueeze(0))


class TextureSketch(NamedTuple):
    """What is kept of some textures."""

    textures: int
    mean: Float[Tensor, " even"]
    """Of the even parts."""
    even: Float[Tensor, "row even"]
    """rows^T rows is about the scatter of the even parts about their mean."""
    odd: Float[Tensor, "row odd"]
    """rows^T rows is about the scatter of the odd parts about 0, which is their mean with the mirror images."""


def sketch_textures(
    textures: Float[Tensor, "texture channel side side"], mirroring: Mirroring, metric: Parts
) -> TextureSketch:
    """The sketch of at least one texture."""
    parts = mirroring.split(textures)
    mean = parts.even.mean(0)
    return TextureSketch(len(textures), mean, leading(parts.even - mean, metric.even), leading(parts.odd, metric.odd))


def merge_sketches(first: TextureSketch, second: TextureSketch, metric: Parts) -> TextureSketch:
    """The sketch of both sets of textures; the order matters to the last bits only."""
    count = first.textures + second.textures
    apart = second.mean - first.mean
    between = (first.textures * second.textures / count) ** 0.5 * apart.unsqueeze(0)
    return TextureSketch(
        count,
        first.mean + second.textures / count * apart,
        leading(torch.cat((first.even, second.even, between)), metric.even),
        leading(torch.cat((first.odd, second.odd)), metric.odd),
    )


def leading(
    rows: Float[Tensor, "row number"], metric: Float[Tensor, "1 number"], count: int = DIRECTIONS
) -> Float[Tensor, "kept number"]:
    """The rows themselves, or so many of their leading combinations under a metric."""
    if len(rows) <= count:
        return rows
    vectors = principal_combinations(rows, metric)[1][:, :count]
    return vectors.mT @ rows


def principal_combinations(
    rows: Float[Tensor, "row number"], metric: Float[Tensor, "1 number"]
) -> tuple[Float[Tensor, " row"], Float[Tensor, "row row"]]:
    """Eigenvalues and eigenvectors of the weighted Gram matrix of the rows, see `falling_eigenvectors`."""
    weighted = rows * metric
    return falling_eigenvectors(weighted @ weighted.mT)


def falling_eigenvectors(gram: Float[Tensor, "row row"]) -> tuple[Float[Tensor, " row"], Float[Tensor, "row row"]]:
    """Eigenvalues of a Gram matrix, falling, and eigenvectors as columns, whose largest number is positive."""
    values, vectors = torch.linalg.eigh(gram.double())
    falling = vectors.flip(1).to(gram.dtype)
    peak = falling.gather(0, falling.abs().argmax(0, keepdim=True)).sign()
    return values.flip(0).clamp_min(0), falling * peak
