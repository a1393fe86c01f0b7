"""Training and evaluation of the embedded face detector."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ops.face.alignment import five_points
from ops.face.morphable_model import MorphableModel
from ops.networks.detector import FaceDetector
from ops.networks.embedded_blocks import save_weights
from ops.networks.embedded_detector import (
    ARCHITECTURE,
    POINT_UNIT,
    STRIDE,
    CentreNetwork,
    DetectorMaps,
    intersection_over_union,
    load_embedded_detector,
)
from ops.training.augmentation import as_batch, jitter_colours
from ops.training.datasets import TEST_CROWDS, TRAIN_CROWDS, Pictures, Progress, load_or_render
from ops.training.loop import Schedule, run_training

SCHEDULE = Schedule(steps=8000, batch=24, learning_rate=2e-3)
WINDOW_PX = 128
"""Random windows of this size are cut from the training pictures."""
HILL = 0.10
"""Standard deviation of the target round a face's centre, in geometric mean box sides."""
NEAR_CENTRE = 0.6
"""Cells whose target exceeds this learn box and points too."""
BOX_WEIGHT, POINT_WEIGHT = 2.0, 4.0
MIRRORED_POINTS = (1, 0, 2, 4, 3)
ACCEPT_SCORE, ACCEPT_OVERLAP = 0.5, 0.5


class DetectionScore(NamedTuple):
    """On fresh scenes, detections of score 0.5 and more against true boxes at an intersection over union of 0.5."""

    pictures: int
    faces: int
    recall: float
    precision: float
    point_error: float
    """Mean distance of the five points over the box's longer side."""


class Targets(NamedTuple):
    """What the maps should say."""

    hill: Float[Tensor, "image height width"]
    near: Float[Tensor, "image height width"]
    box: Float[Tensor, "image 4 height width"]
    points: Float[Tensor, "image 10 height width"]


def train_detector(
    model: MorphableModel, output: Path, cache: Path, schedule: Schedule, report: Progress, *, resume: bool
) -> None:
    """Train on people of a shape model and write `output` / detector.safetensors."""
    torch.manual_seed(schedule.seed)
    network = CentreNetwork()
    torch.nn.init.constant_(network.head.bias[:1], -4.0)  # pyright: ignore[reportOptionalSubscript]
    pictures = load_or_render(TRAIN_CROWDS, model, cache, report)

    def step_loss(step: int, progress: float) -> Tensor:
        rng = np.random.default_rng((schedule.seed, step))
        chosen = np.sort(rng.choice(len(pictures.images_rgb), schedule.batch, replace=False))
        left, top = (int(v) for v in rng.integers(0, pictures.images_rgb.shape[1] - WINDOW_PX + 1, 2))
        images = pictures.images_rgb[chosen, top : top + WINDOW_PX, left : left + WINDOW_PX]
        corner = np.array([left, top], np.float32)
        boxes = pictures.boxes_xyxy_px[chosen] - np.tile(corner, 2)
        landmarks = torch.from_numpy(pictures.landmarks_px[chosen] - corner)
        points = five_points(landmarks).numpy()
        batch = jitter_colours(as_batch(images), rng)
        if rng.random() < 0.5:
            batch = batch.flip(-1)
            boxes = np.stack([WINDOW_PX - boxes[..., 2], boxes[..., 1], WINDOW_PX - boxes[..., 0], boxes[..., 3]], -1)
            points = points[..., MIRRORED_POINTS, :] * (-1, 1) + (WINDOW_PX, 0)
        with torch.autocast("cpu", torch.bfloat16):
            maps = network(batch)
        return detector_loss(maps, make_targets(boxes, points.astype(np.float32), WINDOW_PX))

    run_training(network, step_loss, schedule, output / "detector.checkpoint", report, resume=resume)
    save_weights(network.eval(), output / "detector.safetensors", ARCHITECTURE)


def evaluate_detector(weights: Path, model: MorphableModel, cache: Path, report: Progress) -> DetectionScore:
    """Score a file of weights on fresh scenes."""
    return score_detector(load_embedded_detector(weights), load_or_render(TEST_CROWDS, model, cache, report))


