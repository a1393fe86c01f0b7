"""Estimates what a landmark network's points are on a shape model, from photos of many people.

The model is hierarchical. A person's identity is N(0, I); the expression of a photo is N(mean, covariance) of the
population; a camera per photo is free; point k of the network lies at one place t_k of the surface for
everybody, N(0, offset_sigma^2) about the shape model's own vertex; the detected points scatter about the projected ones
with one covariance for all points together. Places and mean expression are solved for with identity, expression and
camera marginalised (linearised at their maximum a posteriori): were they alternated with the identities instead, these
would keep most of what is the same for everybody. Covariances are updated by expectation maximisation with the Laplace
approximation of the posterior. A photo counts by the weight of a multivariate Student's t, so wild ones hardly do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.errors import InputError
from ops.face.landmark_calibration import LandmarkCalibration
from ops.face.landmark_points import (
    JAW,
    choose_candidates,
    landmark_of_candidate,
    landmark_surface,
)
from ops.face.morphable_model import MorphableModel
from ops.fit.landmark_problem import (
    COORDINATES,
    LandmarkProblem,
    LandmarkStageConfig,
    NormalEquations,
    projection_slope,
)
from ops.fit.parameters import to_camera
from ops.geometry.mesh import Mesh
from ops.networks.face_crop import MIRRORED_68
from ops.registration.closest_point import ClosestPointIndex

MIN_PEOPLE = 20
"""Fewer say too little of a population."""


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """Priors of what is estimated, and how long."""

    offset_sigma_mm: float = 3.0
    """Prior standard deviation of a point's place on the surface, along either direction."""
    expression_mean_sigma: float = 0.3
    """Prior standard deviation of the mean expression, in the coefficients' own unit."""
    expression_sigma: float = 0.15
    """Standard deviation of expressions to begin with, and what `prior_photos` photos of them would have shown."""
    noise_sigma: float = 0.012
    """Standard deviation of the points to begin with, aligned crop sides; also what `prior_photos` would have shown."""
    jaw_sigma: float = 0.015
    """The same for the jaw."""
    prior_photos: float = 10.0
    """Photos that the prior of the covariances weighs as much as."""
    degrees_of_freedom: float = 30.0
    """Of Student's t over a photo's points; infinite: Gaussian."""
    rounds: int = 7
    steps: int = 2
    """Levenberg-Marquardt iterations between updates; the first round takes four times as many."""
    mirrored: bool = True
    """Mirror the photos of every other person: networks and populations are symmetric, and so becomes what is found."""
    stage: LandmarkStageConfig = field(default_factory=lambda: LandmarkStageConfig(slide_sigma=0.0, population=True))
    """Nothing slides here: the covariance shows how far the jaw points scatter along the outline."""


def mirror_landmarks(landmarks: Float[Tensor, "image 68 2"]) -> Float[Tensor, "image 68 2"]:
    """The points of the mirrored crops, in their order there."""
    order = torch.from_numpy(MIRRORED_68).to(landmarks.device)
    return landmarks.new_tensor((1.0, 0.0)) + landmarks[:, order] * landmarks.new_tensor((-1.0, 1.0))


def start_calibration(shape: MorphableModel, config: CalibrationConfig) -> LandmarkCalibration:
    """The model's own vertices, independent noise, a neutral mean expression."""
    nominal = landmark_surface(shape)
    points = nominal.points_mm(shape.mean_mm.double())
    corners, weights = _Skin(shape).nearest(points)
    zero = torch.zeros(shape.expression_size, dtype=torch.float64)
    return LandmarkCalibration(
        corners=corners,
        weights=weights,
        noise=_first_noise(config),
        expression_mean=zero,
        expression_covariance=torch.diag(zero + config.expression_sigma**2),
    )


