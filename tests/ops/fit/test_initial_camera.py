import torch

from ops.fit.initial_camera import PORTRAIT_DISTANCE_MM, initial_camera
from ops.geometry.camera import Camera, camera_from_world, camera_to_vector, project_points
from ops.geometry.rotation import rotation_from_euler


def test_recovers_a_distant_camera_in_any_pose(rng: torch.Generator) -> None:
    count = 20
    points = torch.randn(51, 3, generator=rng, dtype=torch.float64) * 40 + torch.tensor((0.0, 0.0, 80.0)).double()
    angles = (torch.rand(3, count, generator=rng, dtype=torch.float64) - 0.5) * torch.tensor([[1.6], [1.0], [1.0]])
    face = rotation_from_euler(angles[0], angles[1], torch.zeros(count, dtype=torch.float64))
    direction = face.mT @ torch.tensor((0.0, 0.0, 1.0)).double()
    eye = points.mean(0) + direction * 60_000 + torch.tensor((3.0, -8.0, 0.0)).double()
    focal = torch.full((count,), 230.0).double()
    truth = Camera(eye, eye - direction * 60_000, focal, angles[2])
    batch = points.expand(count, -1, -1)
    seen = project_points(truth, batch)
    found = initial_camera(batch, seen)
    torch.testing.assert_close(camera_from_world(found), camera_from_world(truth), atol=3e-3, rtol=0)
    torch.testing.assert_close(found.focal / PORTRAIT_DISTANCE_MM, focal / 60_000, rtol=5e-3, atol=0)
    far = Camera(found.eye_mm, found.target_mm, found.focal, found.roll)
    error = (project_points(far, batch) - seen).norm(dim=-1)
    assert error.mean() < 0.02


def test_the_answer_is_the_same_to_the_last_bit_wherever_its_memory_lies(rng: torch.Generator) -> None:
    points, seen = torch.randn(1, 51, 3, generator=rng) * 40, torch.rand(1, 51, 2, generator=rng)
    first = camera_to_vector(initial_camera(points, seen))
    for size in torch.randint(1, 3000, (300,), generator=rng).tolist():
        _between = torch.empty(size)
        assert torch.equal(camera_to_vector(initial_camera(points.clone(), seen.clone())), first)
