"""How well the landmarks determine a person's shape: the standard deviation of its posterior, in millimetres."""

import torch
from jaxtyping import Float
from torch import Tensor

from ops.face.morphable_model import MorphableModel
from ops.fit.landmark_stage import LandmarkFit, identity_covariance
from ops.fit.objective import FitInput, FitModels
from ops.fit.parameters import CAMERA_UNITS
from ops.fit.solver import FitResult

VERTEX_STRIDE = 5
"""One face vertex of so many is looked at."""


def shape_std_mm(models: FitModels, inputs: FitInput, result: FitResult) -> Float[Tensor, " group"]:
    """Root mean square over the face of the standard deviation of a person's neutral shape, on the CPU.

    Laplace's approximation about the fit, given points and priors alone, the regressor's answer among these where the
    fit asked it: what recognition and pixels add in the objective is not in it. Position, orientation and size are left
    out. NaN for a person without a finite image.
    """
    shape = models.shape.to("cpu")
    calibration = None if models.calibration is None else models.calibration.to("cpu")
    group = inputs.group.cpu()
    landmarks = inputs.landmarks_px.cpu().double() / inputs.images.shape[-1]
    dense = None if inputs.dense is None else inputs.dense.to("cpu")
    prior = None if inputs.identity_prior is None else inputs.identity_prior.to("cpu")
    spread = shape_spread(shape)
    found = torch.full((int(group.max()) + 1,), torch.nan, dtype=torch.float64)
    for person in range(len(found)):
        images = torch.nonzero((group == person) & ~result.diverged).squeeze(1)
        if not len(images) or not bool(landmarks[images].isfinite().all()):
            continue
        identity = result.identity[person].double().expand(len(images), -1)
        camera = result.camera[images].double() / torch.tensor(CAMERA_UNITS, dtype=torch.float64)
        fit = LandmarkFit(identity, result.expression[images].double(), camera)
        alone = torch.zeros_like(images)
        covariance = identity_covariance(
            shape,
            landmarks[images],
            alone,
            fit,
            config=models.landmark_noise,
            calibration=calibration,
            dense=None if dense is None else dense.rows(images),
            prior=None if prior is None else prior.rows(images),
        )[0]
        found[person] = (covariance * spread).sum().clamp_min(0).sqrt()
    return found.float()


def shape_spread(shape: MorphableModel) -> Float[Tensor, "identity identity"]:
    """The matrix G that makes trace(C G) the mean squared deviation of the face's vertices, mm^2, of a covariance C.

    Of the modes what a similarity of the mean face cannot do.
    """
    face = torch.nonzero(shape.regions["face"]).squeeze(1)[::VERTEX_STRIDE]
    points = shape.mean_mm[face].double()
    points = points - points.mean(0)
    eye = torch.eye(3, dtype=points.dtype)
    moves = [axis.expand_as(points) for axis in eye]
    moves += [torch.linalg.cross(axis.expand_as(points), points) for axis in eye]
    basis, _ = torch.linalg.qr(torch.stack([move.flatten() for move in (*moves, points)], 1))
    modes = shape.identity_basis_mm[:, face].double().flatten(1)
    modes = modes - (modes @ basis) @ basis.mT
    return modes @ modes.mT / len(face)
