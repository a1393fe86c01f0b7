from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ops.face.dense_points import choose_dense_points
from ops.faceworld.shape import faceworld_model
from ops.networks.dense_landmarks import DenseLandmarks, DenseNetwork, DenseOutput
from ops.training import dense_landmarks
from ops.training.dense_landmarks import dense_loss, score_dense, train_dense_landmarks
from ops.training.loop import Schedule
from ops.training.portrait_feed import Window
from tests.ops.training.test_portrait_feed import SETTINGS, small_stream

SCHEDULE = Schedule(steps=4, batch=2, learning_rate=1e-3, checkpoint_every=2)
WINDOW = Window(first=4, fresh=2, kept=6)


def _train(output: Path, schedule: Schedule, *, resume: bool = False) -> dict[str, torch.Tensor]:
    dense = choose_dense_points(faceworld_model(), SETTINGS.points)
    lines: list[str] = []
    train_dense_landmarks(small_stream, dense, output, schedule, WINDOW, lines.append, resume=resume)
    assert any(line.startswith(f"step {schedule.steps} of") for line in lines)
    return load_file(output / dense_landmarks.WEIGHTS)


def test_a_training_that_was_interrupted_and_resumed_equals_another_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _train(tmp_path / "a", SCHEDULE)
    whole, calls = dense_landmarks.dense_loss, 0

    def loss_of_three_steps(found: DenseOutput, points: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return whole(found, points)

    with monkeypatch.context() as patched:
        patched.setattr(dense_landmarks, "dense_loss", loss_of_three_steps)
        with pytest.raises(KeyboardInterrupt):
            _train(tmp_path / "b", SCHEDULE)
    assert not (tmp_path / "b" / dense_landmarks.WEIGHTS).exists()
    again = _train(tmp_path / "b", SCHEDULE, resume=True)
    assert all(first[name].equal(again[name]) for name in first)
    assert first["maps.weight"].abs().max() > 0


def test_loss_is_least_at_the_truth_with_deviations_as_large_as_the_errors() -> None:
    points = 0.2 + 0.6 * torch.rand(3, 40, 2)
    wrong = points + 0.05
    sigma = torch.full((3, 40), 0.05)
    at_truth = float(dense_loss(DenseOutput(points, sigma), points))
    assert at_truth < float(dense_loss(DenseOutput(wrong, sigma), points))
    losses = [float(dense_loss(DenseOutput(wrong, sigma * factor), points)) for factor in (0.5, 1.0, 2.0)]
    assert losses[1] == min(losses)


def test_points_outside_the_crop_do_not_count() -> None:
    points = torch.full((1, 2, 2), 0.5)
    points[0, 1] = 1.4
    far = points.clone()
    far[0, 1] = 0.1
    sigma = torch.full((1, 2), 0.1)
    assert float(dense_loss(DenseOutput(far, sigma), points)) == pytest.approx(
        float(dense_loss(DenseOutput(points, sigma), points))
    )


def test_scores_are_errors_over_the_eye_distance() -> None:
    torch.manual_seed(0)
    stream = small_stream()
    score = score_dense(DenseLandmarks(DenseNetwork(stream.dense).eval()), stream, 100, 2)
    assert score.portraits == 2
    assert np.isfinite(score.mean)
    assert score.mean > 0.05
    assert 0 <= score.within_deviation <= 1
