"""Stage one: camera, identity and expression from 68 points, by Levenberg-Marquardt, many images at once."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.face.morphable_model import MorphableModel, MorphablePoints
from ops.fit.initial_camera import initial_camera
from ops.fit.parameters import CAMERA_UNITS, to_camera
from ops.geometry.camera import project_points


@dataclass(frozen=True, kw_only=True)
class LandmarkStageConfig:
    """Noise and priors of the maximum a posteriori estimate."""

    landmark_sigma: float = 0.012
    """Standard deviation of a detected landmark, image sides: 2.7 px of 224, what 68-point networks reach."""
    jaw_sigma: float = 0.024
    """The same for the 17 jaw points, which slide along the outline."""
    identity_sigma: float = 1.0
    """Prior standard deviation of the identity coefficients."""
    expression_sigma: float = 1.0
    """Prior standard deviation of Gaussian expression coefficients."""
    blendshape_sigma: float = 0.3
    """The same for blendshape weights, which live in [0, 1]."""
    log_focal_sigma: float = 0.25
    """Prior standard deviation of the log of focal length, and with it of distance, about a portrait's."""
    target_sigma: float = 1.0
    """Holds the look-at target, whose distance along the line of sight nothing else determines; solver units."""
    initial_damping: float = 1e-3


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
) -> LandmarkFit:
    """Fit camera, identity and expression to normalised landmarks, in float64.

    Minimises projected-minus-detected distances under Gaussian priors by Levenberg-Marquardt (Marquardt 1963). Images
    with the same group number (0, 1, ... without gaps) show one person and share the identity, whose prior counts once:
    what one view leaves open another one tells. Groups do not influence each other, each has its own damping.
    Expressions of blendshape models are kept in [0, 1].
    """
    config = config or LandmarkStageConfig()
    problem = _Problem(shape, landmarks.double(), group, config)
    theta = problem.start()
    residual = problem.residual(theta)
    cost = problem.cost(theta, residual)
    damping = torch.full_like(cost, config.initial_damping)
    for _ in range(steps):
        step = problem.step(theta, residual, damping)
        trial = problem.constrain(theta + step)
        trial_residual = problem.residual(trial)
        trial_cost = problem.cost(trial, trial_residual)
        better = trial_cost < cost
        theta = torch.where(better[group].unsqueeze(-1), trial, theta)
        residual = torch.where(better[group].unsqueeze(-1), trial_residual, residual)
        cost = torch.where(better, trial_cost, cost)
        damping = torch.where(better, damping / 5, damping * 8).clamp(1e-9, 1e9)
    return LandmarkFit(*theta.split(problem.sizes, -1))


