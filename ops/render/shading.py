"""Deferred Phong shading under one point light plus ambient, with a texture fetched per pixel (Phong 1975).

At each pixel the surface point p, its normal n and its albedo are interpolated; with l and v the unit vectors from p to
the light and to the eye and r = 2 (n.l) n - l the mirrored light,

    image = ambient * albedo + colour * albedo * max(n.l, 0) + colour * specular * max(r.v, 0) ^ shininess

where the last term falls away on surfaces turned from the light (n.l <= 0).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int32
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from ops.geometry.topology import Topology
from ops.render.lighting import Light


@dataclass(frozen=True, kw_only=True)
class PhongMaterial:
    """How the surface mirrors light; the albedo is the texture's."""

    specular: float = 0.08
    """Strength of the highlight as a factor on the light's colour, >= 0; skin is weakly specular."""
    shininess: float = 16.0
    """Exponent of the highlight, >= 1; about 16 makes the broad gloss of skin."""


class Scene(NamedTuple):
    """What is the same for all pixels of an image."""

    eye_mm: Float[Tensor, "image 3"]
    light: Light


def shade_plain(
    pixels: Float[Tensor, "image height width 4"],
    topology: Topology,
    vertices_mm: Float[Tensor, "image vertex 3"],
    normals: Float[Tensor, "image vertex 3"],
    texture: Float[Tensor, "image 3 texture_height texture_width"],
    scene: Scene,
    material: PhongMaterial,
) -> Float[Tensor, "image 3 height width"]:
    """Colours of the pixels that a rasteriser found, zero where it found none; any float type, any device.

    The texture is sampled bilinearly and clamped at its border; texel column i covers [i, i + 1] / width.
    Differentiable in everything: positions, normals, texture, eye, light and the weights in `pixels`.
    """
    seen = pixels[..., 3] > 0
    triangle = (pixels[..., 3].long() - 1).clamp_min(0)
    weights = torch.cat((pixels[..., :2], 1 - pixels[..., :2].sum(-1, keepdim=True)), -1)
    corners = topology.triangles.long()[triangle]
    point = _interpolate(vertices_mm, corners, weights)
    normal = normalize(_interpolate(normals, corners, weights), dim=-1, eps=1e-20)
    uv = (topology.uv[topology.uv_triangles.long()[triangle]] * weights.unsqueeze(-1)).sum(-2)
    albedo = sample_texture(texture, uv).movedim(1, -1)
    image = phong(point, normal, albedo, scene, material)
    return torch.where(seen.unsqueeze(-1), image, torch.zeros_like(image)).movedim(-1, 1)


def sample_texture(
    texture: Float[Tensor, "image 3 texture_height texture_width"], uv: Float[Tensor, "image height width 2"]
) -> Float[Tensor, "image 3 height width"]:
    """Bilinear, clamped texture values at texture coordinates (origin bottom left)."""
    grid = uv * uv.new_tensor((2.0, -2.0)) + uv.new_tensor((-1.0, 1.0))
    return grid_sample(texture, grid, mode="bilinear", padding_mode="border", align_corners=False)


def phong(
    point_mm: Float[Tensor, "image height width 3"],
    normal: Float[Tensor, "image height width 3"],
    albedo: Float[Tensor, "image height width 3"],
    scene: Scene,
    material: PhongMaterial,
) -> Float[Tensor, "image height width 3"]:
    """The equation at the top of this module."""
    to_light = normalize(scene.light.position_mm[:, None, None] - point_mm, dim=-1)
    to_eye = normalize(scene.eye_mm[:, None, None] - point_mm, dim=-1)
    cosine = (normal * to_light).sum(-1, keepdim=True)
    mirrored = 2 * cosine * normal - to_light
    glance = torch.where(cosine > 0, (mirrored * to_eye).sum(-1, keepdim=True), torch.zeros_like(cosine))
    highlight = material.specular * glance.clamp_min(0) ** material.shininess
    ambient, colour = scene.light.ambient[:, None, None], scene.light.colour[:, None, None]
    return albedo * (ambient + colour * cosine.clamp_min(0)) + colour * highlight


def _interpolate(
    attribute: Float[Tensor, "image vertex 3"],
    corners: Int32[Tensor, "image height width 3"] | Tensor,
    weights: Float[Tensor, "image height width 3"],
) -> Float[Tensor, "image height width 3"]:
    image = torch.arange(len(attribute), device=attribute.device)[:, None, None, None]
    return (attribute[image, corners] * weights.unsqueeze(-1)).sum(-2)
