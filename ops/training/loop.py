"""The training loop the embedded networks share: AdamW, one warm-up and one cosine, checkpoints, a progress line."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ops.errors import DivergedTrainingError
from ops.training.peers import Peers

WARM_UP = 0.04
"""Share of the training over which the learning rate rises."""
REPORT_EVERY = 100
LARGEST_GRADIENT = 5.0
"""Norm to which gradients are clipped."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to train."""

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-4
    seed: int = 0
    threads: int = 1
    """CPU threads; another number gives slightly other weights."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""


def run_training(
    network: nn.Module,
    step_loss: Callable[[int, float], Tensor],
    schedule: Schedule,
    checkpoint: Path,
    report: Callable[[str], None],
    *,
    resume: bool,
    peers: Peers | None = None,
    watch: Callable[[int], None] | None = None,
) -> None:
    """Minimise `step_loss(step, progress)`, which draws its batch from the step's number alone.

    With peers every worker gives the loss of its share; the first one keeps the checkpoint. `watch` is called with the
    number of steps after every checkpoint, by the first worker.

    Everything follows the step's number, so two trainings are equal to the last bit, and one that was interrupted and
    resumed equals one that was not.

    Raises:
        DivergedTrainingError: a gradient stopped being finite; the message names the last good checkpoint.
    """
    peers = peers or Peers()
    torch.set_num_threads(schedule.threads)
    optimiser = torch.optim.AdamW(network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    step, spent = 0, 0.0
    if resume and checkpoint.is_file():
        device = next(network.parameters()).device
        state: dict[str, Any] = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = int(state["step"]), float(state["spent_s"])
        report(f"resumed at step {step}")
    network.train()
    started, mean = time.monotonic() - spent, 0.0
    while step < schedule.steps:
        progress = step / schedule.steps
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate * _rate(progress)
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        optimiser.zero_grad(set_to_none=True)
        loss = step_loss(step, progress)
        loss.backward()
        peers.mean_gradients(network)
        norm = nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        if not bool(torch.isfinite(norm)):
            kept = f"the last good checkpoint is {checkpoint}" if checkpoint.is_file() else "there is no checkpoint yet"
            raise DivergedTrainingError(f"the gradient of step {step} is not finite; {kept}")
        optimiser.step()
        step += 1
        mean += (float(loss.detach()) - mean) * max(0.02, 1 / step)
        if step % REPORT_EVERY == 0 or step == schedule.steps:
            elapsed = time.monotonic() - started
            report(f"step {step} of {schedule.steps}  {100 * progress:.0f} %  loss {mean:.4f}  {elapsed:.0f} s")
        if (step % schedule.checkpoint_every == 0 or step == schedule.steps) and peers.rank == 0:
            _save(network, optimiser, checkpoint, (step, time.monotonic() - started))
            if watch is not None:
                watch(step)


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
