"""The sliced Wasserstein distance of image sets, level by level (Karras et al. 2018, section 5)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ops.texture.progressive_gan import enlarge, shrink

PATCH_SIDE = 7
PATCHES_AN_IMAGE = 128
DIRECTIONS = 256
SMALLEST_SIDE = 16


def sliced_wasserstein(
    first: Float[Tensor, "image 3 side side"], second: Float[Tensor, "image 3 side side"], seed: int = 0
) -> dict[int, float]:
    """Distance of the patches of two equally large sets at every level of their Laplacian pyramids, by side.

    Patches are normalised to mean 0 and deviation 1 a channel over their set; the distance is the mean over random
    directions of the mean absolute difference of the sorted projections. Sides from 16 on, the smallest as it is.
    """
    distances: dict[int, float] = {}
    random = torch.Generator().manual_seed(seed)
    for one, other in zip(_pyramid(first), _pyramid(second), strict=True):
        side = one.shape[-1]
        places = _places(len(one), side, random)
        patches, others = _patches(one, places), _patches(other, places)
        directions = torch.randn(patches.shape[1], DIRECTIONS, generator=random)
        directions = (directions / directions.norm(dim=0)).to(one.device)
        sorted_one, sorted_other = ((p @ directions).sort(0).values for p in (patches, others))
        distances[side] = float((sorted_one - sorted_other).abs().mean())
    return distances


def _pyramid(images: Tensor) -> list[Tensor]:
    levels: list[Tensor] = []
    while images.shape[-1] > SMALLEST_SIDE:
        small = shrink(images)
        levels.append(images - enlarge(small))
        images = small
    return [*levels, images]


def _places(count: int, side: int, random: torch.Generator) -> Tensor:
    """Image, row and column of the corner of every patch."""
    room = side - min(PATCH_SIDE, side) + 1
    each = min(PATCHES_AN_IMAGE, math.ceil(room * room))
    corners = torch.randint(room, (2, count * each), generator=random)
    return torch.cat((torch.arange(count).repeat_interleave(each).unsqueeze(0), corners))


def _patches(images: Tensor, places: Tensor) -> Float[Tensor, "patch value"]:
    patch = min(PATCH_SIDE, images.shape[-1])
    number, row, column = (index.to(images.device)[:, None, None] for index in places)
    offset = torch.arange(patch, device=images.device)
    found = images[number, :, row + offset[:, None], column + offset]
    centred = found - found.mean((0, 1, 2))
    return (centred / centred.square().mean((0, 1, 2)).sqrt().clamp_min(1e-8)).flatten(1)
