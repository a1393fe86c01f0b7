"""The posterior of camera, identity and expression given points: residuals, Jacobian, normal equations.

Images of one person share the identity, whose prior counts once. Every image's own unknowns (expression, camera) are
eliminated first, so the systems stay small however many photos a person has.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ops.face.blendshapes import SMILE, blendshape_direction, has_ict_expressions
from ops.face.dense_points import DenseSight
from ops.face.landmark_calibration import LandmarkCalibration
from ops.face.landmark_parts import EYES
from ops.face.landmark_points import JAW, choose_candidates, landmark_surface
from ops.face.morphable_model import MorphableModel, MorphablePoints
from ops.fit.initial_camera import initial_camera
from ops.fit.parameters import CAMERA_UNITS, to_camera
from ops.geometry.camera import Camera, camera_from_world, project_points, view_points

COORDINATES = 136
ABOVE_EYES_MM = 6.0
"""Dense points further above the eyelids lie on brows and forehead."""


@dataclass(frozen=True, kw_only=True)
class LandmarkStageConfig:
    """Noise and priors of the maximum a posteriori estimate; some have other values with a calibration."""

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
    smile_sigma: float = 0.0
    """The same for a smile of ICT-FaceKit's blendshapes together, on top of each by itself: people smile in photos."""
    log_focal_sigma: float = 0.25
    """Prior standard deviation of the log of focal length, and with it of distance, about a portrait's."""
    target_sigma: float = 1.0
    """Holds the look-at target, whose distance along the line of sight nothing else determines; solver units."""
    slide_sigma: float = 0.03
    """Standard deviation, image sides, by which calibrated jaw points may lie elsewhere along the outline."""
    population: bool = False
    """Take noise and expressions from the calibration. They are those of the portraits it was estimated from, whose
    places they are needed to find; for the shape of a face the settings below measured better."""
    calibrated_sigma: float = 0.02
    """Standard deviation of a point at its calibrated place otherwise, image sides."""
    calibrated_jaw_sigma: float = 0.05
    """The same for the jaw."""
    calibrated_blendshape_sigma: float = 0.15
    """Prior standard deviation of blendshape weights about 0 with a calibration."""
    shared_variance: float = 0.0
    """Part of the noise's variance that all photos of a person share: what a network sees wrong in a face it sees wrong
    in every photo of it, so n of them tell as much as n / (1 + (n - 1) shared_variance) independent ones."""
    dense_factor: float = 1.5
    """What a dense network's deviations are multiplied with: on photos it errs by more than on the renders it knows."""
    dense_floor: float = 0.012
    """Added to them, as variances: what of its errors it cannot know of; image sides."""
    initial_damping: float = 1e-3


WITHOUT_BIAS = LandmarkStageConfig(landmark_sigma=0.008, jaw_sigma=0.02, blendshape_sigma=0.15, shared_variance=0.75)
"""For landmarks whose bias has been taken off: the noise that is left is smaller, and mostly the face's own."""
BESIDE_DENSE = replace(WITHOUT_BIAS, landmark_sigma=0.012, jaw_sigma=0.03, smile_sigma=0.5)
"""For the same beside dense points, which see smiles for what they are."""
BESIDE_DENSE_WITH_BIAS = replace(BESIDE_DENSE, landmark_sigma=0.05, jaw_sigma=0.1)
"""For landmarks whose bias is not known beside dense points, which have none: they only say where the face is."""


class IdentityPrior(NamedTuple):
    """What is known of identities before points are looked at: independent normal coefficients.

    One row per image; the rows of a person are equal.
    """

    mean: Float[Tensor, "image identity"]
    precision: Float[Tensor, "image identity"]
    """Inverse variances; 1 where nothing is known but the population."""

    def rows(self, images: slice | Int64[Tensor, " row"]) -> "IdentityPrior":
        """Those of some images."""
        return IdentityPrior(self.mean[images], self.precision[images])

    def to(self, device: torch.device | str) -> "IdentityPrior":
        """The same on another device."""
        return IdentityPrior(self.mean.to(device), self.precision.to(device))


