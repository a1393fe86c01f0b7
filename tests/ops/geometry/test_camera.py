import math

import torch

from ops.geometry.camera import (
    Camera,
    camera_from_vector,
    camera_from_world,
    camera_to_vector,
    clip_points,
    project_points,
    view_points,
)


def frontal(distance_mm: float = 1000.0, focal: float = 2.0, roll: float = 0.0) -> Camera:
    eye = torch.tensor([0.0, 0.0, distance_mm], dtype=torch.float64)
    return Camera(eye, torch.zeros(3, dtype=torch.float64), torch.tensor(focal).double(), torch.tensor(roll).double())


def test_the_subjects_left_is_on_the_right_and_up_is_up() -> None:
    points = torch.tensor([[0.0, 0, 0], [50, 0, 0], [0, 50, 0]], dtype=torch.float64)
    projected = project_points(frontal(), points)
    expected = torch.tensor([[0.5, 0.5], [0.6, 0.5], [0.5, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(projected, expected)


def test_a_quarter_roll_turns_the_picture_anticlockwise() -> None:
    right = torch.tensor([[50.0, 0, 0]], dtype=torch.float64)
    projected = project_points(frontal(roll=math.pi / 2), right)
    torch.testing.assert_close(projected, torch.tensor([[0.5, 0.4]], dtype=torch.float64))


def test_rotation_is_orthonormal_and_batched(rng: torch.Generator) -> None:
    vector = torch.randn(4, 5, 8, generator=rng, dtype=torch.float64)
    rotation = camera_from_world(camera_from_vector(vector))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3, dtype=torch.float64).expand(4, 5, 3, 3))
    torch.testing.assert_close(torch.det(rotation), torch.ones(4, 5, dtype=torch.float64))
    torch.testing.assert_close(camera_to_vector(camera_from_vector(vector)), vector)


def test_clip_and_projection_agree(rng: torch.Generator) -> None:
    points = torch.randn(7, 3, generator=rng, dtype=torch.float64) * 80
    camera = frontal(700.0, 1.7, 0.3)
    clip = clip_points(camera, points)
    ndc = clip[..., :2] / clip[..., 3:]
    torch.testing.assert_close(
        torch.stack(((ndc[..., 0] + 1) / 2, (1 - ndc[..., 1]) / 2), -1), project_points(camera, points)
    )
    torch.testing.assert_close(clip[..., 3], -view_points(camera, points)[..., 2])


def test_points_behind_the_camera_stay_finite() -> None:
    behind = torch.tensor([[0.0, 10.0, 1200.0]], dtype=torch.float64)
    assert torch.isfinite(project_points(frontal(), behind)).all()


def test_gradients(rng: torch.Generator) -> None:
    vector = camera_to_vector(frontal(700.0, 1.7, 0.3)).requires_grad_()
    points = (torch.randn(3, 3, generator=rng, dtype=torch.float64) * 80).requires_grad_()
    assert torch.autograd.gradcheck(lambda v, p: project_points(camera_from_vector(v), p), (vector, points))
