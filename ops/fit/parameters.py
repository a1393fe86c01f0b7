"""The unknowns of a fit, in the units the solver steps in.

Coefficients are in standard deviations (blendshape expressions in [0, 1]). Camera and light are divided by
`CAMERA_UNITS` and `LIGHT_UNITS`, so that one Adam step of 0.01 moves every one of them by an amount one can see:
1 mm of the eye at portrait distance, 10 mm of the light, a hundredth of a colour.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ops.geometry.camera import Camera, camera_from_vector
from ops.geometry.constants import constant_like
from ops.render.lighting import Light, light_from_vector

CAMERA_UNITS = (100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 1.0, 1.0)
"""Millimetres an eye and target unit stand for; focal length in sides and roll in radians as they are."""
LIGHT_UNITS = (1000.0, 1000.0, 1000.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


class FitParameters(NamedTuple):
    """One row an image: every image keeps its own copy of identity and texture, made equal after each step."""

    identity: Float[Tensor, "image identity"]
    expression: Float[Tensor, "image expression"]
    texture: Float[Tensor, "image latent"]
    camera: Float[Tensor, "image 8"]
    light: Float[Tensor, "image 9"]

    def apply(self, function: Callable[[Tensor], Tensor]) -> "FitParameters":
        """The parameters after `function` on every tensor."""
        return FitParameters(*(function(value) for value in self))

    def joined(self) -> Float[Tensor, "image unknown"]:
        """All unknowns of an image side by side: what works on every one of them alike does so at once."""
        return torch.cat(self, 1)

    def split(self, unknowns: Float[Tensor, "row unknown"]) -> "FitParameters":
        """Other joined unknowns taken apart, in parts as long as these."""
        return FitParameters(*unknowns.split([value.shape[1] for value in self], 1))


def to_camera(vector: Float[Tensor, "image 8"]) -> Camera:
    """Solver units to a camera."""
    return camera_from_vector(vector * constant_like(CAMERA_UNITS, vector))


def to_light(vector: Float[Tensor, "image 9"]) -> Light:
    """Solver units to a light."""
    return light_from_vector(vector * constant_like(LIGHT_UNITS, vector))


def to_solver_light(vector: Float[Tensor, "image 9"]) -> Float[Tensor, "image 9"]:
    """A light's vector (position mm, colour, ambient) in solver units."""
    return vector / constant_like(LIGHT_UNITS, vector)


def images_of_group(usable: Bool[Tensor, " image"], group: Int64[Tensor, " image"]) -> Float[Tensor, " image"]:
    """How many usable images there are of every image's person."""
    weight = usable.float()
    return weight.new_zeros(len(weight)).index_add_(0, group, weight)[group]


def mean_over_groups(
    values: Float[Tensor, "image column"],
    group: Int64[Tensor, " image"],
    weight: Float[Tensor, " image"],
    groups: int | None = None,
) -> Float[Tensor, "image column"]:
    """Replace every row by the weighted mean of its group's rows (Gecer et al. 2019, the text below Eq. 13).

    Rows of weight 0 take no part in the mean but receive it; a group without weight keeps its rows. Group numbers are
    below `groups`, where it is known; else they are looked at.
    """
    if groups is None:
        groups = int(group.max()) + 1 if group.numel() else 0
    total = values.new_zeros(groups).index_add_(0, group, weight)
    summed = values.new_zeros(groups, values.shape[1]).index_add_(0, group, values * weight.unsqueeze(-1))
    mean = summed / total.clamp_min(1).unsqueeze(-1)
    return torch.where((total[group] > 0).unsqueeze(-1), mean[group], values)