def calibrate_landmarks(
    shape: MorphableModel,
    landmarks: Float[Tensor, "image 68 2"],
    person: Int64[Tensor, " image"],
    config: CalibrationConfig | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> LandmarkCalibration:
    """Estimate a calibration from points in aligned crops (crop sides), one person number per photo (0, 1, ...).

    Raises:
        InputError: too few people.
    """
    config = config or CalibrationConfig()
    people = int(person.max()) + 1 if person.numel() else 0
    if people < MIN_PEOPLE:
        raise InputError(f"expected photos of at least {MIN_PEOPLE} people to calibrate on, got {people}")
    points = landmarks.double()
    if config.mirrored:
        points = torch.where((person % 2 == 1)[:, None, None], mirror_landmarks(points), points)
    calibration, skin = start_calibration(shape, config), _Skin(shape)
    theta: Tensor | None = None
    for turn in range(config.rounds):
        problem = LandmarkProblem(shape, points, person, config.stage, calibration)
        theta = problem.solve(config.steps * (4 if turn == 0 else 1), theta)
        calibration, theta = _improve(shape, problem, theta, calibration, skin, config)
        constant = problem.difference(theta).mean(0).unflatten(0, (68, 2)).norm(dim=-1).mean()
        norm = theta[:, : shape.identity_size].mean(0).norm()
        noise = calibration.noise.diagonal().mean().sqrt()
        say(f"round {turn + 1}: mean identity {norm:.3f}, constant {constant:.5f}, noise {noise:.5f} crop sides")
    return calibration


def _improve(
    shape: MorphableModel,
    problem: LandmarkProblem,
    theta: Float[Tensor, "image unknown"],
    calibration: LandmarkCalibration,
    skin: "_Skin",
    config: CalibrationConfig,
) -> tuple[LandmarkCalibration, Float[Tensor, "image unknown"]]:
    """One update of everything; also the unknowns that go with the new places, to first order."""
    residual, jacobian = problem.residual(theta), problem.jacobian(theta)
    squared = residual[:, :COORDINATES].square().sum(-1)
    weight = (config.degrees_of_freedom + COORDINATES) / (config.degrees_of_freedom + squared)
    weight = weight / weight.mean()
    noise, spread = _covariances(problem, theta, residual, jacobian, weight, config)
    tangent = skin.tangents(calibration)
    scale = weight.sqrt().unsqueeze(-1)
    design = _design(problem, theta, tangent) * scale.unsqueeze(-1)
    residual, jacobian = residual * scale, jacobian * scale.unsqueeze(-1)
    system = problem.normal_equations(theta, residual, jacobian, theta.new_zeros(problem.groups))
    moved_mm = calibration.surface.points_mm(shape.mean_mm.double()) - landmark_surface(shape).points_mm(
        shape.mean_mm.double()
    )
    first = _first_candidates(len(moved_mm))
    so_far = torch.cat(((tangent.mT @ moved_mm[first].unsqueeze(-1)).flatten(), calibration.expression_mean.double()))
    change, theta = _solve(problem, theta, residual, jacobian, design, system, so_far, config)
    offset = (tangent @ change[:COORDINATES].unflatten(0, (68, 2, 1))).squeeze(-1)
    points = calibration.surface.points_mm(shape.mean_mm.double()) + offset[landmark_of_candidate(len(moved_mm))]
    corners, weights = skin.nearest(points)
    mean = calibration.expression_mean + change[COORDINATES:]
    new = replace(
        calibration,
        corners=corners,
        weights=weights,
        noise=noise,
        expression_mean=mean.clamp(0, 1) if problem.blendshapes else mean,
        expression_covariance=spread,
    )
    return new, problem.constrain(theta)


def _design(
    problem: LandmarkProblem, theta: Float[Tensor, "image unknown"], tangent: Float[Tensor, "68 3 2"]
) -> Float[Tensor, "image residual unknown2"]:
    """Derivatives of the residuals by the places (two directions per point) and by the mean expression."""
    identity, expression, vector = theta.split(problem.sizes, -1)
    camera = to_camera(vector)
    points = problem.points.vertices_mm(identity, expression)
    seen = points.gather(1, choose_candidates(points, camera).unsqueeze(-1).expand(-1, -1, 3))
    slope = projection_slope(camera, seen) @ tangent
    placed = slope.new_zeros(len(slope), 68, 2, 68, 2)
    number = torch.arange(68)
    placed[:, number, :, number, :] = slope.transpose(0, 1)
    data = problem.whiten(placed.flatten(3).flatten(1, 2))
    size = problem.sizes[1]
    design = data.new_zeros(len(data), COORDINATES + size + 4, COORDINATES + size)
    design[:, :COORDINATES, :COORDINATES] = data
    design[:, COORDINATES : COORDINATES + size, COORDINATES:] = -problem.expression_whitening
    return design


def _solve(
    problem: LandmarkProblem,
    theta: Float[Tensor, "image unknown"],
    residual: Float[Tensor, "image residual"],
    jacobian: Float[Tensor, "image residual unknown"],
    design: Float[Tensor, "image residual unknown2"],
    system: NormalEquations,
    so_far: Float[Tensor, " unknown2"],
    config: CalibrationConfig,
) -> tuple[Float[Tensor, " unknown2"], Float[Tensor, "image unknown"]]:
    """The change of places and mean expression, everything else marginalised, and the unknowns that go with it."""
    shared, own = jacobian.split((problem.sizes[0], sum(problem.sizes[1:])), -1)
    own_mixed = own.mT @ design
    own_from_design = torch.cholesky_solve(own_mixed, system.own_factor)
    mixed = problem.sum_groups(shared.mT @ design - (own.mT @ shared).mT @ own_from_design)
    factor = torch.linalg.cholesky(system.precision)
    identity_from_design = torch.cholesky_solve(mixed, factor)
    identity_step = torch.cholesky_solve(system.gradient.unsqueeze(-1), factor)
    prior = torch.full_like(so_far, config.expression_mean_sigma**-2)
    prior[:COORDINATES] = config.offset_sigma_mm**-2
    normal = (design.mT @ design - own_mixed.mT @ own_from_design).sum(0)
    normal = normal - (mixed.mT @ identity_from_design).sum(0) + torch.diag(prior)
    slope = (design.mT @ residual.unsqueeze(-1) - own_mixed.mT @ system.own_step.unsqueeze(-1)).sum(0)
    slope = slope - (mixed.mT @ identity_step).sum(0) + (prior * so_far).unsqueeze(-1)
    change = bounded_minimum(normal, slope.squeeze(-1), so_far, problem.blendshapes).unsqueeze(-1)
    moved = (-identity_step - identity_from_design @ change)[problem.group]
    own_moved = -system.own_step.unsqueeze(-1) - own_from_design @ change - system.own_from_shared @ moved
    return change.squeeze(-1), theta + torch.cat((moved, own_moved), 1).squeeze(-1)


def bounded_minimum(
    normal: Float[Tensor, "unknown unknown"],
    slope: Float[Tensor, " unknown"],
    so_far: Float[Tensor, " unknown"],
    blendshapes: bool,
) -> Float[Tensor, " unknown"]:
    """The change that minimises a quadratic, mean expressions of blendshape models kept >= 0 (active set).

    Solved without the bounds and clamped afterwards, the places of points would make up for expressions that do not
    exist.
    """
    held = torch.zeros_like(slope, dtype=torch.bool)
    change = torch.zeros_like(slope)
    for _ in range(len(slope)):
        change = torch.where(held, -so_far, change)
        free = torch.nonzero(~held).squeeze(1)
        right = slope[free] + normal[free][:, held] @ change[held]
        change[free] = -torch.linalg.solve(normal[free][:, free], right)
        below = (so_far + change < 0) & ~held
        below[:COORDINATES] = False
        if not blendshapes or not bool(below.any()):
            break
        held |= below
    return change


def _covariances(
    problem: LandmarkProblem,
    theta: Float[Tensor, "image unknown"],
    residual: Float[Tensor, "image residual"],
    jacobian: Float[Tensor, "image residual unknown"],
    weight: Float[Tensor, " image"],
    config: CalibrationConfig,
) -> tuple[Float[Tensor, "136 136"], Float[Tensor, "expression expression"]]:
    """Covariances of noise and expression: second moments under the posterior (Laplace)."""
    system = problem.normal_equations(theta, residual, jacobian, theta.new_zeros(problem.groups))
    identity_factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(system.precision)))
    shared, own = jacobian[:, :COORDINATES].split((problem.sizes[0], sum(problem.sizes[1:])), -1)
    spread = torch.cat(
        (
            torch.linalg.solve_triangular(system.own_factor, own.mT, upper=False).mT,
            (shared - own @ system.own_from_shared) @ identity_factor[problem.group],
        ),
        -1,
    )
    # The Jacobian is of white residuals: back to crop sides.
    spread = problem.colour(spread)
    difference = problem.difference(theta)
    total = (weight[:, None] * difference).mT @ difference
    weighted = (spread * weight.sqrt()[:, None, None]).transpose(0, 1).flatten(1)
    total = total + weighted @ weighted.mT
    photos = len(theta)
    noise = (total + config.prior_photos * _first_noise(config).to(total)) / (photos + config.prior_photos)
    size = problem.sizes[1]
    eye = torch.eye(own.shape[-1]).to(own)
    inverse = torch.linalg.solve_triangular(system.own_factor, eye.expand(len(own), -1, -1), upper=False)
    follows = system.own_from_shared[:, :size] @ identity_factor[problem.group]
    deviation = (theta[:, problem.sizes[0] : problem.sizes[0] + size] - problem.expression_mean).unsqueeze(-1)
    moments = torch.cat((inverse[:, :, :size].mT, follows, deviation), -1) * weight.sqrt()[:, None, None]
    columns = moments.transpose(0, 1).flatten(1)
    prior = torch.diag(columns.new_full((size,), config.prior_photos * config.expression_sigma**2))
    return noise, (columns @ columns.mT + prior) / (photos + config.prior_photos)


