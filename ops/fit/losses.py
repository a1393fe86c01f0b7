"""The terms of the fitting objective (Gecer et al. 2019, Eqs. 6-11): one value per image, never mixed across images."""

from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.landmark_parts import LEFT_OUTER_EYE, LOWER_LIDS, RIGHT_OUTER_EYE, UPPER_LIDS
from ops.geometry.constants import constant_index
from ops.networks.recognition import cosine_similarity

EPSILON = 1e-8


def identity_distance(
    first: Float[Tensor, "image channel"], second: Float[Tensor, "image channel"]
) -> Float[Tensor, " image"]:
    """1 - cosine of the angle between two embeddings, in [0, 2]."""
    return 1 - cosine_similarity(first, second)


def content_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Float[Tensor, " image"]:
    """Sum over layers of ||F^j(a) - F^j(b)||_2 / (H_j W_j C_j), the norm not squared.

    The gradient at zero difference is zero rather than undefined.
    """
    distances = [_safe_norm((a - b).flatten(1)) / a[0].numel() for a, b in zip(first, second, strict=True)]
    return reduce(torch.add, distances)


def pixel_distance(
    first: Float[Tensor, "image 3 height width"],
    second: Float[Tensor, "image 3 height width"],
    weight: Float[Tensor, "image height width"],
) -> Float[Tensor, " image"]:
    """Weighted mean over pixels of the mean absolute difference of R, G and B; 0 where no pixel has weight."""
    difference = (first - second).abs().mean(1) * weight
    return difference.sum((-2, -1)) / weight.sum((-2, -1)).clamp_min(1)


def landmark_distance(
    first_px: Float[Tensor, "image 68 2"], second_px: Float[Tensor, "image 68 2"]
) -> Float[Tensor, " image"]:
    """||a - b||_2 over all 136 coordinates, pixels."""
    return _safe_norm((first_px - second_px).flatten(1))


def landmark_squares(
    first_px: Float[Tensor, "image 68 2"], second_px: Float[Tensor, "image 68 2"]
) -> Float[Tensor, " image"]:
    """||a - b||_2^2 over all 136 coordinates, square pixels."""
    return (first_px - second_px).square().sum((-2, -1))


def landmark_error(
    first_px: Float[Tensor, "image 68 2"], truth_px: Float[Tensor, "image 68 2"]
) -> Float[Tensor, " image"]:
    """Mean point distance over the distance of the outer eye corners of the truth (the 300-W measure)."""
    outer_eye = (truth_px[:, RIGHT_OUTER_EYE] - truth_px[:, LEFT_OUTER_EYE]).norm(dim=-1).clamp_min(EPSILON)
    return (first_px - truth_px).norm(dim=-1).mean(-1) / outer_eye


def eyelid_distance(
    first_px: Float[Tensor, "image 68 2"], second_px: Float[Tensor, "image 68 2"]
) -> Float[Tensor, " image"]:
    """Sum over the four pairs of eyelid points of ||(upper - lower) - (upper' - lower')||_2, pixels.

    How far eyes are open, wherever they are (the eye closure term of Feng et al. 2021, DECA, with vectors).
    """
    upper, lower = (constant_index(lids, first_px) for lids in (UPPER_LIDS, LOWER_LIDS))
    opening = (first_px[:, upper] - first_px[:, lower]) - (second_px[:, upper] - second_px[:, lower])
    return _safe_norm(opening).sum(-1)


def squared_norm(values: Float[Tensor, "image column"]) -> Float[Tensor, " image"]:
    """Sum of squares: minus twice the log of a standard normal prior."""
    return values.square().sum(-1)


def chroma(colours: Float[Tensor, "image colour 3"]) -> Float[Tensor, " image"]:
    """Squared spread of R, G and B about their mean, summed over the colours: 0 for greys."""
    return (colours - colours.mean(-1, keepdim=True)).square().sum((-2, -1))


def _safe_norm(values: Float[Tensor, "*image column"]) -> Float[Tensor, "*image"]:
    squared = values.square().sum(-1)
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, 1).sqrt(), 0)
