"""Similarities between weighted point sets in float64, for registration and evaluation."""

from enum import Enum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ops.errors import DegeneratePointsError

MIN_POINTS = 3


class ScaleRule(Enum):
    """How the scale of an alignment is found."""

    RIGID = "rigid"
    """One."""
    LEAST_SQUARES = "least_squares"
    """The minimiser of the squared residuals (Umeyama 1991)."""
    NORM_RATIO = "norm_ratio"
    """||Y||_F / ||X||_F of the centred sets: symmetric in the two sets, larger than the least-squares scale."""


class Alignment(NamedTuple):
    """Maps source to target: target = scale * rotation @ source + translation."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]
    scale: float


IDENTITY = Alignment(np.eye(3), np.zeros(3), 1.0)


def fit_alignment(
    source: Float[np.ndarray, "point 3"],
    target: Float[np.ndarray, "point 3"],
    *,
    scale: ScaleRule,
    weights: Float[np.ndarray, " point"] | None = None,
) -> Alignment:
    """The alignment of corresponding points by Kabsch's rotation (det +1) and the chosen scale.

    Raises:
        DegeneratePointsError: fewer than three points, or points without extent.
    """
    if len(source) < MIN_POINTS:
        raise DegeneratePointsError(f"an alignment needs at least {MIN_POINTS} point pairs, got {len(source)}")
    share = np.full(len(source), 1 / len(source)) if weights is None else weights / weights.sum()
    source_mean, target_mean = share @ source, share @ target
    source_centred, target_centred = source - source_mean, target - target_mean
    covariance = (share[:, None] * target_centred).T @ source_centred
    source_power = float(share @ np.square(source_centred).sum(1))
    if source_power <= 0:
        raise DegeneratePointsError("an alignment needs source points with extent; all points coincide")
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    if scale is ScaleRule.RIGID:
        factor = 1.0
    elif scale is ScaleRule.LEAST_SQUARES:
        factor = float(singular @ sign) / source_power
    else:
        factor = float(np.sqrt((share @ np.square(target_centred).sum(1)) / source_power))
    return Alignment(rotation, target_mean - factor * rotation @ source_mean, factor)


def align_points(alignment: Alignment, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Apply target = scale * rotation @ source + translation to every point."""
    return alignment.scale * (points @ alignment.rotation.T) + alignment.translation


def compose_alignments(outer: Alignment, inner: Alignment) -> Alignment:
    """The alignment that applies `inner` first, then `outer`."""
    return Alignment(
        outer.rotation @ inner.rotation,
        outer.scale * outer.rotation @ inner.translation + outer.translation,
        outer.scale * inner.scale,
    )


def invert_alignment(alignment: Alignment) -> Alignment:
    """The alignment that maps target back to source."""
    rotation, scale = alignment.rotation.T, 1 / alignment.scale
    return Alignment(rotation, -scale * rotation @ alignment.translation, scale)
