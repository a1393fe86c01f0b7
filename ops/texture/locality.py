"""A texture model that may change a part of the face without the others.

Few people, or one painter's few ideas, show few of the ways in which faces differ, and every mode of a PCA moves the
whole face: a nose comes with the cheeks of those who have it. What distant texels have in common in a sample is chance
for the greater part, so their covariance C becomes (1 - a) C + a C o K with a kernel K(p, q) = sum_r w_r(p) w_r(q):
windows w_r lie over the parts of the face, and their squares add to 1. Each texel keeps its variance and near ones most
of their covariance, and there are more modes than samples (Luethi et al. 2018, "Gaussian Process Morphable Models":
localised models). The forehead has no window and follows the whole face (a is 0 there): what it could follow by itself
in a photo is a fringe.
"""

from itertools import combinations_with_replacement
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.landmark_parts import (
    BROWS,
    CHIN,
    LEFT_BROW,
    LEFT_EYE,
    MOUTH,
    NASION,
    NOSE_TIP,
    NOSE_WINGS,
    NUMBERS,
    RIGHT_BROW,
    RIGHT_EYE,
    UPPER_BRIDGE,
)
from ops.face.morphable_model import MorphableModel
from ops.texture.atlas import Atlas
from ops.texture.sketches import Mirroring, Parts, falling_eigenvectors

LOCAL_SHARE = 0.5
"""a: how much of the covariance is that of near texels alone."""
WINDOW_MM = 22.0
"""Standard deviation of a window."""
ELSEWHERE = 0.05
"""What the window of all that is far from every part weighs beside theirs."""
SMALLEST = 1e-6
"""Variance beside the largest below which a combination is rounding."""
FOREHEAD_MM = (0.0, 45.0)
"""Heights above the brows: from the first to the second the windows end."""
PARTS = (
    (NUMBERS[RIGHT_EYE], NUMBERS[LEFT_EYE]),
    (NUMBERS[RIGHT_BROW], NUMBERS[LEFT_BROW]),
    (NUMBERS[MOUTH],),
    ((NOSE_TIP, *NOSE_WINGS), (NASION, UPPER_BRIDGE)),
    ((2, 36, 48), (14, 45, 54)),
    ((4, 48), (12, 54)),
    ((CHIN, 57),),
)
"""Eyes, brows, mouth, nose, cheeks, corners of the jaw, chin: a window's middles, as landmarks whose mean they are."""


def face_windows(shape: MorphableModel, atlas: Atlas) -> Float[Tensor, "window side side"]:
    """Smooth windows over the parts of the face, exactly symmetric where texels mirror each other.

    Both sides of the face share one. Squares add to 1, and to 0 on the forehead; off the face the last window is alone.
    """
    landmarks = shape.mean_mm[shape.landmarks].float().cpu()
    middles = [[landmarks[list(numbers)].mean(0) for numbers in part] for part in PARTS]
    point = atlas.at(shape.mean_mm.float().cpu())
    distance = torch.stack([torch.stack([(point - one).norm(dim=-1) for one in part]).amin(0) for part in middles])
    near = torch.exp(-0.5 * (distance / WINDOW_MM).square())
    low, high = FOREHEAD_MM
    above = ((point[..., 1] - landmarks[BROWS, 1].amax() - low) / (high - low)).clamp(0, 1)
    near, above = (torch.where(atlas.mirrored, (one + one.flip(-1)) / 2, one) * atlas.face for one in (near, above))
    windows = torch.cat((near, torch.where(atlas.face, ELSEWHERE, 1.0).unsqueeze(0)))
    return windows * ((1 - above) / windows.square().sum(0)).sqrt()


class LocalModes(NamedTuple):
    """Modes, some of which are confined to a part of the face."""

    modes: Float[Tensor, "mode channel side side"]
    """Offsets of one standard deviation, by falling variance."""
    whole: Float[Tensor, "mode given"]
    """The coefficients with which they come nearest to each of the modes that they were made of."""


def localised(
    modes: Float[Tensor, "given channel side side"],
    windows: Float[Tensor, "window side side"],
    mirroring: Mirroring,
    metric: Parts,
    count: int,
) -> LocalModes:
    """The `count` leading modes of given ones' covariance, `LOCAL_SHARE` of which is confined to windows.

    Args:
        modes: offsets of one standard deviation; even or odd where texels mirror each other, as the result is.
        windows: see `face_windows`; where their squares add to less than 1, less is confined.
        mirroring: of the texels.
        metric: under which modes are chosen.
        count: at most so many.
    """
    channels = modes.shape[1]
    even, odd = mirroring.split(modes)
    is_odd = odd.abs().flatten(1).sum(1) > even.abs().flatten(1).sum(1)
    everywhere = (1 - LOCAL_SHARE * windows.square().sum(0, keepdim=True)).sqrt()
    share = torch.cat((everywhere, LOCAL_SHARE**0.5 * windows))
    factors = mirroring.split(share.unsqueeze(1).expand(-1, channels, -1, -1)).even
    variance: list[Tensor] = []
    local: list[Tensor] = []
    whole: list[Tensor] = []
    for kind, rows, weight, join in (
        (~is_odd, even, metric.even, mirroring.join_even),
        (is_odd, odd, metric.odd, mirroring.join_odd),
    ):
        if bool(kind.any()):
            found = _leading(rows[kind], factors[:, : rows.shape[1]], weight, count)
            variance.append(found.variance)
            local.append(join(found.combined, channels))
            whole.append(modes.new_zeros(len(found.variance), len(modes)))
            whole[-1][:, kind] = found.of_rows
    order = torch.cat(variance).argsort(descending=True, stable=True)[:count]
    return LocalModes(torch.cat(local)[order], torch.cat(whole)[order])


class _Leading(NamedTuple):
    variance: Float[Tensor, " kept"]
    combined: Float[Tensor, "kept number"]
    of_rows: Float[Tensor, "kept row"]
    """The coefficients of the combinations that come nearest to each row."""


def _leading(
    rows: Float[Tensor, "row number"],
    factors: Float[Tensor, "factor number"],
    metric: Float[Tensor, "1 number"],
    count: int,
) -> _Leading:
    """The leading combinations of all rows under all factors, which never lie in memory together."""
    size, squared = len(rows), metric.square()
    gram = rows.new_zeros(len(factors), size, len(factors), size)
    for one, other in combinations_with_replacement(range(len(factors)), 2):
        products = (rows * (factors[one] * factors[other] * squared)) @ rows.mT
        gram[one, :, other], gram[other, :, one] = products, products.mT
    variance, vectors = falling_eigenvectors(gram.flatten(2).flatten(0, 1))
    variance, vectors = variance[:count], vectors[:, :count]
    combined = rows.new_zeros(len(variance), rows.shape[1])
    for part, factor in zip(vectors.unflatten(0, (len(factors), size)), factors, strict=True):
        combined += part.mT @ rows * factor
    # Combinations are orthogonal under the metric.
    of_rows = (combined * squared) @ rows.mT / variance.clamp_min(SMALLEST * variance[0]).unsqueeze(1).to(rows)
    return _Leading(variance, combined, of_rows)