class NormalEquations(NamedTuple):
    """The Gauss-Newton system at a point, its own unknowns eliminated image by image."""

    own_factor: Float[Tensor, "image own own"]
    """Cholesky factor of each image's own block."""
    own_from_shared: Float[Tensor, "image own identity"]
    """Own block's inverse times the mixed block: how an image's own unknowns follow the identity."""
    own_step: Float[Tensor, "image own"]
    """Own block's inverse times its gradient."""
    precision: Float[Tensor, "group identity identity"]
    """Of the identity, everything else marginalised."""
    gradient: Float[Tensor, "group identity"]
    failed: Float[Tensor, " group"]
    """Not 0 where a block is not positive definite."""


class DensePart:
    """The residuals of dense points: each at its own vertex, with its own noise.

    Points on brows and forehead are left out: brows lie where a person has them, not where a shape model has some
    vertices, and a forehead shows a network nothing to tell one place from another.
    """

    def __init__(
        self,
        shape: MorphableModel,
        sight: DenseSight,
        config: LandmarkStageConfig,
        spread: Float[Tensor, "image 1 1"],
    ) -> None:
        used = below_brows(shape, sight.vertices)
        self._points = _doubled(shape.at_vertices(sight.vertices[used]))
        self._bases = _bases(self._points)
        self._seen = sight.points[:, used].double()
        deviations = config.dense_factor * sight.deviations[:, used].double()
        sigma = (deviations.square() + config.dense_floor**2).sqrt()
        self._sigma = sigma.repeat_interleave(2, 1).unsqueeze(-1) * spread

    def residual(
        self, identity: Float[Tensor, "image identity"], expression: Float[Tensor, "image expression"], camera: Camera
    ) -> Float[Tensor, "image coordinate"]:
        """Projected minus seen points in units of their noise."""
        projected = project_points(camera, self._points.vertices_mm(identity, expression))
        return ((projected - self._seen).flatten(1).unsqueeze(-1) / self._sigma).squeeze(-1)

    def jacobian(
        self,
        identity: Float[Tensor, "image identity"],
        expression: Float[Tensor, "image expression"],
        camera: Float[Tensor, "image 8"],
    ) -> Float[Tensor, "image coordinate unknown"]:
        """Derivatives of the residuals by identity, expression and camera (solver units)."""
        points = self._points.vertices_mm(identity, expression)
        return slope_by_unknowns(camera, points, self._bases) / self._sigma


