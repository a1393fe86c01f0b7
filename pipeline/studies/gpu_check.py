"""Whether a GPU computes what the CPU does, and how fast: one picture, a short fit, milliseconds per iteration."""

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from ops.fit import FitInput, FitModels, FitResult, fit_faces, preset
from ops.fit.regression import mean_start
from ops.render.probe import gpu_problem
from ops.render.rasterize import RasterizerName
from ops.weights.bundle import ModelBundle
from pipeline.stages.models import load_fit_models

STEPS = 4
"""Iterations of the compared fits."""
TOLERANCES = {"identity": 0.02, "texture": 0.02, "expression": 0.02, "camera": 1.0, "light": 20.0, "loss_total": 0.05}
"""Largest accepted differences after so many: standard deviations, millimetres, units of the loss."""
FACES, TIMED_STEPS = (1, 32, 128), 20


class CheckLine(NamedTuple):
    """One thing that was checked."""

    name: str
    passed: bool
    text: str


def check_gpu(
    bundle: ModelBundle, rasterizer: RasterizerName, say: Callable[[CheckLine], None], device: str = "cuda"
) -> bool:
    """Check the GPU of this process; says every line as soon as it is known.

    Returns:
        Whether everything passed; nothing else is checked where the GPU cannot be used.
    """
    problem = gpu_problem(rasterizer)
    say(CheckLine("render and gradients", problem is None, problem or "as on the CPU"))
    if problem is not None:
        return False
    here = load_fit_models.__wrapped__(bundle, "cpu")
    there = dataclasses.replace(load_fit_models.__wrapped__(bundle, device), rasterizer=rasterizer)
    inputs = noise_faces(here, 2)
    config = dataclasses.replace(preset("default"), steps=STEPS, views=2)
    expected, found = fit_faces(here, inputs, config), fit_faces(there, inputs.to(device), config)
    lines = compare(expected, found)
    for line in lines:
        say(line)
    return all(line.passed for line in lines)


def compare(expected: FitResult, found: FitResult) -> list[CheckLine]:
    """Two short fits of the same faces, quantity by quantity; NaN is never close."""
    lines: list[CheckLine] = []
    for name, tolerance in TOLERANCES.items():
        difference = float((getattr(expected, name) - getattr(found, name)).abs().max())
        text = f"differs by {difference:.2g}, accepted {tolerance:g}"
        lines.append(CheckLine(f"fit of {STEPS} steps, {name}", difference <= tolerance, text))
    return lines


def time_iterations(bundle: ModelBundle, rasterizer: RasterizerName, faces: int, device: str = "cuda") -> float:
    """Milliseconds an iteration of stage two under the default preset, without its start."""
    models = dataclasses.replace(load_fit_models(bundle, device), rasterizer=rasterizer)
    inputs = noise_faces(models, faces).to(device)
    config = dataclasses.replace(preset("default"), landmark_steps=1, views=1, early_stop_window=0)

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        fit_faces(models, inputs, dataclasses.replace(config, steps=steps))  # ends with copies to the host
        return time.perf_counter() - started

    seconds(2)
    return 1000 * (seconds(2 + TIMED_STEPS) - seconds(2)) / TIMED_STEPS


def noise_faces(models: FitModels, count: int) -> FitInput:
    """Pictures of smooth noise, with landmarks about where a face has them."""
    rng, side = torch.Generator().manual_seed(0), preset("default").render_px
    coarse = torch.rand(count, 3, 14, 14, generator=rng)
    landmarks = mean_start(models.shape).landmarks.cpu().expand(count, -1, -1) * side
    return FitInput(
        images=torch.nn.functional.interpolate(coarse, size=side, mode="bilinear"),
        valid=torch.ones(count, side, side, dtype=torch.bool),
        landmarks_px=landmarks + torch.randn(count, 68, 2, generator=rng),
        group=torch.arange(count),
        seeds=torch.arange(count),
    )
