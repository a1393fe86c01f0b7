from pathlib import Path

import pytest
import torch
from torch import nn

from ops.training.loop import Schedule, run_training


def _train(folder: Path, name: str, *, steps: int, stop_at: int | None = None, resume: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    network = nn.Linear(4, 1)
    schedule = Schedule(steps=steps, batch=8, learning_rate=0.05)

    def step_loss(step: int, progress: float) -> torch.Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        return (network(x) - x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])).square().mean()

    run_training(network, step_loss, schedule, folder / f"{name}.checkpoint", lambda line: None, resume=resume)
    return network


def test_learns_and_reports(tmp_path: Path) -> None:
    network = _train(tmp_path, "a", steps=600)
    torch.testing.assert_close(network.weight.detach(), torch.tensor([[1.0, -2.0, 0.5, 3.0]]), atol=0.05, rtol=0)


def test_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = _train(tmp_path, "whole", steps=800)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path, "broken", steps=800, stop_at=650)
    resumed = _train(tmp_path, "broken", steps=800, resume=True)
    assert torch.equal(whole.weight, resumed.weight)
