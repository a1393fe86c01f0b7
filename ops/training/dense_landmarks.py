"""Training and evaluation of the dense landmark network on portraits of people who do not exist."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from ops.face.dense_points import DensePoints
from ops.face.landmark_parts import LEFT_EYE, RIGHT_EYE, outer_eye_distance
from ops.faceworld.portraits.stream import PortraitStream
from ops.networks.dense_landmarks import (
    ARCHITECTURE,
    CROP_PX,
    CROP_SCALE,
    DenseLandmarks,
    DenseNetwork,
    DenseOutput,
    crop_about_points,
)
from ops.networks.embedded_blocks import save_weights
from ops.networks.embedded_landmarks import cut_crop
from ops.training.augmentation import as_batch, jitter_colours
from ops.training.loop import Schedule, run_training
from ops.training.portrait_feed import PortraitFeed, Window

SCHEDULE = Schedule(steps=9000, batch=64, learning_rate=2e-3)
CHECKPOINT, WEIGHTS = "dense_landmarks.checkpoint", "dense_landmarks.safetensors"
DISTANCE_WEIGHT = 20.0
SHIFT, SCALE, TURN = 0.03, 0.06, np.deg2rad(6.0)
"""Standard deviations of the crop's jitter: in its sides, of the log of its scale, in radians."""
ROUGH, ROUGH_FACTOR = 0.25, 2.5
"""How often a crop is as a detector's box would make it, and by how much more it is off then."""


class DenseScore(NamedTuple):
    """Errors over the outer-eye distance on portraits that were not trained on."""

    portraits: int
    mean: float
    """Of all points."""
    visible: float
    """Of those that are seen."""
    landmarks: float
    """Of the first 68."""
    within_deviation: float
    """Share of coordinates nearer to the truth than their deviation; 0.68 where that is right."""


def train_dense_landmarks(
    make_stream: Callable[[], PortraitStream],
    dense: DensePoints,
    output: Path,
    schedule: Schedule,
    window: Window,
    report: Callable[[str], None],
    *,
    resume: bool,
) -> None:
    """Train from portraits of a stream, drawn beside, and write `output` / dense_landmarks.safetensors.

    `make_stream` is called in another process. Everything follows the number of a step: two trainings are equal to
    the last bit, and one that was interrupted and resumed equals one that was not.
    """
    torch.manual_seed(schedule.seed)
    network = DenseNetwork(dense)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    checkpoint = output / CHECKPOINT
    mirrored = dense.mirrored.numpy()
    with PortraitFeed(make_stream, window, _first_step(checkpoint, resume=resume), schedule.steps - 1) as feed:

        def step_loss(step: int, progress: float) -> Tensor:
            rng = np.random.default_rng((schedule.seed, step))
            fed = feed.draw(step, schedule.batch, rng)
            crops = [_cut(image, points, rng) for image, points in zip(*fed, strict=True)]
            points = np.stack([points for _, points in crops])
            batch = jitter_colours(as_batch(np.stack([crop for crop, _ in crops])), rng)
            if rng.random() < 0.5:
                batch, points = batch.flip(-1), points[:, mirrored] * (-1, 1) + (1, 0)
            with torch.autocast("cpu", torch.bfloat16):
                found = network(batch.contiguous(memory_format=torch.channels_last))
            return dense_loss(found, torch.from_numpy(points).float())

        run_training(network, step_loss, schedule, checkpoint, report, resume=resume)
    save_weights(network.eval(), output / WEIGHTS, ARCHITECTURE)


def dense_loss(found: DenseOutput, points: Float[Tensor, "image point 2"]) -> Float[Tensor, ""]:
    """Negative log-likelihood of the points under the network's Gaussians (Wood et al. 2022), and their distance.

    sum over coordinates of log(sigma) + (x - mu)^2 / (2 sigma^2), as a mean over the points inside the crop; the plain
    distance keeps points of great deviation learning.
    """
    inside = ((points > 0) & (points < 1)).all(-1)
    offset = found.points - points
    squared = offset.square().sum(-1)
    sigma = found.deviations
    likelihood = 2 * sigma.log() + squared / (2 * sigma.square())
    distance = (squared + 1e-8).sqrt()
    return ((likelihood + DISTANCE_WEIGHT * distance) * inside).sum() / inside.sum().clamp_min(1)


def score_dense(network: DenseLandmarks, stream: PortraitStream, first: int, count: int) -> DenseScore:
    """Error of the network on portraits first..first + count - 1, from boxes as a detector would give them."""
    errors: list[Float32[np.ndarray, " point"]] = []
    seen: list[Bool[np.ndarray, " point"]] = []
    likely: list[float] = []
    for number, portrait in enumerate(stream.portraits(first, first + count)):
        rng = np.random.default_rng((98, number))
        truth = portrait.points_px
        box, five = _detected(truth, rng)
        found = network.find(portrait.image_rgb, box[None], five[None])
        eyes = max(outer_eye_distance(truth), 1e-6)
        errors.append(np.linalg.norm(found.points_px[0] - truth, axis=-1) / eyes)
        seen.append(portrait.visible)
        likely.append(float((np.abs(found.points_px[0] - truth) < found.deviations_px[0][:, None]).mean()))
    values, visible = np.stack(errors), np.stack(seen)
    return DenseScore(
        portraits=count,
        mean=float(values.mean()),
        visible=float(values[visible].mean()),
        landmarks=float(values[:, :68].mean()),
        within_deviation=float(np.mean(likely)),
    )


def _detected(
    points_px: Float32[np.ndarray, "point 2"], rng: np.random.Generator
) -> tuple[Float32[np.ndarray, "4"], Float32[np.ndarray, "5 2"]]:
    """A detector's box and five points, of which only the eyes are used, each a little off."""
    low, high = points_px.min(0), points_px.max(0)
    size = float((high - low).max())
    box = np.concatenate((low, high)) + np.tile(rng.normal(0, SHIFT, 2), 2) * size
    five = np.zeros((5, 2), np.float32)
    five[0], five[1] = points_px[RIGHT_EYE].mean(0), points_px[LEFT_EYE].mean(0)
    five += rng.normal(0, 0.01 * size, five.shape)
    return box.astype(np.float32), five.astype(np.float32)


def _cut(
    image_rgb: UInt8[np.ndarray, "side side 3"], points_px: Float32[np.ndarray, "point 2"], rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "128 128 3"], Float32[np.ndarray, "point 2"]]:
    """A jittered crop, and the points in its sides."""
    factor = ROUGH_FACTOR if rng.random() < ROUGH else 1.0
    scale = CROP_SCALE * float(np.exp(rng.normal(0, SCALE * factor)))
    matrix = crop_about_points(points_px, float(rng.normal(0, TURN * factor)), scale)
    matrix[:, 2] += rng.normal(0, SHIFT * factor * CROP_PX, 2)
    points = points_px @ matrix[:, :2].T + matrix[:, 2]
    return cut_crop(image_rgb, matrix, CROP_PX), (points / CROP_PX).astype(np.float32)


def _first_step(checkpoint: Path, *, resume: bool) -> int:
    if not (resume and checkpoint.is_file()):
        return 0
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True)["step"])
