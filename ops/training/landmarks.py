"""Training and evaluation of the embedded landmark network."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from ops.face.alignment import five_points
from ops.face.landmark_parts import outer_eye_distance
from ops.face.morphable_model import MorphableModel
from ops.networks.embedded_blocks import save_weights
from ops.networks.embedded_landmarks import (
    ARCHITECTURE,
    CROP_PX,
    MAP_SIDE,
    EmbeddedLandmarks,
    StackedHourglass,
    crop_from_box,
    cut_crop,
    eye_roll,
    load_embedded_landmarks,
)
from ops.networks.face_crop import MIRRORED_68
from ops.training.augmentation import as_batch, jitter_colours
from ops.training.datasets import LANDMARK_PORTRAITS, TEST_PORTRAITS, Pictures, Progress, load_or_render
from ops.training.loop import Schedule, run_training

SCHEDULE = Schedule(steps=28_000, batch=16, learning_rate=2.5e-3)
MAP_DEVIATION = 0.026
"""Standard deviation of the target maps, in crop sides."""
DISTANCE_WEIGHT = 20.0
BOX_SHIFT, BOX_SCALE, ROLL_JITTER = 0.06, 0.12, 0.12
"""Standard deviations of the box jitter in box sides and of the roll in radians."""


class LandmarkScore(NamedTuple):
    """Errors over the outer-eye distance on pictures of unseen people, from jittered true boxes."""

    pictures: int
    mean: float
    median: float
    p95: float


class _Crop(NamedTuple):
    image_rgb: UInt8[np.ndarray, "side side 3"]
    points: Float32[np.ndarray, "68 2"]
    """In crop units."""


def train_landmarks(
    models: Sequence[MorphableModel], output: Path, cache: Path, schedule: Schedule, report: Progress, *, resume: bool
) -> None:
    """Train on people of one or more shape models in equal shares and write `output` / landmarks.safetensors."""
    torch.manual_seed(schedule.seed)
    network = StackedHourglass()
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    sets = [load_or_render(LANDMARK_PORTRAITS, model, cache, report) for model in models]

    def step_loss(step: int, progress: float) -> Tensor:
        rng = np.random.default_rng((schedule.seed, step))
        crops: list[_Crop] = []
        for picture in range(schedule.batch):
            pictures = sets[picture % len(sets)]
            crops.append(_cut(pictures, int(rng.integers(len(pictures.images_rgb))), rng))
        points = np.stack([crop.points for crop in crops])
        batch = jitter_colours(as_batch(np.stack([crop.image_rgb for crop in crops])), rng)
        if rng.random() < 0.5:
            batch, points = batch.flip(-1), points[:, MIRRORED_68] * (-1, 1) + (1, 0)
        with torch.autocast("cpu", torch.bfloat16):
            maps = network(batch.contiguous(memory_format=torch.channels_last))
        return landmark_loss(maps, torch.from_numpy(points).float())

    run_training(network, step_loss, schedule, output / "landmarks.checkpoint", report, resume=resume)
    save_weights(network.eval(), output / "landmarks.safetensors", ARCHITECTURE)


def evaluate_landmarks(weights: Path, model: MorphableModel, cache: Path, report: Progress) -> LandmarkScore:
    """Score a file of weights on people of a shape model who were not trained on."""
    return score_landmarks(load_embedded_landmarks(weights), load_or_render(TEST_PORTRAITS, model, cache, report))


def landmark_loss(
    maps: tuple[Float[Tensor, "image 68 side side"], ...], points: Float[Tensor, "image 68 2"]
) -> Float[Tensor, ""]:
    """Over all stacks: cross-entropy of the maps with Gaussians at the points, and distance of their means."""
    centres = (torch.arange(MAP_SIDE) + 0.5) / MAP_SIDE
    inside = points.clamp(0, 1)
    near = -(((centres - inside.unsqueeze(-1)) / MAP_DEVIATION) ** 2) / 2
    target = (near[:, :, 1].unsqueeze(-1) + near[:, :, 0].unsqueeze(-2)).flatten(2).softmax(-1)
    total = points.new_zeros(())
    for stack in maps:
        log_chance = stack.float().flatten(2).log_softmax(-1)
        total = total - (target * log_chance).sum(-1).mean()
        chance = log_chance.exp().unflatten(-1, (MAP_SIDE, MAP_SIDE))
        found = torch.stack(((chance.sum(-2) * centres).sum(-1), (chance.sum(-1) * centres).sum(-1)), -1)
        total = total + DISTANCE_WEIGHT * (found - inside).abs().mean()
    return total / len(maps)


def score_landmarks(network: EmbeddedLandmarks, pictures: Pictures) -> LandmarkScore:
    """Error of the network on single-face pictures, from boxes and five points with a little jitter."""
    errors: list[float] = []
    for index in range(len(pictures.images_rgb)):
        rng = np.random.default_rng((99, index))
        box, points = _jittered(pictures, index, rng, 0.5)
        found = network(np.asarray(pictures.images_rgb[index]), box[None], points[None])[0]
        errors.append(normalised_error(found, pictures.landmarks_px[index, 0]))
    median, high = np.quantile(errors, [0.5, 0.95])
    return LandmarkScore(len(errors), float(np.mean(errors)), float(median), float(high))


def normalised_error(found_px: Float32[np.ndarray, "68 2"], true_px: Float32[np.ndarray, "68 2"]) -> float:
    """Mean distance over the outer-eye distance of the truth."""
    return float(np.linalg.norm(found_px - true_px, axis=-1).mean()) / max(outer_eye_distance(true_px), 1e-6)


def _jittered(
    pictures: Pictures, index: int, rng: np.random.Generator, strength: float
) -> tuple[Float32[np.ndarray, "4"], Float32[np.ndarray, "5 2"]]:
    box = np.array(pictures.boxes_xyxy_px[index, 0])
    size = float((box[2:] - box[:2]).max())
    shift = rng.normal(0, BOX_SHIFT * strength, 2) * size
    grow = rng.normal(0, BOX_SCALE * strength) * size / 2
    box = box + np.concatenate([shift - grow, shift + grow])
    points = five_points(torch.from_numpy(np.array(pictures.landmarks_px[index, 0]))).numpy()
    return box.astype(np.float32), points + rng.normal(0, 0.02 * strength * size, points.shape).astype(np.float32)


def _cut(pictures: Pictures, index: int, rng: np.random.Generator) -> _Crop:
    box, points = _jittered(pictures, index, rng, 1.0)
    matrix = crop_from_box(box, eye_roll(points) + rng.normal(0, ROLL_JITTER))
    crop = cut_crop(np.asarray(pictures.images_rgb[index]), matrix)
    landmarks = pictures.landmarks_px[index, 0] @ matrix[:, :2].T + matrix[:, 2]
    return _Crop(crop, (landmarks / CROP_PX).astype(np.float32))