class LandmarkProblem:
    """Residuals of all images as one function of a matrix with one row of unknowns per image.

    The rows of a group hold equal copies of its identity; the prior of the identity is no residual, as it belongs to
    the group. Dense points, where there are any, count beside the landmarks. Works in float64.
    """

    def __init__(
        self,
        shape: MorphableModel,
        landmarks: Float[Tensor, "image 68 2"],
        group: Int64[Tensor, " image"],
        config: LandmarkStageConfig,
        calibration: LandmarkCalibration | None = None,
        dense: DenseSight | None = None,
        prior: IdentityPrior | None = None,
    ) -> None:
        self.sizes = (shape.identity_size, shape.expression_size, 8)
        self.blendshapes = shape.metadata.expression_kind == "blendshape"
        self._smiles = bool(config.smile_sigma) and has_ict_expressions(shape)
        surface = landmark_surface(shape) if calibration is None else calibration.surface
        self.points = _doubled(surface.of(shape))
        self._bases = _bases(self.points)
        self.landmarks = landmarks.double()
        self.group = group
        self.groups = int(group.max()) + 1 if group.numel() else 0
        self.config = config
        self.prior_mean, self.prior_precision = self._identity_prior(prior)
        self.units = self.landmarks.new_tensor(CAMERA_UNITS)
        self._spread = self._shared_noise()
        self._dense = None if dense is None else DensePart(shape, dense, config, self._spread)
        self._factor = self._whitening(calibration)
        self.expression_mean, self.expression_whitening = self._expression_prior(calibration)
        self.first_camera = self._first_camera()

    def _identity_prior(
        self, prior: IdentityPrior | None
    ) -> tuple[Float[Tensor, "group identity"], Float[Tensor, "group identity"]]:
        """Mean and precision of every group's identity; the population's where nothing else is known."""
        if prior is None:
            mean = self.landmarks.new_zeros(self.groups, self.sizes[0])
            return mean, mean + self.config.identity_sigma**-2
        return self.one_a_group(prior.mean.double()), self.one_a_group(prior.precision.double())

    def _shared_noise(self) -> Float[Tensor, "image 1 1"]:
        """Factor of every image's noise, by how many images there are of its person."""
        images = self.sum_groups(torch.ones_like(self.landmarks[:, 0, 0]))
        return (1 + (images - 1) * self.config.shared_variance).sqrt()[self.group][:, None, None]

    def _whitening(self, calibration: LandmarkCalibration | None) -> Float[Tensor, "image 136 136"] | None:
        """Lower triangular factors that make the noise of the landmarks white; None where it is independent."""
        if calibration is None:
            return None
        noise = calibration.noise.double()
        if not self.config.population:
            sigma = noise.new_full((COORDINATES,), self.config.calibrated_sigma)
            sigma[: 2 * JAW] = self.config.calibrated_jaw_sigma
            noise = torch.diag(sigma.square())
        along = outline_directions(self.landmarks) * self.config.slide_sigma
        covariance = noise.expand(len(along), -1, -1) + along @ along.mT
        eye = torch.eye(COORDINATES).to(covariance)
        return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), eye, upper=False)

    def whiten(self, columns: Float[Tensor, "image 136 column"]) -> Float[Tensor, "image 136 column"]:
        """Differences of coordinates, each column one, in units of the noise."""
        if self._factor is not None:
            return self._factor @ columns / self._spread
        return columns / (self._sigma(columns) * self._spread)

    def colour(self, columns: Float[Tensor, "image 136 column"]) -> Float[Tensor, "image 136 column"]:
        """The inverse of `whiten`."""
        if self._factor is not None:
            return torch.linalg.solve_triangular(self._factor, columns, upper=False) * self._spread
        return columns * self._sigma(columns) * self._spread

    def _sigma(self, like: Tensor) -> Float[Tensor, "136 1"]:
        sigma = like.new_full((COORDINATES, 1), self.config.landmark_sigma)
        sigma[: 2 * JAW] = self.config.jaw_sigma
        return sigma

    def _expression_prior(
        self, calibration: LandmarkCalibration | None
    ) -> tuple[Float[Tensor, " expression"], Float[Tensor, "expression expression"]]:
        """Mean, and the factor that makes what differs from it white."""
        eye = torch.eye(self.sizes[1]).to(self.landmarks)
        if calibration is None or not self.config.population:
            blendshape = self.config.blendshape_sigma
            if calibration is not None:
                blendshape = self.config.calibrated_blendshape_sigma
            sigma = blendshape if self.blendshapes else self.config.expression_sigma
            return eye.new_zeros(self.sizes[1]), self._smiling(sigma) if self._smiles else eye / sigma
        mean, covariance = calibration.expression_mean.double(), calibration.expression_covariance.double()
        return mean, torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), eye, upper=False)

    def _smiling(self, sigma: float) -> Float[Tensor, "expression expression"]:
        """The factor that makes expressions white of which a smile varies more than each blendshape does."""
        smile = self.config.smile_sigma * blendshape_direction(SMILE).to(self.landmarks)
        eye = torch.eye(len(smile)).to(smile)
        covariance = sigma**2 * eye + torch.outer(smile, smile)
        return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), eye, upper=False)

    def _first_camera(self) -> Float[Tensor, "image 8"]:
        count = self.landmarks.shape[0]
        identity = self.landmarks.new_zeros(count, self.sizes[0])
        mean = self.points.vertices_mm(identity, self.expression_mean.expand(count, -1))
        camera = initial_camera(mean[:, : 68 - JAW], self.landmarks[:, JAW:])
        vector = torch.cat((camera.eye_mm, camera.target_mm, camera.focal.unsqueeze(-1), camera.roll.unsqueeze(-1)), -1)
        return vector / self.units

    def start(self) -> Float[Tensor, "image unknown"]:
        """The likeliest face with the mean expression, seen from where the mean face's points fall best."""
        count = self.landmarks.shape[0]
        identity = self.prior_mean[self.group]
        return torch.cat((identity, self.expression_mean.expand(count, -1), self.first_camera), -1)

    def constrain(self, theta: Float[Tensor, "image unknown"]) -> Float[Tensor, "image unknown"]:
        """The nearest unknowns that have a meaning."""
        identity, expression, camera = theta.split(self.sizes, -1)
        if self.blendshapes:
            expression = expression.clamp(0, 1)
        focal = camera[:, 6:7].clamp_min(0.1)
        return torch.cat((identity, expression, camera[:, :6], focal, camera[:, 7:]), -1)

    def difference(self, theta: Float[Tensor, "image unknown"]) -> Float[Tensor, "image 136"]:
        """Projected minus detected points, crop sides."""
        identity, expression, vector = theta.split(self.sizes, -1)
        camera = to_camera(vector)
        points = self.points.vertices_mm(identity, expression)
        chosen = points.gather(1, choose_candidates(points, camera).unsqueeze(-1).expand(-1, -1, 3))
        return (project_points(camera, chosen) - self.landmarks).flatten(1)

    def residual(self, theta: Float[Tensor, "image unknown"]) -> Float[Tensor, "image residual"]:
        """White residuals: of the points, of the priors of expression, focal length and target, of dense points."""
        identity, expression, vector = theta.split(self.sizes, -1)
        data = self.whiten(self.difference(theta).unsqueeze(-1)).squeeze(-1)
        prior = (expression - self.expression_mean) @ self.expression_whitening.mT
        log_focal = (vector[:, 6] / self.first_camera[:, 6]).log().unsqueeze(-1) / self.config.log_focal_sigma
        target = (vector[:, 3:6] - self.first_camera[:, 3:6]) / self.config.target_sigma
        parts = [data, prior, log_focal, target]
        if self._dense is not None:
            parts.append(self._dense.residual(identity, expression, to_camera(vector)))
        return torch.cat(parts, -1)

    def jacobian(self, theta: Float[Tensor, "image unknown"]) -> Float[Tensor, "image residual unknown"]:
        """Derivatives of the residuals by each image's row of unknowns."""
        identity, expression, vector = theta.split(self.sizes, -1)
        points = self.points.vertices_mm(identity, expression)
        chosen = choose_candidates(points, to_camera(vector))
        seen = points.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 3))
        data = self.whiten(slope_by_unknowns(vector, seen, self._bases[chosen]))
        prior = data.new_zeros(len(data), self.sizes[1] + 4, theta.shape[1])
        first, last = self.sizes[0], sum(self.sizes[:2])
        prior[:, : self.sizes[1], first:last] = self.expression_whitening
        prior[:, self.sizes[1], last + 6] = 1 / (vector[:, 6] * self.config.log_focal_sigma)
        numbers = torch.arange(3, device=prior.device)
        prior[:, self.sizes[1] + 1 + numbers, last + 3 + numbers] = 1 / self.config.target_sigma
        parts = [data, prior]
        if self._dense is not None:
            parts.append(self._dense.jacobian(identity, expression, vector))
        return torch.cat(parts, 1)

    def cost(
        self, theta: Float[Tensor, "image unknown"], residual: Float[Tensor, "image residual"]
    ) -> Float[Tensor, " group"]:
        """Half the sum of squared residuals of every group, the prior of its identity included."""
        away = self.one_a_group(theta)[:, : self.sizes[0]] - self.prior_mean
        return (self.sum_groups(residual.square().sum(-1)) + (self.prior_precision * away.square()).sum(-1)) / 2

    def one_a_group(self, rows: Float[Tensor, "image column"]) -> Float[Tensor, "group column"]:
        """One row of every group, where its rows are equal."""
        return rows.new_zeros(self.groups, rows.shape[1]).index_copy(0, self.group, rows)

    def sum_groups(self, values: Float[Tensor, "image *rest"]) -> Float[Tensor, "group *rest"]:
        """The sum over the images of every group."""
        return values.new_zeros(self.groups, *values.shape[1:]).index_add_(0, self.group, values)

    def normal_equations(
        self,
        theta: Float[Tensor, "image unknown"],
        residual: Float[Tensor, "image residual"],
        jacobian: Float[Tensor, "image residual unknown"],
        damping: Float[Tensor, " group"],
    ) -> NormalEquations:
        """(J^T J + damping diag(J^T J)) with every image's own unknowns eliminated."""
        shared, own = jacobian.split((self.sizes[0], sum(self.sizes[1:])), -1)
        away = self.one_a_group(theta)[:, : self.sizes[0]] - self.prior_mean
        pull = (self.prior_precision * away).unsqueeze(-1)
        gradient = self.sum_groups(shared.mT @ residual.unsqueeze(-1)) + pull
        normal = self.sum_groups(shared.mT @ shared) + torch.diag_embed(self.prior_precision)
        mixed = own.mT @ shared
        # By Cholesky: torch's batched LU fails on the CPU with more than one thread.
        factor, info = torch.linalg.cholesky_ex(_damped(own.mT @ own, damping[self.group]))
        right = torch.cat((mixed, own.mT @ residual.unsqueeze(-1)), -1)
        solved = torch.cholesky_solve(right, factor)
        reduced = self.sum_groups(mixed.mT @ solved)
        return NormalEquations(
            own_factor=factor,
            own_from_shared=solved[..., :-1],
            own_step=solved[..., -1],
            precision=_damped(normal, damping) - reduced[..., :-1],
            gradient=(gradient - reduced[..., -1:]).squeeze(-1),
            failed=self.sum_groups((info != 0).to(theta.dtype)),
        )

    def step(
        self,
        theta: Float[Tensor, "image unknown"],
        residual: Float[Tensor, "image residual"],
        damping: Float[Tensor, " group"],
    ) -> Float[Tensor, "image unknown"]:
        """Solve (J^T J + damping diag(J^T J)) step = -J^T r.

        A system that is not positive definite yields no step, after which the damping grows.
        """
        jacobian = self._inside_bounds(theta, residual, self.jacobian(theta))
        system = self.normal_equations(theta, residual, jacobian, damping)
        outer, info = torch.linalg.cholesky_ex(system.precision)
        identity_step = torch.cholesky_solve(-system.gradient.unsqueeze(-1), outer)[self.group]
        own_step = -system.own_step.unsqueeze(-1) - system.own_from_shared @ identity_step
        failed = system.failed + info.abs() > 0
        step = torch.cat((identity_step, own_step), 1).squeeze(-1)
        return torch.where(failed[self.group].unsqueeze(-1), 0, step)

    def _inside_bounds(
        self,
        theta: Float[Tensor, "image unknown"],
        residual: Float[Tensor, "image residual"],
        jacobian: Float[Tensor, "image residual unknown"],
    ) -> Float[Tensor, "image residual unknown"]:
        """The Jacobian without the blendshapes that would leave [0, 1] along the gradient: they stay where they are."""
        if not self.blendshapes:
            return jacobian
        gradient = (jacobian.mT @ residual.unsqueeze(-1)).squeeze(-1)
        leaving = ((theta <= 0) & (gradient > 0)) | ((theta >= 1) & (gradient < 0))
        first, last = self.sizes[0], sum(self.sizes[:2])
        leaving[:, :first] = False
        leaving[:, last:] = False
        return torch.where(leaving.unsqueeze(1), 0, jacobian)

    def solve(self, steps: int, start: Float[Tensor, "image unknown"] | None = None) -> Float[Tensor, "image unknown"]:
        """Levenberg-Marquardt (Marquardt 1963), a damping of its own for every group."""
        theta = self.start() if start is None else start
        residual = self.residual(theta)
        cost = self.cost(theta, residual)
        damping = torch.full_like(cost, self.config.initial_damping)
        for _ in range(steps):
            trial = self.constrain(theta + self.step(theta, residual, damping))
            trial_residual = self.residual(trial)
            trial_cost = self.cost(trial, trial_residual)
            better = trial_cost < cost
            theta = torch.where(better[self.group].unsqueeze(-1), trial, theta)
            residual = torch.where(better[self.group].unsqueeze(-1), trial_residual, residual)
            cost = torch.where(better, trial_cost, cost)
            damping = torch.where(better, damping / 5, damping * 8).clamp(1e-9, 1e9)
        return theta


