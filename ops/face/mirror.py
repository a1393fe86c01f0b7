"""Mirror images of faces: what the coefficients of a morphable model become when its face is mirrored.

A photo and its mirror image show two faces of which one is the other's reflection in the plane x = 0. Where a model's
mean face and modes are symmetric, both are faces of the model, and what is known of one is known of the other.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor

from ops.face.morphable_model import MorphableModel

FARTHEST_PARTNER_MM = 1.0
"""The mean face counts as symmetric where every mirrored vertex lies so near another one."""
MOST_UNEXPLAINED = 0.02
"""Modes count as symmetric when no more than this share of their mirror images' variance lies outside them."""


class Mirror(NamedTuple):
    """Right factors of coefficient rows."""

    identity: Float[Tensor, "identity identity"]
    expression: Float[Tensor, "expression expression"]
    swaps_texture: bool
    """The left half of a texture is the mirror image of its right one."""


def mirror_of(shape: MorphableModel) -> Mirror | None:
    """The mirror of a shape model; None for one that is not symmetric.

    Coefficients of a mirrored face are the least-squares solution over all vertices.
    """
    mean = shape.mean_mm.detach().cpu().double()
    flip = mean.new_tensor((-1.0, 1.0, 1.0))
    distance, nearest = KDTree(mean.numpy()).query((mean * flip).numpy())
    if distance.max() > FARTHEST_PARTNER_MM:
        return None
    partner = torch.from_numpy(nearest)
    factors: list[Tensor] = []
    for basis in (shape.identity_basis_mm, shape.expression_basis_mm):
        stored = basis.detach().cpu().double()
        modes, mirrored = stored.flatten(1), (stored[:, partner] * flip).flatten(1)
        factor = mirrored @ modes.mT @ torch.linalg.pinv(modes @ modes.mT, hermitian=True)
        left = (factor @ modes - mirrored).square().sum()
        if left > MOST_UNEXPLAINED * mirrored.square().sum():
            return None
        factors.append(factor.to(basis))
    uv = shape.uv.cpu()
    swaps = len(uv) == len(mean) and torch.allclose(uv[partner], uv * uv.new_tensor((-1, 1)) + uv.new_tensor((1, 0)))
    return Mirror(factors[0], factors[1], swaps)
