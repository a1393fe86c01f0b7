"""Training of the embedded recognition network with the ArcFace loss (Deng et al. 2019), and its verification test."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor, nn

from ops.alignment import ARCFACE_TEMPLATE_PX, five_points
from ops.networks.embedded_blocks import save_weights
from ops.networks.embedded_landmarks import cut_crop
from ops.networks.embedded_recognition import ARCHITECTURE, EMBEDDING_SIZE, EmbeddedRecognition
from ops.networks.recognition import CROP_PX
from ops.training.augmentation import as_batch, jitter_colours
from ops.training.datasets import TEST_PORTRAITS, TRAIN_PORTRAITS, Pictures, Progress, load_or_render
from ops.training.loop import Schedule, run_training

SCHEDULE = Schedule(steps=6000, batch=64, learning_rate=2e-3, weight_decay=5e-4)
SCALE, MARGIN = 32.0, 0.35
"""Of the ArcFace loss."""
MARGIN_START, MARGIN_FULL = 0.35, 0.75
"""Shares of the training between which the margin grows from 0; with one from the start little is learned early."""
POINT_JITTER = 0.015
"""Standard deviation of the alignment points' noise, in pictures' sides."""
FALSE_ACCEPT = 1e-2


class VerificationScore(NamedTuple):
    """Same person or not, over all pairs of pictures of unseen people."""

    people: int
    pictures: int
    accuracy: float
    """Best threshold, same and different pairs weighted equally."""
    true_accept: float
    """Share of same pairs accepted where one different pair in a hundred is."""
    same_mean: float
    different_mean: float


class ArcFaceTraining(nn.Module):
    """The network and one direction for every person."""

    def __init__(self, people: int) -> None:
        super().__init__()
        self.network = EmbeddedRecognition()
        self.directions = nn.Parameter(torch.randn(people, EMBEDDING_SIZE) * 0.05)

    def forward(self, crops: Float[Tensor, "image 3 112 112"], person: Int[Tensor, " image"], margin: float) -> Tensor:
        """Cross-entropy with the angle to the true person's direction enlarged by the margin."""
        embedding = self.network(2 * crops - 1).outputs[0].float()
        return arcface_loss(embedding, self.directions, person, margin)


def margin_at(progress: float) -> float:
    """The margin at a share of the training."""
    return MARGIN * min(max((progress - MARGIN_START) / (MARGIN_FULL - MARGIN_START), 0.0), 1.0)


def arcface_loss(
    embedding: Float[Tensor, "image channel"],
    directions: Float[Tensor, "person channel"],
    person: Int[Tensor, " image"],
    margin: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of SCALE * cos(angle), with `margin` radians added to the true person's angle."""
    cosine = nn.functional.normalize(embedding) @ nn.functional.normalize(directions).mT
    true = cosine.gather(1, person[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    # Beyond pi - margin the cosine would rise again; there a straight line goes on falling.
    widened = torch.where(
        true > -np.cos(margin), torch.cos(true.acos() + margin), true - margin * float(np.sin(margin))
    )
    logits = SCALE * cosine.scatter(1, person[:, None], widened)
    return nn.functional.cross_entropy(logits, person)


def train_recognition(
    output: Path, cache: Path, schedule: Schedule, report: Progress, *, resume: bool
) -> VerificationScore:
    """Train, write `output` / recognition.safetensors and test it on unseen people."""
    torch.manual_seed(schedule.seed)
    pictures = load_or_render(TRAIN_PORTRAITS, cache, report)
    training = ArcFaceTraining(TRAIN_PORTRAITS.people)

    def step_loss(step: int, progress: float) -> Tensor:
        rng = np.random.default_rng((schedule.seed, step))
        chosen = rng.integers(len(pictures.images_rgb), size=schedule.batch)
        crops = np.stack([aligned_crop(pictures, int(index), rng) for index in chosen])
        batch = jitter_colours(as_batch(crops), rng, 0.7)
        flipped = torch.from_numpy(rng.random(schedule.batch) < 0.5)
        batch = torch.where(flipped[:, None, None, None], batch.flip(-1), batch)
        person = torch.from_numpy(pictures.person[chosen].astype(np.int64)) - TRAIN_PORTRAITS.first_person
        with torch.autocast("cpu", torch.bfloat16):
            return training(batch, person, margin_at(progress))

    run_training(training, step_loss, schedule, output / "recognition.checkpoint", report, resume=resume)
    save_weights(training.network.eval(), output / "recognition.safetensors", ARCHITECTURE)
    return score_recognition(training.network, load_or_render(TEST_PORTRAITS, cache, report))


def aligned_crop(
    pictures: Pictures, index: int, rng: np.random.Generator | None = None
) -> UInt8[np.ndarray, "112 112 3"]:
    """A picture on the ArcFace template, from its true points with or without jitter."""
    points = five_points(torch.from_numpy(np.array(pictures.landmarks_px[index, 0])).double()).numpy()
    image = np.asarray(pictures.images_rgb[index])
    if rng is not None:
        points = points + rng.normal(0, POINT_JITTER * len(image), points.shape)
    return cut_crop(image, _plane_similarity(points, ARCFACE_TEMPLATE_PX.numpy()), CROP_PX)


def _plane_similarity(
    source: Float[np.ndarray, "point 2"], target: Float[np.ndarray, "point 2"]
) -> Float32[np.ndarray, "2 3"]:
    """The least-squares similarity from source to target: one complex factor and a shift."""
    a, b = source @ (1, 1j), target @ (1, 1j)
    centred = a - a.mean()
    factor = (centred.conj() @ b) / (centred.conj() @ centred)
    shift = b.mean() - factor * a.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]], np.float32)


def score_recognition(network: EmbeddedRecognition, pictures: Pictures) -> VerificationScore:
    """Verification over all pairs."""
    crops = np.stack([aligned_crop(pictures, index) for index in range(len(pictures.images_rgb))])
    with torch.no_grad():
        parts = [network(2 * as_batch(crops[i : i + 50]) - 1).outputs[0] for i in range(0, len(crops), 50)]
    embedding = nn.functional.normalize(torch.cat(parts)).numpy()
    return verify(embedding, np.asarray(pictures.person))


def verify(embedding: Float32[np.ndarray, "picture channel"], person: Int[np.ndarray, " picture"]) -> VerificationScore:
    """Score unit embeddings against who is who."""
    first, second = np.triu_indices(len(person), 1)
    cosine = (embedding @ embedding.T)[first, second]
    same = person[first] == person[second]
    accepted, refused = np.sort(cosine[same]), np.sort(cosine[~same])
    thresholds = np.linspace(-1, 1, 2001)
    true_accept = 1 - np.searchsorted(accepted, thresholds) / len(accepted)
    true_refuse = np.searchsorted(refused, thresholds) / len(refused)
    limit = float(np.quantile(refused, 1 - FALSE_ACCEPT))
    return VerificationScore(
        people=len(np.unique(person)),
        pictures=len(person),
        accuracy=float((true_accept + true_refuse).max() / 2),
        true_accept=float((accepted > limit).mean()),
        same_mean=float(accepted.mean()),
        different_mean=float(refused.mean()),
    )
