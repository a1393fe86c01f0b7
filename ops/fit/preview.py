"""Pictures of a finished fit, for people to look at."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ops.fit.batching import batching_of
from ops.fit.objective import FitInput, FitModels
from ops.fit.solver import FitResult
from ops.geometry.camera import camera_from_vector
from ops.render.lighting import Light, light_from_vector
from ops.render.render import Topology, view_surface

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
def render_fit(models: FitModels, inputs: FitInput, result: FitResult, side_px: int) -> FitPreview:
    """Render every image of a fit at `side_px` in its crop's frame, and the texture of every group."""
    shape, device = models.shape, models.device
    topology = Topology(triangles=shape.triangles, uv=shape.uv, uv_triangles=shape.uv_triangles)
    identity = result.identity.to(device)[inputs.group]
    latent = result.texture.to(device)
    parts = batching_of(device).split(len(latent))
    texture = torch.cat([models.texture(latent[rows]) for rows in parts]).clamp(0, 1)
    vertices = shape.vertices_mm(identity, result.expression.to(device))
    camera = camera_from_vector(result.camera.to(device))
    light = light_from_vector(result.light.to(device))
    view = view_surface(topology, vertices, camera, side_px, rasterizer=models.rasterizer)
    seen = view.shade(texture[inputs.group], light)
    count = vertices.shape[0]
    clay = torch.full((count, 3, 1, 1), CLAY, device=device)
    above = camera.eye_mm + camera.eye_mm.new_tensor((200.0, 500.0, 0.0))
    grey = torch.ones_like(light.ambient)
    lamp = Light(above, 0.75 * grey, 0.3 * grey)
    surface = view.shade(clay, lamp)
    return FitPreview(seen.image.clamp(0, 1).cpu(), seen.mask.cpu(), surface.image.clamp(0, 1).cpu(), texture.cpu())
