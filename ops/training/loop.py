"""The training loop the embedded networks share: AdamW, one warm-up and one cosine, checkpoints, a progress line."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 0.04
"""Share of the training over which the learning rate rises."""
CHECKPOINT_EVERY, REPORT_EVERY = 500, 100


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-4
    seed: int = 0
    minutes: float | None = None
    """Wall-clock limit: the rate then follows the time, and the result depends on the machine's speed."""


def run_training(
    network: nn.Module,
    step_loss: Callable[[int, float], Tensor],
    schedule: Schedule,
    checkpoint: Path,
    report: Callable[[str], None],
    *,
    resume: bool,
) -> int:
    """Minimise `step_loss(step, progress)`, which draws its batch from the step's number alone; returns the steps done.

    Without a time limit an interrupted and resumed training equals an uninterrupted one.
    """
    optimiser = torch.optim.AdamW(network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    step, spent = 0, 0.0
    if resume and checkpoint.is_file():
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = int(state["step"]), float(state["spent_s"])
        report(f"resumed at step {step}")
    network.train()
    started, mean = time.monotonic() - spent, 0.0
    while (progress := _progress(step, time.monotonic() - started, schedule)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate * _rate(progress)
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        optimiser.zero_grad(set_to_none=True)
        loss = step_loss(step, progress)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        step += 1
        mean += (float(loss.detach()) - mean) * max(0.02, 1 / step)
        if step % REPORT_EVERY == 0:
            elapsed = time.monotonic() - started
            report(f"step {step} of {schedule.steps}  {100 * progress:.0f} %  loss {mean:.4f}  {elapsed:.0f} s")
        if step % CHECKPOINT_EVERY == 0:
            _save(network, optimiser, checkpoint, (step, time.monotonic() - started))
    _save(network, optimiser, checkpoint, (step, time.monotonic() - started))
    return step


def _progress(step: int, elapsed_s: float, schedule: Schedule) -> float:
    by_steps = step / schedule.steps
    return by_steps if schedule.minutes is None else max(by_steps, elapsed_s / (60 * schedule.minutes))


def _rate(progress: float) -> float:
    if progress < WARM_UP:
        return (progress + 0.1 * WARM_UP) / (1.1 * WARM_UP)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def _save(network: nn.Module, optimiser: torch.optim.Optimizer, path: Path, done: tuple[int, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": done[0], "spent_s": done[1]}
    torch.save(state, partial)
    partial.replace(path)
