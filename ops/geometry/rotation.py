"""Rotations as 3 x 3 matrices acting on column vectors: y = R x."""

import torch
from jaxtyping import Float
from torch import Tensor


def rotation_from_euler(
    yaw: Float[Tensor, "*batch"], pitch: Float[Tensor, "*batch"], roll: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """R = Rz(roll) Rx(pitch) Ry(yaw), angles in radians.

    In the world frame of `ops.geometry.camera` a positive yaw turns the face towards +x (the subject's left), a
    positive pitch nods it down and a positive roll tilts it anticlockwise as seen by the camera.
    """
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    cy, sy, cp, sp, cr, sr = yaw.cos(), yaw.sin(), pitch.cos(), pitch.sin(), roll.cos(), roll.sin()
    about_y = torch.stack((cy, zero, sy, zero, one, zero, -sy, zero, cy), -1).unflatten(-1, (3, 3))
    about_x = torch.stack((one, zero, zero, zero, cp, -sp, zero, sp, cp), -1).unflatten(-1, (3, 3))
    about_z = torch.stack((cr, -sr, zero, sr, cr, zero, zero, zero, one), -1).unflatten(-1, (3, 3))
    return about_z @ about_x @ about_y
