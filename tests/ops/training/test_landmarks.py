import numpy as np
import pytest
import torch

from ops.faceworld.canonical import canonical_landmarks
from ops.networks.embedded_landmarks import MAP_SIDE
from ops.networks.face_crop import MIRRORED_68
from ops.training.augmentation import as_batch, jitter_colours
from ops.training.landmarks import landmark_loss, normalised_error


def _maps(points: torch.Tensor) -> torch.Tensor:
    centres = (torch.arange(MAP_SIDE) + 0.5) / MAP_SIDE
    square = (centres - points.unsqueeze(-1)) ** 2
    return -(square[:, :, 1].unsqueeze(-1) + square[:, :, 0].unsqueeze(-2)) / (2 * 0.026**2)


def test_loss_is_least_at_the_truth(rng: torch.Generator) -> None:
    points = 0.2 + 0.6 * torch.rand(2, 68, 2, generator=rng)
    right, wrong = _maps(points), _maps(points + 0.05)
    assert float(landmark_loss((right, right), points)) < float(landmark_loss((right, wrong), points)) - 0.5


def test_mirrored_points_are_those_of_the_symmetrical_face() -> None:
    points = canonical_landmarks()
    np.testing.assert_allclose(points[MIRRORED_68] * (-1, 1), points, atol=1e-4)


def test_error_is_relative_to_the_outer_eye_distance() -> None:
    true = np.zeros((68, 2), np.float32)
    true[45] = (50, 0)
    assert normalised_error(true + np.array([3, 4], np.float32), true) == pytest.approx(0.1)


def test_colour_jitter_keeps_range_and_shape() -> None:
    images = as_batch(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8))
    changed = jitter_colours(images, np.random.default_rng(1))
    assert changed.shape == (3, 3, 8, 8)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.equal(changed, images)
    torch.testing.assert_close(jitter_colours(images, np.random.default_rng(1), 0.0), images)