class _Problem:
    """Residuals of all images as one function of a matrix with one row of unknowns an image.

    The rows of a group hold equal copies of its identity; the prior of the identity is no residual, as it belongs to
    the group.
    """

    def __init__(
        self,
        shape: MorphableModel,
        landmarks: Float[Tensor, "image 68 2"],
        group: Int64[Tensor, " image"],
        config: LandmarkStageConfig,
    ) -> None:
        self.sizes = (shape.identity_size, shape.expression_size, 8)
        self.blendshapes = shape.metadata.expression_kind == "blendshape"
        points = shape.at_vertices(landmark_vertices(shape))
        self.points = MorphablePoints(
            mean_mm=points.mean_mm.double(),
            identity_basis_mm=points.identity_basis_mm.double(),
            expression_basis_mm=points.expression_basis_mm.double(),
        )
        self.landmarks = landmarks
        self.group = group
        self.groups = int(group.max()) + 1 if group.numel() else 0
        self.config = config
        self.units = landmarks.new_tensor(CAMERA_UNITS)
        sigma = torch.full((68, 1), config.landmark_sigma, dtype=landmarks.dtype, device=landmarks.device)
        sigma[:17] = config.jaw_sigma
        self.landmark_sigma = sigma
        self.first_camera = self._first_camera()

    def _first_camera(self) -> Float[Tensor, "image 8"]:
        count = self.landmarks.shape[0]
        zero = self.landmarks.new_zeros
        mean = self.points.vertices_mm(zero(count, self.sizes[0]), zero(count, self.sizes[1]))
        inner = mean[:, :51]
        camera = initial_camera(inner, self.landmarks[:, 17:])
        vector = torch.cat((camera.eye_mm, camera.target_mm, camera.focal.unsqueeze(-1), camera.roll.unsqueeze(-1)), -1)
        return vector / self.units

    def start(self) -> Float[Tensor, "image unknown"]:
        count = self.landmarks.shape[0]
        return torch.cat((self.landmarks.new_zeros(count, sum(self.sizes[:2])), self.first_camera), -1)

    def constrain(self, theta: Float[Tensor, "image unknown"]) -> Float[Tensor, "image unknown"]:
        identity, expression, camera = theta.split(self.sizes, -1)
        if self.blendshapes:
            expression = expression.clamp(0, 1)
        focal = camera[:, 6:7].clamp_min(0.1)
        return torch.cat((identity, expression, camera[:, :6], focal, camera[:, 7:]), -1)

    def residual(self, theta: Float[Tensor, "image unknown"]) -> Float[Tensor, "image residual"]:
        identity, expression, vector = theta.split(self.sizes, -1)
        camera = to_camera(vector)
        points = choose_landmarks(self.points.vertices_mm(identity, expression), camera)
        projected = project_points(camera, points)
        data = (projected - self.landmarks) / self.landmark_sigma
        expression_sigma = self.config.blendshape_sigma if self.blendshapes else self.config.expression_sigma
        log_focal = (camera.focal / self.first_camera[:, 6]).log().unsqueeze(-1) / self.config.log_focal_sigma
        target = (vector[:, 3:6] - self.first_camera[:, 3:6]) / self.config.target_sigma
        return torch.cat((data.flatten(1), expression / expression_sigma, log_focal, target), -1)

    def cost(
        self, theta: Float[Tensor, "image unknown"], residual: Float[Tensor, "image residual"]
    ) -> Float[Tensor, " group"]:
        """Half the sum of squared residuals of every group, the prior of its identity included."""
        identity = self.one_a_group(theta)[:, : self.sizes[0]] / self.config.identity_sigma
        return (self.sum_groups(residual.square().sum(-1)) + identity.square().sum(-1)) / 2

    def one_a_group(self, rows: Float[Tensor, "image column"]) -> Float[Tensor, "group column"]:
        """One row of every group, where its rows are equal."""
        return rows.new_zeros(self.groups, rows.shape[1]).index_copy(0, self.group, rows)

    def sum_groups(self, values: Float[Tensor, "image *rest"]) -> Float[Tensor, "group *rest"]:
        """The sum over the images of every group."""
        return values.new_zeros(self.groups, *values.shape[1:]).index_add_(0, self.group, values)

    def step(
        self,
        theta: Float[Tensor, "image unknown"],
        residual: Float[Tensor, "image residual"],
        damping: Float[Tensor, " group"],
    ) -> Float[Tensor, "image unknown"]:
        """Solve (J^T J + damping diag(J^T J)) step = -J^T r, every image's own unknowns eliminated first.

        A system that is not positive definite yields no step, after which the damping grows.
        """

        def directional(tangent: Tensor) -> Tensor:
            return torch.func.jvp(self.residual, (theta,), (tangent.expand_as(theta),))[1]

        columns = torch.eye(theta.shape[1], dtype=theta.dtype, device=theta.device)
        jacobian = torch.func.vmap(directional)(columns).permute(1, 2, 0)
        shared, own = jacobian.split((self.sizes[0], sum(self.sizes[1:])), -1)
        precision = self.config.identity_sigma**-2
        identity = self.one_a_group(theta)[:, : self.sizes[0]]
        gradient = self.sum_groups(shared.mT @ residual.unsqueeze(-1)) + precision * identity.unsqueeze(-1)
        normal = self.sum_groups(shared.mT @ shared) + precision * torch.eye(self.sizes[0]).to(theta)
        mixed = own.mT @ shared
        # By Cholesky: torch's batched LU fails on the CPU with more than one thread.
        factor, info = torch.linalg.cholesky_ex(_damped(own.mT @ own, damping[self.group]))
        right = torch.cat((mixed, own.mT @ residual.unsqueeze(-1)), -1)
        solved = torch.cholesky_solve(right, factor)
        reduced = self.sum_groups(mixed.mT @ solved)
        system = _damped(normal, damping) - reduced[..., :-1]
        outer, outer_info = torch.linalg.cholesky_ex(system)
        identity_step = torch.cholesky_solve(reduced[..., -1:] - gradient, outer)[self.group]
        own_step = -solved[..., -1:] - solved[..., :-1] @ identity_step
        failed = self.sum_groups((info != 0).to(theta.dtype)) + outer_info.abs() > 0
        step = torch.cat((identity_step, own_step), 1).squeeze(-1)
        return torch.where(failed[self.group].unsqueeze(-1), 0, step)


def _damped(
    normal: Float[Tensor, "*batch unknown unknown"], damping: Float[Tensor, " *batch"]
) -> Float[Tensor, "*batch unknown unknown"]:
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    return normal + torch.diag_embed(damping.unsqueeze(-1) * diagonal + 1e-12)
