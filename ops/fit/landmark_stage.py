"""Stage one: camera, identity and expression from points, by Levenberg-Marquardt, many images at once."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.face.dense_points import DenseSight
from ops.face.landmark_calibration import LandmarkCalibration
from ops.face.morphable_model import MorphableModel
from ops.fit.landmark_problem import IdentityPrior, LandmarkProblem, LandmarkStageConfig


class LandmarkFit(NamedTuple):
    """Coefficients and camera in solver units; the rows of a person share their identity."""

    identity: Float[Tensor, "image identity"]
    expression: Float[Tensor, "image expression"]
    camera: Float[Tensor, "image 8"]


def fit_landmarks(
    shape: MorphableModel,
    landmarks: Float[Tensor, "image 68 2"],
    group: Int64[Tensor, " image"],
    *,
    steps: int,
    config: LandmarkStageConfig | None = None,
    calibration: LandmarkCalibration | None = None,
    dense: DenseSight | None = None,
    prior: IdentityPrior | None = None,
) -> LandmarkFit:
    """Fit camera, identity and expression to normalised landmarks, in float64.

    Minimises projected-minus-detected distances under Gaussian priors by Levenberg-Marquardt (Marquardt 1963). Images
    with the same group number (0, 1, ... without gaps) show one person and share the identity, whose prior counts once:
    what one view leaves open another one tells. Groups do not influence each other, each has its own damping.
    Expressions of blendshape models are kept in [0, 1]. A calibration says where the points lie and how they scatter;
    dense points count beside the landmarks.
    """
    problem = LandmarkProblem(shape, landmarks, group, config or LandmarkStageConfig(), calibration, dense, prior)
    return LandmarkFit(*problem.solve(steps).split(problem.sizes, -1))


def identity_covariance(
    shape: MorphableModel,
    landmarks: Float[Tensor, "image 68 2"],
    group: Int64[Tensor, " image"],
    fit: LandmarkFit,
    *,
    config: LandmarkStageConfig | None = None,
    calibration: LandmarkCalibration | None = None,
    dense: DenseSight | None = None,
    prior: IdentityPrior | None = None,
) -> Float[Tensor, "group identity identity"]:
    """Posterior covariance of every person's identity at a fit (Laplace), expression and camera marginalised."""
    precision = identity_precision(
        shape, landmarks, group, fit, config=config, calibration=calibration, dense=dense, prior=prior
    )
    return torch.cholesky_inverse(torch.linalg.cholesky(precision))


def identity_precision(
    shape: MorphableModel,
    landmarks: Float[Tensor, "image 68 2"],
    group: Int64[Tensor, " image"],
    fit: LandmarkFit,
    *,
    config: LandmarkStageConfig | None = None,
    calibration: LandmarkCalibration | None = None,
    dense: DenseSight | None = None,
    prior: IdentityPrior | None = None,
) -> Float[Tensor, "group identity identity"]:
    """The inverse of `identity_covariance`: the prior's identity matrix and what the landmarks add."""
    problem = LandmarkProblem(shape, landmarks, group, config or LandmarkStageConfig(), calibration, dense, prior)
    theta = torch.cat(fit, -1).double()
    damping = theta.new_zeros(problem.groups)
    return problem.normal_equations(theta, problem.residual(theta), problem.jacobian(theta), damping).precision
