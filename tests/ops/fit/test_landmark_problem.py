import dataclasses

import pytest
import torch

from ops.face.blendshapes import ICT_NAME, SMILE, blendshape_direction
from ops.face.landmark_points import choose_landmarks, landmark_surface
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.fit.calibration import CalibrationConfig, start_calibration
from ops.fit.landmark_problem import IdentityPrior, LandmarkProblem, LandmarkStageConfig, outline_directions
from ops.geometry.camera import Camera, project_points


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def landmarks(shape: MorphableModel) -> torch.Tensor:
    points = landmark_surface(shape).points_mm(shape.mean_mm)
    centre = points.mean(0)
    eye = centre + torch.tensor(((0.0, 0.0, 1200.0), (300.0, 50.0, 1150.0)))
    camera = Camera(eye, centre.expand(2, 3), torch.full((2,), 5.0), torch.zeros(2))
    seen = project_points(camera, choose_landmarks(points.expand(2, -1, 3), camera))
    return seen + 0.01 * torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("calibrated", [False, True])
def test_the_jacobian_is_the_derivative_of_the_residuals(
    shape: MorphableModel, landmarks: torch.Tensor, calibrated: bool
) -> None:
    calibration = None
    if calibrated:
        start = start_calibration(shape, CalibrationConfig())
        noise = start.noise + 1e-5
        calibration = dataclasses.replace(start, noise=noise, expression_mean=start.expression_mean + 0.2)
    config = LandmarkStageConfig(population=calibrated)
    problem = LandmarkProblem(shape, landmarks, torch.tensor((0, 0)), config, calibration)
    theta = problem.solve(2)
    directions = torch.randn(3, theta.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    jacobian = problem.jacobian(theta)
    for direction in directions:
        _, expected = torch.func.jvp(problem.residual, (theta,), (direction.expand_as(theta),))
        torch.testing.assert_close(jacobian @ direction, expected)


def test_whitening_and_colouring_undo_each_other(shape: MorphableModel, landmarks: torch.Tensor) -> None:
    calibration = start_calibration(shape, CalibrationConfig())
    for chosen in (None, calibration):
        problem = LandmarkProblem(shape, landmarks, torch.tensor((0, 1)), LandmarkStageConfig(), chosen)
        columns = torch.rand(2, 136, 3, dtype=torch.float64)
        torch.testing.assert_close(problem.colour(problem.whiten(columns)), columns)


def test_a_calibrated_jaw_is_free_along_the_outline_and_tight_across(
    shape: MorphableModel, landmarks: torch.Tensor
) -> None:
    calibration = start_calibration(shape, CalibrationConfig())
    config = LandmarkStageConfig(slide_sigma=0.5)
    problem = LandmarkProblem(shape, landmarks, torch.tensor((0, 1)), config, calibration)
    along = outline_directions(landmarks.double())[:, :, 4:5]
    turned = along.unflatten(1, (68, 2)).flip(2) * along.new_tensor((1.0, -1.0))[:, None]
    free, tight = problem.whiten(along).norm(), problem.whiten(turned.flatten(1, 2)).norm()
    assert 5 * free < tight


def test_blendshapes_at_a_bound_do_not_pull_the_rest_along(shape: MorphableModel, landmarks: torch.Tensor) -> None:
    metadata = dataclasses.replace(shape.metadata, expression_kind="blendshape")
    bounded = dataclasses.replace(shape, metadata=metadata)
    problem = LandmarkProblem(bounded, landmarks, torch.tensor((0, 1)), LandmarkStageConfig())
    theta = problem.solve(12)
    residual, first, last = problem.residual(theta), *problem.sizes[:1], sum(problem.sizes[:2])
    gradient = (problem.jacobian(theta).mT @ residual.unsqueeze(-1)).squeeze(-1)[:, first:last]
    expression = theta[:, first:last]
    inside = (expression > 0) & (expression < 1)
    assert bool((expression == 0).any())
    assert float(gradient[inside].abs().max()) < 0.05
    assert bool((gradient[expression == 0] > -0.05).all())


def test_a_smile_may_go_further_than_its_blendshapes_one_by_one(shape: MorphableModel, landmarks: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(5)
    ict = dataclasses.replace(
        shape,
        metadata=dataclasses.replace(shape.metadata, name=ICT_NAME, expression_kind="blendshape"),
        expression_basis_mm=torch.randn(53, *shape.mean_mm.shape, generator=generator),
    )
    smile = torch.nn.functional.normalize(blendshape_direction(SMILE).double(), dim=0)
    other = torch.nn.functional.normalize(torch.rand(53, generator=generator).double(), dim=0)
    other -= (other @ smile) * smile
    config = LandmarkStageConfig(blendshape_sigma=0.15, smile_sigma=0.5)
    whitening = LandmarkProblem(ict, landmarks, torch.tensor((0, 1)), config).expression_whitening
    length = float(blendshape_direction(SMILE).norm())
    torch.testing.assert_close(float((whitening @ smile).norm()), (0.15**2 + (0.5 * length) ** 2) ** -0.5)
    torch.testing.assert_close(float((whitening @ other).norm()), float(other.norm()) / 0.15)


def test_what_is_known_of_an_identity_counts_once_a_person(shape: MorphableModel, landmarks: torch.Tensor) -> None:
    together = torch.tensor((0, 0))
    size = shape.identity_size
    anybody = IdentityPrior(torch.zeros(2, size), torch.ones(2, size))
    config = LandmarkStageConfig()
    plain = LandmarkProblem(shape, landmarks, together, config)
    told = LandmarkProblem(shape, landmarks, together, config, prior=anybody)
    theta = plain.solve(4)
    torch.testing.assert_close(told.solve(4), theta)
    mean = torch.linspace(-1, 1, size).expand(2, -1)
    known = LandmarkProblem(shape, landmarks, together, config, prior=IdentityPrior(mean, torch.full((2, size), 9.0)))
    away = theta[:1, :size] - mean[:1].double()
    residual = plain.residual(theta)
    torch.testing.assert_close(known.residual(theta), residual)
    expected = (residual.square().sum() + 9 * away.square().sum()) / 2
    torch.testing.assert_close(known.cost(theta, residual), expected.unsqueeze(0))
    none = theta.new_zeros(1)
    system = known.normal_equations(theta, residual, known.jacobian(theta), none)
    usual = plain.normal_equations(theta, residual, plain.jacobian(theta), none)
    torch.testing.assert_close(system.precision - usual.precision, 8 * torch.eye(size).double().unsqueeze(0))
    torch.testing.assert_close(system.gradient - usual.gradient, 9 * away - theta[:1, :size])


def test_a_sure_prior_decides_an_identity(shape: MorphableModel, landmarks: torch.Tensor) -> None:
    size = shape.identity_size
    mean = torch.stack((torch.linspace(-1, 1, size), torch.linspace(1, -1, size)))
    alone = torch.tensor((0, 1))
    away = []
    for precision in (1e6, 1.0):
        prior = IdentityPrior(mean, torch.full((2, size), precision))
        problem = LandmarkProblem(shape, landmarks, alone, LandmarkStageConfig(), prior=prior)
        away.append(float((problem.solve(12)[:, :size] - mean.double()).abs().max()))
    assert away[0] < 0.01 < 0.1 < away[1]
