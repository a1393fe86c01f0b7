"""Similarities between corresponding point sets, in any dimension."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ops.errors import DegeneratePointsError


class Similarity(NamedTuple):
    """Maps source to target: target = scale * rotation @ source + translation."""

    rotation: Float[Tensor, "*batch dim dim"]
    translation: Float[Tensor, "*batch dim"]
    scale: Float[Tensor, "*batch"]


def fit_similarity(
    source: Float[Tensor, "*batch point dim"], target: Float[Tensor, "*batch point dim"], *, with_scale: bool
) -> Similarity:
    """Least-squares alignment of corresponding points (Umeyama 1991), never a reflection.

    Differentiable except where the covariance has repeated singular values.

    Raises:
        DegeneratePointsError: fewer points than dimensions, or a source without extent.
    """
    point, dim = source.shape[-2:]
    if point < dim:
        raise DegeneratePointsError(f"a {dim}-D similarity needs at least {dim} point pairs, got {point}")
    source_mean, target_mean = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    source_centred, target_centred = source - source_mean, target - target_mean
    variance = source_centred.square().sum((-2, -1))
    if bool((variance <= 0).any()):
        raise DegeneratePointsError("a similarity needs source points with extent; all points coincide")
    u, singular, vt = torch.linalg.svd(target_centred.mT @ source_centred)
    sign = torch.ones_like(singular)
    sign[..., -1] = torch.det(u @ vt).sign()
    rotation = (u * sign.unsqueeze(-2)) @ vt
    scale = (singular * sign).sum(-1) / variance if with_scale else torch.ones_like(variance)
    translation = target_mean.squeeze(-2) - scale.unsqueeze(-1) * (rotation @ source_mean.mT).squeeze(-1)
    return Similarity(rotation, translation, scale)


def fit_similarity_2d(
    source: Float[Tensor, "*batch point 2"], target: Float[Tensor, "*batch point 2"], *, with_scale: bool
) -> Similarity:
    """`fit_similarity` in the plane, in closed form: a GPU is neither waited for nor asked for singular values.

    As nothing is looked at, points that coincide give NaN instead of an error.
    """
    source_mean, target_mean = source.mean(-2), target.mean(-2)
    a, b = source - source_mean.unsqueeze(-2), target - target_mean.unsqueeze(-2)
    along = (a * b).sum((-2, -1))
    across = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(-1)
    length = torch.hypot(along, across)
    cos, sin = along / length, across / length
    rotation = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)
    scale = length / a.square().sum((-2, -1)) if with_scale else torch.ones_like(length)
    translation = target_mean - scale.unsqueeze(-1) * (rotation @ source_mean.unsqueeze(-1)).squeeze(-1)
    return Similarity(rotation, translation, scale)


def transform_points(
    similarity: Similarity, points: Float[Tensor, "*batch point dim"]
) -> Float[Tensor, "*batch point dim"]:
    """Apply target = scale * rotation @ source + translation to every point."""
    turned = points @ similarity.rotation.mT
    return similarity.scale[..., None, None] * turned + similarity.translation.unsqueeze(-2)


def invert_similarity(similarity: Similarity) -> Similarity:
    """The similarity that maps target back to source."""
    rotation = similarity.rotation.mT
    scale = 1 / similarity.scale
    translation = -scale.unsqueeze(-1) * (rotation @ similarity.translation.unsqueeze(-1)).squeeze(-1)
    return Similarity(rotation, translation, scale)


def compose_similarities(outer: Similarity, inner: Similarity) -> Similarity:
    """The similarity that applies `inner` first, then `outer`."""
    rotation = outer.rotation @ inner.rotation
    carried = (outer.rotation @ inner.translation.unsqueeze(-1)).squeeze(-1)
    translation = outer.scale.unsqueeze(-1) * carried + outer.translation
    return Similarity(rotation, translation, outer.scale * inner.scale)