def below_brows(shape: MorphableModel, vertices: Int64[Tensor, " point"]) -> Bool[Tensor, " point"]:
    """Which vertices of the mean face are at most `ABOVE_EYES_MM` above its eyes."""
    eyes = shape.mean_mm[shape.landmarks[EYES], 1].max()
    return shape.mean_mm[vertices, 1] <= eyes + ABOVE_EYES_MM


def projection_slope(camera: Camera, points_mm: Float[Tensor, "image point 3"]) -> Float[Tensor, "image point 2 3"]:
    """Derivatives of `project_points` by the points, for points in front of the camera."""
    rotation = camera_from_world(camera).unsqueeze(-3)
    viewed = view_points(camera, points_mm)
    depth = -viewed[..., 2:]
    tilt = (viewed[..., :2] / depth).unsqueeze(-1) * rotation[..., 2:, :]
    scale = (camera.focal[..., None, None] / depth).unsqueeze(-1)
    return scale * (rotation[..., :2, :] + tilt) * points_mm.new_tensor((1.0, -1.0)).unsqueeze(-1)


def slope_by_unknowns(
    camera: Float[Tensor, "image 8"],
    points_mm: Float[Tensor, "image point 3"],
    bases_mm: Float[Tensor, "*image point 3 mode"],
) -> Float[Tensor, "image coordinate unknown"]:
    """Derivatives of the projected points by the coefficients of their modes, then by the camera (solver units)."""
    by_shape = (projection_slope(to_camera(camera), points_mm) @ bases_mm).flatten(1, 2)
    return torch.cat((by_shape, slope_by_camera(camera, points_mm)), -1)