def _first_noise(config: CalibrationConfig) -> Float[Tensor, "136 136"]:
    sigma = torch.full((68,), config.noise_sigma, dtype=torch.float64)
    sigma[:JAW] = config.jaw_sigma
    return torch.diag(sigma.square().repeat_interleave(2))


def _first_candidates(candidates: int) -> Int64[Tensor, "68"]:
    """The first candidate of each of the 68 landmarks."""
    owner = landmark_of_candidate(candidates)
    return torch.stack([torch.nonzero(owner == number)[0, 0] for number in range(68)])


class _Skin:
    """The skin of the mean face: closest points and tangent planes."""

    def __init__(self, shape: MorphableModel) -> None:
        inside = shape.regions["skin"][shape.triangles.long()].all(1)
        self._triangles = shape.triangles[inside].long()
        self._vertices = shape.mean_mm.double()
        self._index = ClosestPointIndex(Mesh(self._vertices.numpy(), self._triangles.int().numpy()))

    def nearest(self, points_mm: Float[Tensor, "point 3"]) -> tuple[Int64[Tensor, "point 3"], Float[Tensor, "point 3"]]:
        """Corners and barycentric weights of the closest points."""
        found = self._index.query(np.asarray(points_mm))
        return self._triangles[torch.from_numpy(found.triangle)], torch.from_numpy(found.barycentric)

    def tangents(self, calibration: LandmarkCalibration) -> Float[Tensor, "68 3 2"]:
        """Two orthonormal directions along the surface at the place of every landmark."""
        corners = calibration.corners[_first_candidates(len(calibration.corners))]
        a, b, c = self._vertices[corners].unbind(1)
        normal = torch.linalg.cross(b - a, c - a)
        across = torch.linalg.cross(torch.tensor((0.0, 1.0, 0.0)).to(normal).expand_as(normal), normal)
        across = torch.nn.functional.normalize(across, dim=-1)
        up = torch.nn.functional.normalize(torch.linalg.cross(normal, across), dim=-1)
        return torch.stack((across, up), -1)
