"""The pinhole look-at camera, and the one place where axes, units and pixel centres are stated.

World: millimetres, right-handed, x towards the subject's left (image right), y up, z out of the face.
Camera frame: x right, y up, z backwards: a visible point has z < 0, its depth is -z.
Images: RGB float in [0, 1], row 0 on top; the centre of pixel (column i, row j) lies at (i + 0.5, j + 0.5).
Normalised image: x in [0, 1] left to right, y in [0, 1] top to bottom; pixels are normalised coordinates times the
side. Focal lengths are in image sides, so that a camera does not depend on the resolution.
Clip space: OpenGL's, x and y in [-w, w], y up, w the depth in millimetres.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ops.geometry.constants import constant_like

CAMERA_SIZE = 8
NEAR_MM = 10.0
FAR_MM = 20_000.0


class Camera(NamedTuple):
    """A pinhole camera that looks from `eye_mm` to `target_mm`, then rolls about its axis.

    `roll` is in radians; a positive roll turns the camera clockwise, so the picture turns anticlockwise.
    `focal` is the focal length in image sides, > 0.
    """

    eye_mm: Float[Tensor, "*batch 3"]
    target_mm: Float[Tensor, "*batch 3"]
    focal: Float[Tensor, "*batch"]
    roll: Float[Tensor, "*batch"]


def camera_to_vector(camera: Camera) -> Float[Tensor, "*batch 8"]:
    """Pack as (eye x y z, target x y z, focal, roll)."""
    return torch.cat((camera.eye_mm, camera.target_mm, camera.focal.unsqueeze(-1), camera.roll.unsqueeze(-1)), -1)


def camera_from_vector(vector: Float[Tensor, "*batch 8"]) -> Camera:
    """Unpack (eye x y z, target x y z, focal, roll)."""
    return Camera(vector[..., :3], vector[..., 3:6], vector[..., 6], vector[..., 7])


def camera_from_world(camera: Camera) -> Float[Tensor, "*batch 3 3"]:
    """The rotation whose rows are the camera's right, up and backward axes in the world.

    Undefined where the line of sight is vertical (parallel to y) or eye and target coincide.
    """
    backward = torch.nn.functional.normalize(camera.eye_mm - camera.target_mm, dim=-1)
    world_up = torch.zeros_like(backward)
    world_up[..., 1] = 1
    right = torch.nn.functional.normalize(torch.linalg.cross(world_up, backward), dim=-1)
    up = torch.linalg.cross(backward, right)
    cos, sin = camera.roll.cos().unsqueeze(-1), camera.roll.sin().unsqueeze(-1)
    return torch.stack((cos * right - sin * up, sin * right + cos * up, backward), -2)


def view_points(camera: Camera, points_mm: Float[Tensor, "*batch point 3"]) -> Float[Tensor, "*batch point 3"]:
    """World points in the camera frame (x right, y up, z backwards), millimetres."""
    return (points_mm - camera.eye_mm.unsqueeze(-2)) @ camera_from_world(camera).mT


def project_points(camera: Camera, points_mm: Float[Tensor, "*batch point 3"]) -> Float[Tensor, "*batch point 2"]:
    """Normalised image coordinates (x right, y down, [0, 1] inside the image) of world points.

    Points at or behind the near plane are projected as if they lay on it, so the result is always finite.
    """
    viewed = view_points(camera, points_mm)
    depth = (-viewed[..., 2:]).clamp_min(NEAR_MM)
    flipped = viewed[..., :2] * constant_like((1.0, -1.0), viewed)
    return 0.5 + camera.focal[..., None, None] * flipped / depth


def clip_points(camera: Camera, points_mm: Float[Tensor, "*batch point 3"]) -> Float[Tensor, "*batch point 4"]:
    """OpenGL clip coordinates (x, y, z, w): x / w, y / w in [-1, 1] inside the image, w the depth in millimetres."""
    viewed = view_points(camera, points_mm)
    depth = -viewed[..., 2:]
    xy = 2 * camera.focal[..., None, None] * viewed[..., :2]
    z = (depth * (FAR_MM + NEAR_MM) - 2 * FAR_MM * NEAR_MM) / (FAR_MM - NEAR_MM)
    return torch.cat((xy, z, depth), -1)
