import pytest
import torch

from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.fit.landmark_problem import LandmarkStageConfig
from ops.fit.landmark_stage import LandmarkFit, fit_landmarks
from ops.geometry.camera import Camera, project_points
from ops.geometry.rotation import rotation_from_euler

PEOPLE, VIEWS, STEPS = 3, 4, 12


@pytest.fixture(scope="module")
def shape() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(scope="module")
def identity(shape: MorphableModel) -> torch.Tensor:
    return torch.randn(PEOPLE, shape.identity_size, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def landmarks(shape: MorphableModel, identity: torch.Tensor) -> torch.Tensor:
    """Exact landmarks of every person from the left to the right, each view with another expression."""
    rng = torch.Generator().manual_seed(4)
    count = PEOPLE * VIEWS
    expression = 0.7 * torch.randn(count, shape.expression_size, generator=rng)
    vertices = shape.vertices_mm(identity.repeat_interleave(VIEWS, 0), expression)
    yaw = torch.linspace(-0.6, 0.6, VIEWS).repeat(PEOPLE)
    turn = rotation_from_euler(yaw, 0.1 * torch.randn(count, generator=rng), torch.zeros(count))
    centre = shape.mean_mm[shape.landmarks].mean(0)
    eye = centre + turn.mT @ torch.tensor((0.0, 0.0, 1300.0))
    camera = Camera(eye, centre.expand_as(eye), torch.full((count,), 5.0), torch.zeros(count))
    return project_points(camera, choose_landmarks(vertices[:, landmark_vertices(shape)], camera))


@pytest.fixture(scope="module")
def together(shape: MorphableModel, landmarks: torch.Tensor) -> LandmarkFit:
    return fit_landmarks(shape, landmarks, torch.arange(PEOPLE).repeat_interleave(VIEWS), steps=STEPS)


def landmark_error_mm(shape: MorphableModel, found: torch.Tensor, truth: torch.Tensor) -> float:
    """Of the neutral faces, turned and moved but not scaled onto each other; over all people."""
    neutral = torch.zeros(len(truth), shape.expression_size)
    a, b = (shape.vertices_mm(value.float(), neutral)[:, shape.landmarks] for value in (found, truth))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    u, _, vt = torch.linalg.svd(a.mT @ b)
    return float((a @ (u @ vt) - b).norm(dim=-1).mean())


def test_views_of_one_person_tell_more_than_the_mean_of_what_each_tells(
    shape: MorphableModel, identity: torch.Tensor, landmarks: torch.Tensor, together: LandmarkFit
) -> None:
    alone = fit_landmarks(shape, landmarks, torch.arange(len(landmarks)), steps=STEPS).identity
    mean_face = landmark_error_mm(shape, torch.zeros_like(identity), identity)
    mean = landmark_error_mm(shape, alone.unflatten(0, (PEOPLE, VIEWS)).mean(1), identity)
    shared = landmark_error_mm(shape, together.identity[::VIEWS], identity)
    assert shared < 0.8 * mean < 0.6 * mean_face


def test_the_rows_of_a_person_share_the_identity(together: LandmarkFit) -> None:
    rows = together.identity.unflatten(0, (PEOPLE, VIEWS))
    assert torch.equal(rows, rows[:, :1].expand_as(rows))
    assert not torch.equal(together.expression[0], together.expression[1])


def test_people_do_not_influence_each_other(
    shape: MorphableModel, landmarks: torch.Tensor, together: LandmarkFit
) -> None:
    chosen = torch.tensor([VIEWS + view for view in (2, 0, 1, 3)])
    alone = fit_landmarks(shape, landmarks[chosen], torch.zeros(VIEWS, dtype=torch.int64), steps=STEPS)
    for value, expected in zip(alone, together, strict=True):
        torch.testing.assert_close(value, expected[chosen], atol=1e-4, rtol=1e-4)


def test_photos_that_share_all_their_noise_tell_as_much_as_one(shape: MorphableModel, landmarks: torch.Tensor) -> None:
    again = landmarks[:1].expand(4, -1, -1)
    one, five = torch.zeros(1, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
    shared, own = (LandmarkStageConfig(shared_variance=part, expression_sigma=1e-3) for part in (1.0, 0.0))
    single = fit_landmarks(shape, landmarks[:1], one, steps=STEPS, config=own).identity[0]
    several = fit_landmarks(shape, again, five, steps=STEPS, config=shared).identity[0]
    independent = fit_landmarks(shape, again, five, steps=STEPS, config=own).identity[0]
    assert (several - single).norm() < 0.3 * (independent - single).norm()
