"""Faces of known albedo under known light, photographed by our own renderer straight into a crop."""

import math
from dataclasses import dataclass

import torch

from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.face.morphable_model import MorphableModel
from ops.geometry.camera import Camera, project_points
from ops.render.lighting import Light
from ops.render.render import Topology, render
from ops.texture.unwrapping import FittedPhoto

SIDE = 224


@dataclass(frozen=True, kw_only=True)
class Shot:
    """How a face is photographed."""

    yaw: float = 0.0
    """Radians the camera stands to the subject's left."""
    light_mm: tuple[float, float, float] = (200.0, 400.0, 1200.0)
    ambient: float = 0.5
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    grey: bool = False
    zoom: float = 1.0
    expression: torch.Tensor | None = None
    """Coefficients; None: neutral."""


def photograph_face(
    shape: MorphableModel, albedo: torch.Tensor, fitted: torch.Tensor, shot: Shot, *, believed: Shot | None = None
) -> FittedPhoto:
    """A photo of the mean identity's face with an albedo, and its fit: true but for the texture, and the light if
    another is believed."""
    expression = torch.zeros(shape.expression_size) if shot.expression is None else shot.expression
    vertices = shape.vertices_mm(torch.zeros(1, shape.identity_size), expression.unsqueeze(0))[0]
    middle = vertices[shape.landmarks].mean(0)
    eye = middle + 1000 * torch.tensor((math.sin(shot.yaw), 0.0, math.cos(shot.yaw)))
    camera = Camera(eye, middle, torch.tensor(4.0), torch.tensor(0.0))
    one = Camera(*(value.unsqueeze(0) for value in camera))
    topology = Topology(triangles=shape.triangles, uv=shape.uv, uv_triangles=shape.uv_triangles)
    light = _light(middle, shot)
    lit = Light(*(value.unsqueeze(0) for value in light))
    # Anti-aliased: four samples a pixel.
    image = render(topology, vertices.unsqueeze(0), albedo.unsqueeze(0), one, lit, 2 * SIDE).image
    crop = torch.nn.functional.avg_pool2d(image, 2)[0].clamp(0, 1)
    if shot.grey:
        crop = (crop * torch.tensor((0.299, 0.587, 0.114))[:, None, None]).sum(0, keepdim=True).expand(3, -1, -1)
    points = choose_landmarks(vertices[landmark_vertices(shape)].unsqueeze(0), one)
    return FittedPhoto(
        crop_rgb=crop.contiguous(),
        valid=torch.ones(SIDE, SIDE, dtype=torch.bool),
        landmarks_px=project_points(one, points)[0] * SIDE,
        vertices_mm=vertices,
        camera=camera,
        light=light if believed is None else _light(middle, believed),
        texture=fitted,
        zoom=shot.zoom,
    )


def _light(middle: torch.Tensor, shot: Shot) -> Light:
    return Light(middle + torch.tensor(shot.light_mm), torch.tensor(shot.colour), torch.full((3,), shot.ambient))
