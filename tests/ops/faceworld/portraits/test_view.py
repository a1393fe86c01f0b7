import numpy as np
import pytest
import torch

from ops.faceworld.portraits.mesh import turn_eyes
from ops.faceworld.portraits.view import (
    PITCH_LIMIT,
    YAW_LIMIT,
    PortraitLight,
    harmonic_terms,
    light_vertices,
    sample_camera,
    sample_crop,
)
from ops.geometry.camera import camera_from_world


def test_cameras_stay_within_the_limits_and_use_them() -> None:
    rng = np.random.default_rng(0)
    backward = torch.stack([camera_from_world(sample_camera(rng, torch.zeros(3)))[0, 2] for _ in range(400)])
    yaw, pitch = torch.atan2(backward[:, 0], backward[:, 2]), backward[:, 1].asin()
    assert float(yaw.abs().max()) <= YAW_LIMIT + 1e-5
    assert float(yaw.abs().max()) > 0.9 * YAW_LIMIT
    assert float(pitch.abs().max()) <= PITCH_LIMIT + 1e-5


def test_crops_hold_all_points_with_level_eyes() -> None:
    points = np.random.default_rng(1).uniform(0.2, 0.8, (100, 2)).astype(np.float32)
    points[36:42] = (0.3, 0.3)
    points[42:48] = (0.4, 0.4)
    turns = []
    for seed in range(50):
        crop = sample_crop(np.random.default_rng(seed), points, points[:68])
        moved = points @ crop[:, :2].T + crop[:, 2]
        assert ((moved > -0.1) & (moved < 1.1)).all()
        along = moved[42] - moved[36]
        turns.append(np.arctan2(along[1], along[0]))
    assert abs(np.median(turns)) < 0.05
    assert np.abs(turns).max() < 0.9


def test_light_from_everywhere_is_the_same_on_every_side() -> None:
    normals = torch.nn.functional.normalize(torch.randn(20, 3), dim=-1)
    harmonics = torch.zeros(9, 3)
    harmonics[0] = 0.7
    light = PortraitLight(harmonics, torch.tensor([0.0, 0, 900]), torch.zeros(3), 0.2, 10.0, 1.0)
    diffuse, mirrored = light_vertices(60 * normals, normals, torch.tensor([0.0, 0, 500]), light)
    torch.testing.assert_close(diffuse, torch.full((20, 3), 0.7))
    assert not bool(mirrored.any())


def test_harmonic_terms_are_orthogonal() -> None:
    count = 20_000
    height = 1 - 2 * (torch.arange(count) + 0.5) / count
    around = torch.arange(count) * torch.pi * (3 - 5**0.5)
    rim = (1 - height**2).sqrt()
    terms = harmonic_terms(torch.stack((rim * around.cos(), height, rim * around.sin()), -1))
    products = terms.mT @ terms / count
    torch.testing.assert_close(products, torch.diag(products.diagonal()), atol=2e-3, rtol=0)


@pytest.mark.parametrize(("gaze", "axis", "sign"), [((0.3, 0.0), 0, 1), ((0.0, 0.3), 1, 1), ((0.0, -0.3), 1, -1)])
def test_eyes_turn_about_their_middle(gaze: tuple[float, float], axis: int, sign: int) -> None:
    ball = torch.nn.functional.normalize(torch.randn(400, 3, generator=torch.Generator().manual_seed(2)), dim=-1)
    front = ball[ball[:, 2] > 0]
    corners = torch.cat((torch.eye(3)[:2], -torch.eye(3)[:2], torch.tensor([[0.0, 0, 1]]), front)) * 12
    middle = torch.tensor([30.0, 5.0, 80.0])
    vertices = corners + middle
    turn_eyes(vertices, (torch.arange(len(vertices)),), gaze)
    torch.testing.assert_close((vertices - middle).norm(dim=-1), torch.full((len(vertices),), 12.0), atol=0.05, rtol=0)
    pupil = vertices[4] - middle
    assert float(pupil[axis]) * sign == pytest.approx(12 * np.sin(0.3), abs=0.05)
