import numpy as np
import pytest
import torch

from ops.faceworld.shape import faceworld_model
from ops.fit.regression import mean_start
from ops.training.displacement import (
    BAD_SHARE,
    CALM,
    MOST_EACH,
    MOST_TOGETHER,
    align_anew,
    displaced_landmarks,
)
from ops.training.regressor_samples import SampleBatch

SIDE = 150


@pytest.fixture(scope="module")
def landmarks() -> torch.Tensor:
    return mean_start(faceworld_model()).landmarks.repeat(400, 1, 1)


def _batch(landmarks: torch.Tensor) -> SampleBatch:
    """Pictures with a bright spot where the nose tip is."""
    across = (torch.arange(SIDE) + 0.5) / SIDE
    nose = landmarks[:, 30, :, None]
    squared = (across[None, None] - nose[:, 1:]).mT.square() + (across[None, None] - nose[:, :1]).square()
    spot = torch.exp(-squared / 0.02**2)
    count = len(landmarks)
    return SampleBatch(
        images=spot.unsqueeze(1).repeat(1, 3, 1, 1),
        valid=torch.ones(count, SIDE, SIDE, dtype=torch.bool),
        landmarks=landmarks,
        seeds=torch.arange(count),
        identity=torch.zeros(count, 1),
        expression=torch.zeros(count, 1),
        light=torch.zeros(count, 9),
        texture=torch.zeros(count, 3, 32, 32),
    )


def _brightest(images: torch.Tensor) -> torch.Tensor:
    """Centre of the light, in crop sides."""
    weight = images.mean(1)
    across = (torch.arange(SIDE) + 0.5) / SIDE
    total = weight.sum((1, 2))
    return torch.stack(((weight.sum(1) * across).sum(1) / total, (weight.sum(2) * across).sum(1) / total), -1)


def test_a_share_of_the_landmarks_is_displaced_far_and_none_too_far(landmarks: torch.Tensor) -> None:
    moved = displaced_landmarks(landmarks, np.random.default_rng(0))
    eyes = (landmarks[0, 36] - landmarks[0, 45]).norm()
    offset = (moved - landmarks) / eyes
    each = (offset - offset.mean(1, keepdim=True)).norm(dim=-1)[:, [27, 28, 33]].amax(1)
    together = offset.mean(1).norm(dim=-1)
    for distance, most in ((each, MOST_EACH), (together, MOST_TOGETHER)):
        share = float((distance > 2 * CALM * most).float().mean())
        assert share == pytest.approx(0.8 * BAD_SHARE, abs=0.1)
        assert float(distance.max()) < 1.4 * most
    assert torch.equal(displaced_landmarks(landmarks, np.random.default_rng(0)), moved)


def test_the_picture_and_the_true_landmarks_move_together(landmarks: torch.Tensor) -> None:
    batch = _batch(landmarks[:40])
    moved, given = align_anew(batch, displaced_landmarks(batch.landmarks, np.random.default_rng(1)))
    off = (moved.landmarks - batch.landmarks).norm(dim=-1)[:, 30]
    assert float(off.max()) > 0.02
    torch.testing.assert_close(_brightest(moved.images), moved.landmarks[:, 30], atol=5e-4, rtol=0)
    assert float((given - moved.landmarks).norm(dim=-1).max()) > 0.02


def test_landmarks_displaced_together_are_in_their_places_and_the_picture_is_not(landmarks: torch.Tensor) -> None:
    batch = _batch(landmarks[:1])
    shift = torch.tensor((0.03, -0.02))
    moved, given = align_anew(batch, batch.landmarks + shift)
    still, alone = align_anew(batch, batch.landmarks)
    torch.testing.assert_close(given, alone, atol=1e-6, rtol=0)
    scale = (still.landmarks[0, 36] - still.landmarks[0, 45]).norm() / (
        batch.landmarks[0, 36] - batch.landmarks[0, 45]
    ).norm()
    torch.testing.assert_close(moved.landmarks - still.landmarks, -scale * shift.expand(1, 68, 2), atol=2e-3, rtol=0)


def test_landmarks_that_stay_leave_aligned_samples_as_they_are(landmarks: torch.Tensor) -> None:
    batch = _batch(landmarks[:2])
    aligned, _ = align_anew(batch, batch.landmarks)
    again, given = align_anew(aligned, aligned.landmarks)
    torch.testing.assert_close(again.landmarks, aligned.landmarks, atol=1e-5, rtol=0)
    torch.testing.assert_close(given, aligned.landmarks, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.images, aligned.images, atol=1e-3, rtol=0)
    assert again.valid.all()


def test_what_the_crop_did_not_show_is_not_valid(landmarks: torch.Tensor) -> None:
    batch = _batch(landmarks[:1])
    moved, _ = align_anew(batch, batch.landmarks + torch.tensor((0.08, 0.0)))
    assert not moved.valid[0, :, -5:].any()
    assert moved.valid[0, :, :100].all()