def make_targets(
    boxes_xyxy_px: Float32[np.ndarray, "image face 4"], points_px: Float32[np.ndarray, "image face 5 2"], side_px: int
) -> Targets:
    """Hills round the boxes' centres; every cell learns the face whose hill is highest there. NaN boxes are none."""
    count, cells = len(boxes_xyxy_px), side_px // STRIDE
    centres = (np.arange(cells, dtype=np.float32) + 0.5) * STRIDE
    x, y = np.meshgrid(centres, centres)
    hill = np.zeros((count, cells, cells), np.float32)
    box = np.zeros((count, 4, cells, cells), np.float32)
    points = np.zeros((count, 10, cells, cells), np.float32)
    for image, face in np.argwhere(np.isfinite(boxes_xyxy_px[..., 0])):
        low, high = boxes_xyxy_px[image, face, :2], boxes_xyxy_px[image, face, 2:]
        middle, deviation = (low + high) / 2, HILL * float(np.sqrt((high - low).prod()))
        column, row = np.floor(middle / STRIDE).astype(int)
        if not (0 <= column < cells and 0 <= row < cells):
            continue
        square = (x - middle[0]) ** 2 + (y - middle[1]) ** 2
        height = np.exp(-0.5 * square / deviation**2)
        height[row, column] = 1.0
        mine = height > hill[image]
        hill[image] = np.maximum(hill[image], height)
        distances = np.stack([x - low[0], y - low[1], high[0] - x, high[1] - y])
        box[image] = np.where(mine, np.log(np.maximum(distances, 1.0) / STRIDE), box[image])
        offsets = (points_px[image, face][:, :, None, None] - np.stack([x, y])) / (STRIDE * POINT_UNIT)
        points[image] = np.where(mine, offsets.reshape(10, cells, cells), points[image])
    near = (hill >= NEAR_CENTRE).astype(np.float32)
    return Targets(*(torch.from_numpy(part) for part in (hill, near, box, points)))


def detector_loss(maps: DetectorMaps, targets: Targets) -> Float[Tensor, ""]:
    """Penalty-reduced focal loss of the centres (Law and Deng 2018), absolute error of boxes and points near them."""
    chance = maps.centre.float().sigmoid().clamp(1e-5, 1 - 1e-5)
    peaks = (targets.hill == 1).float()
    found = -peaks * (1 - chance) ** 2 * chance.log()
    false = -(1 - peaks) * (1 - targets.hill) ** 4 * chance**2 * (1 - chance).log()
    faces = peaks.sum().clamp_min(1)
    near = targets.near.unsqueeze(1)
    cells = near.sum().clamp_min(1)
    box = ((maps.box - targets.box).abs() * near).sum() / cells / 4
    points = ((maps.points - targets.points).abs() * near).sum() / cells / 10
    return (found + false).sum() / faces + BOX_WEIGHT * box + POINT_WEIGHT * points


def score_detector(detector: FaceDetector, pictures: Pictures) -> DetectionScore:
    """Recall, precision and point error; every true face is matched once, best score first."""
    matched, detected, faces = 0, 0, 0
    errors: list[float] = []
    for image, all_landmarks, all_boxes in zip(*pictures[:3], strict=True):
        true = np.isfinite(all_boxes[:, 0])
        boxes, points = all_boxes[true], five_points(torch.from_numpy(np.array(all_landmarks[true]))).numpy()
        found = detector(np.asarray(image))
        faces += len(boxes)
        free = set(range(len(boxes)))
        for box, score, five in zip(*found, strict=True):
            if score < ACCEPT_SCORE:
                continue
            detected += 1
            overlaps = {index: intersection_over_union(box, boxes[index]) for index in free}
            best = max(overlaps, key=lambda index: overlaps[index], default=-1)
            if best >= 0 and overlaps[best] >= ACCEPT_OVERLAP:
                free.remove(best)
                matched += 1
                size = float((boxes[best][2:] - boxes[best][:2]).max())
                errors.append(float(np.linalg.norm(five - points[best], axis=-1).mean()) / size)
    return DetectionScore(
        pictures=len(pictures.images_rgb),
        faces=faces,
        recall=matched / max(faces, 1),
        precision=matched / max(detected, 1),
        point_error=float(np.mean(errors)) if errors else float("nan"),
    )
