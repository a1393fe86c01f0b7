"""Known answers: photos of people whose points lie elsewhere than the shape model says."""

import pytest
import torch

from ops.errors import InputError
from ops.face.landmark_calibration import LandmarkCalibration
from ops.face.landmark_points import LandmarkSurface, choose_landmarks, landmark_surface
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.fit.calibration import (
    CalibrationConfig,
    bounded_minimum,
    calibrate_landmarks,
    mirror_landmarks,
    start_calibration,
)
from ops.fit.landmark_problem import LandmarkProblem, LandmarkStageConfig
from ops.geometry.camera import Camera, project_points
from ops.geometry.rotation import rotation_from_euler

PEOPLE, VIEWS = 30, 2
NOISE = 0.006
MOVED = (19, 24, 28, 48, 54)
"""Points the network puts elsewhere: at the vertex nearest to 4 mm above their own."""


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


def moved_surface(shape: MorphableModel) -> LandmarkSurface:
    surface = landmark_surface(shape)
    corners = surface.corners.clone()
    for number in MOVED:
        wanted = shape.mean_mm[shape.landmarks[number]] + torch.tensor((0.0, 4.0, 0.0))
        corners[number - 17] = (shape.mean_mm - wanted).norm(dim=-1).argmin()
    return LandmarkSurface(corners, surface.weights)


def photograph(shape: MorphableModel, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Landmarks and person numbers of people with an expression in common, as the network would find them."""
    rng = torch.Generator().manual_seed(seed)
    count = PEOPLE * VIEWS
    person = torch.arange(PEOPLE).repeat_interleave(VIEWS)
    identity = torch.randn(PEOPLE, shape.identity_size, generator=rng)[person]
    expression = 0.3 * torch.randn(count, shape.expression_size, generator=rng)
    expression[:, 0] += 1.0
    yaw = 0.3 * torch.randn(count, generator=rng)
    turn = rotation_from_euler(yaw, 0.1 * torch.randn(count, generator=rng), torch.zeros(count))
    centre = shape.mean_mm[shape.landmarks].mean(0)
    eye = centre + turn.mT @ torch.tensor((0.0, 0.0, 1300.0))
    camera = Camera(eye, centre.expand_as(eye), torch.full((count,), 5.0), torch.zeros(count))
    points = moved_surface(shape).points_mm(shape.vertices_mm(identity, expression))
    seen = project_points(camera, choose_landmarks(points, camera))
    return seen + NOISE * torch.randn(seen.shape, generator=rng), person


@pytest.fixture(scope="module")
def found(shape: MorphableModel) -> LandmarkCalibration:
    config = CalibrationConfig(mirrored=False, expression_sigma=0.3, expression_mean_sigma=0.3, rounds=3)
    return calibrate_landmarks(shape, *photograph(shape, 0), config)


def constant(shape: MorphableModel, landmarks: torch.Tensor, calibration: LandmarkCalibration | None) -> float:
    """How far the moved points are from where they are seen for everybody alike, on average, crop sides."""
    alone = torch.arange(len(landmarks))
    problem = LandmarkProblem(shape, landmarks, alone, LandmarkStageConfig(), calibration)
    difference = problem.difference(problem.solve(6)).mean(0).unflatten(0, (68, 2))
    return float(difference[list(MOVED)].norm(dim=-1).mean())


def test_moved_points_are_found_where_they_are(shape: MorphableModel, found: LandmarkCalibration) -> None:
    expected, own = (surface.points_mm(shape.mean_mm) for surface in (moved_surface(shape), landmark_surface(shape)))
    error = (found.surface.points_mm(shape.mean_mm) - expected).norm(dim=-1)[:51]
    moved = torch.tensor([number - 17 for number in MOVED])
    distance = (expected - own).norm(dim=-1)[moved]
    assert bool((error[moved] < 0.5 * distance).all()), error[moved]
    assert float(error.mean()) < 1.0


def test_the_scatter_of_the_points_is_found(found: LandmarkCalibration) -> None:
    sigma = found.noise.diagonal()[34:].sqrt()
    assert 0.6 * NOISE < float(sigma.mean()) < 1.4 * NOISE


def test_unseen_people_are_predicted_better(shape: MorphableModel, found: LandmarkCalibration) -> None:
    landmarks, _ = photograph(shape, 1)
    assert constant(shape, landmarks, found) < 0.7 * constant(shape, landmarks, None)


def test_the_mean_expression_is_found(found: LandmarkCalibration) -> None:
    assert 0.5 < float(found.expression_mean[0]) < 1.5
    assert float(found.expression_mean[1:].abs().max()) < 0.5


def test_the_start_is_the_model_s_own_points(shape: MorphableModel) -> None:
    start = start_calibration(shape, CalibrationConfig())
    own = landmark_surface(shape).points_mm(shape.mean_mm.double())
    distance = (start.surface.points_mm(shape.mean_mm.double()) - own).norm(dim=-1)
    assert float(distance[17:51].max()) < 1e-3


def test_mirrored_points_keep_their_names(shape: MorphableModel) -> None:
    landmarks, _ = photograph(shape, 2)
    mirrored = mirror_landmarks(landmarks)
    torch.testing.assert_close(mirrored[:, 36, 0], 1 - landmarks[:, 45, 0])
    torch.testing.assert_close(mirror_landmarks(mirrored), landmarks)


def test_mean_expressions_of_blendshapes_stay_positive_and_the_rest_is_solved_with_them_at_zero() -> None:
    # Points and two expressions; the first expression wants to be negative and drags point 0 along.
    size = 136 + 2
    normal = torch.eye(size, dtype=torch.float64)
    normal[0, 136] = normal[136, 0] = 0.5
    slope = torch.zeros(size, dtype=torch.float64)
    slope[0], slope[136], slope[137] = 1.0, 2.0, -3.0
    change = bounded_minimum(normal, slope, torch.zeros(size, dtype=torch.float64), True)
    assert (float(change[0]), float(change[136]), float(change[137])) == (-1.0, 0.0, 3.0)


def test_too_few_people_are_refused(shape: MorphableModel) -> None:
    with pytest.raises(InputError, match="at least 20 people"):
        calibrate_landmarks(shape, torch.rand(4, 68, 2), torch.arange(4))
