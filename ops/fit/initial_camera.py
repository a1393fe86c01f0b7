"""A first camera from 68 points: scaled orthography, lifted to a perspective camera at portrait distance."""

import torch
from jaxtyping import Float
from torch import Tensor

from ops.geometry.camera import Camera

PORTRAIT_DISTANCE_MM = 1200.0
"""Distance a face photo is taken from until the landmarks say otherwise."""


def initial_camera(points_mm: Float[Tensor, "*batch point 3"], image_points: Float[Tensor, "*batch point 2"]) -> Camera:
    """The camera that sees model points at normalised image points, up to perspective.

    Solves the affine camera by least squares, takes the nearest rotation (DeMenthon and Davis 1995, first iteration of
    POS) and puts the eye at `PORTRAIT_DISTANCE_MM` from the points' centre with the focal length that keeps the size.
    """
    centre = points_mm.mean(-2, keepdim=True)
    image_centre = image_points.mean(-2, keepdim=True)
    flip = image_points.new_tensor((1.0, -1.0))
    # Normal equations, as what torch.linalg.lstsq answers differs in the last bits from call to call.
    model, seen = (points_mm - centre).double(), ((image_points - image_centre) * flip).double()
    rows = torch.linalg.solve(model.mT @ model, model.mT @ seen).mT.to(image_points)
    u, singular, vt = torch.linalg.svd(rows, full_matrices=False)
    scale = singular.mean(-1)
    xy = u @ vt
    rotation = torch.cat((xy, torch.linalg.cross(xy[..., 0, :], xy[..., 1, :]).unsqueeze(-2)), -2)
    focal = scale * PORTRAIT_DISTANCE_MM
    # The centre appears at the image centre of the points: shift the eye sideways in the camera frame.
    offset = (0.5 - image_centre.squeeze(-2)) * flip * PORTRAIT_DISTANCE_MM / focal.unsqueeze(-1)
    in_camera = torch.cat((offset, torch.full_like(offset[..., :1], PORTRAIT_DISTANCE_MM)), -1)
    eye = centre.squeeze(-2) + (rotation.mT @ in_camera.unsqueeze(-1)).squeeze(-1)
    backward = rotation[..., 2, :]
    target = eye - PORTRAIT_DISTANCE_MM * backward
    level = torch.nn.functional.normalize(
        torch.linalg.cross(torch.tensor((0.0, 1.0, 0.0)).to(backward).expand_as(backward), backward), dim=-1
    )
    up = torch.linalg.cross(backward, level)
    right = rotation[..., 0, :]
    roll = torch.atan2(-(right * up).sum(-1), (right * level).sum(-1))
    return Camera(eye, target, focal, roll)