def slope_by_camera(
    camera: Float[Tensor, "image 8"], points_mm: Float[Tensor, "image point 3"]
) -> Float[Tensor, "image coordinate 8"]:
    """Derivatives of the projected points by the camera's numbers (solver units)."""

    def directional(tangent: Tensor) -> Tensor:
        def projected(values: Tensor) -> Tensor:
            return project_points(to_camera(values), points_mm).flatten(1)

        return torch.func.jvp(projected, (camera,), (tangent.expand_as(camera),))[1]

    return torch.func.vmap(directional)(torch.eye(8).to(camera)).permute(1, 2, 0)


def outline_directions(landmarks: Float[Tensor, "image 68 2"]) -> Float[Tensor, "image 136 17"]:
    """Unit vectors along the outline of the face at every jaw point, each in the coordinates of all 68 points."""
    jaw = landmarks[:, :JAW]
    ahead = torch.cat((jaw[:, 1:], 2 * jaw[:, -1:] - jaw[:, -2:-1]), 1)
    behind = torch.cat((2 * jaw[:, :1] - jaw[:, 1:2], jaw[:, :-1]), 1)
    direction = torch.nn.functional.normalize(ahead - behind, dim=-1)
    placed = landmarks.new_zeros(len(landmarks), 68, 2, JAW)
    rows = torch.arange(JAW, device=landmarks.device)
    placed[:, rows, :, rows] = direction.transpose(0, 1)
    return placed.flatten(1, 2)


def _bases(points: MorphablePoints) -> Float[Tensor, "point 3 mode"]:
    """The modes of identity, then of expression, point by point."""
    return torch.cat((points.identity_basis_mm, points.expression_basis_mm)).permute(1, 2, 0)


def _doubled(points: MorphablePoints) -> MorphablePoints:
    """The same in float64."""
    return MorphablePoints(
        mean_mm=points.mean_mm.double(),
        identity_basis_mm=points.identity_basis_mm.double(),
        expression_basis_mm=points.expression_basis_mm.double(),
    )


def _damped(
    normal: Float[Tensor, "*batch unknown unknown"], damping: Float[Tensor, " *batch"]
) -> Float[Tensor, "*batch unknown unknown"]:
    diagonal = normal.diagonal(dim1=-2, dim2=-1)
    return normal + torch.diag_embed(damping.unsqueeze(-1) * diagonal + 1e-12)
