"""Pictures of a finished fit, for people to look at."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ops.fit.objective import FitInput
from ops.fit.solver import FitResult
from ops.render.lighting import Light, light_from_vector

CLAY = 0.75
"""Albedo of the shape-only render."""


class FitPreview(NamedTuple):
    """Renders of every image with its fitted parameters, on the CPU, RGB in [0, 1]."""

    render: Float[Tensor, "image 3 side side"]
    mask: Bool[Tensor, "image side side"]
    shape_only: Float[Tensor, "image 3 side side"]
    """The surface alone, grey under one white light from above the camera."""
    texture: Float[Tensor, "group 3 texel texel"]


@torch.no_grad()
def render_fit(inputs: FitInput, result: FitResult) -> FitPreview:
    """Every image of a fit in its crop's frame, and the texture of every group."""
    view, texture = result.view, result.textures.clamp(0, 1)
    seen = view.shade(texture[inputs.group], light_from_vector(result.light.to(texture)))
    clay = texture.new_full((len(view.eye_mm), 3, 1, 1), CLAY)
    above = view.eye_mm + view.eye_mm.new_tensor((200.0, 500.0, 0.0))
    grey = torch.ones_like(above)
    surface = view.shade(clay, Light(above, 0.75 * grey, 0.3 * grey))
    return FitPreview(seen.image.clamp(0, 1).cpu(), seen.mask.cpu(), surface.image.clamp(0, 1).cpu(), texture.cpu())
