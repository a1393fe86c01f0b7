"""Training of the embedded recognition networks with the ArcFace loss (Deng et al. 2019), and their verification test.

The judge differs from the network that fits optimise in everything chance decides: width, seed, people and pictures.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor, nn

from ops.face.alignment import ARCFACE_TEMPLATE_PX, five_points
from ops.face.morphable_model import MorphableModel
from ops.networks.embedded_blocks import save_weights
from ops.networks.embedded_landmarks import cut_crop
from ops.networks.embedded_recognition import (
    ARCHITECTURE,
    EMBEDDING_SIZE,
    JUDGE_ARCHITECTURE,
    EmbeddedRecognition,
    load_embedded_recognition,
)
from ops.networks.recognition import CROP_PX, RecognitionNetwork
from ops.training.augmentation import as_batch, jitter_colours
from ops.training.datasets import (
    JUDGE_PORTRAITS,
    TEST_PORTRAITS,
    TRAIN_PORTRAITS,
    Pictures,
    PortraitSet,
    Progress,
    load_or_render,
)
from ops.training.loop import Schedule, run_training

SCHEDULE = Schedule(steps=6000, batch=64, learning_rate=2e-3, weight_decay=5e-4)
JUDGE_SCHEDULE = replace(SCHEDULE, steps=2500)
SCALE, MARGIN = 32.0, 0.35
"""Of the ArcFace loss."""
MARGIN_START, MARGIN_FULL = 0.35, 0.75
"""Shares of the training between which the margin grows from 0; with one from the start little is learned early."""
POINT_JITTER = 0.015
"""Standard deviation of the alignment points' noise, in pictures' sides."""
FALSE_ACCEPT = 1e-2


class Part(NamedTuple):
    """What is trained on whom."""

    name: str
    architecture: str
    people: PortraitSet


RECOGNITION = Part("recognition", ARCHITECTURE, TRAIN_PORTRAITS)
JUDGE = Part("judge", JUDGE_ARCHITECTURE, JUDGE_PORTRAITS)


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

    def __init__(self, people: int, architecture: str = ARCHITECTURE) -> None:
        super().__init__()
        self.network = EmbeddedRecognition(architecture=architecture)
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
    model: MorphableModel, output: Path, cache: Path, schedule: Schedule, report: Progress, *, resume: bool
) -> None:
    """Train on people of a shape model and write `output` / recognition.safetensors."""
    _train(RECOGNITION, model, output, cache, schedule, report, resume=resume)


def train_judge(
    model: MorphableModel, output: Path, cache: Path, schedule: Schedule, report: Progress, *, resume: bool
) -> None:
    """Train on people of a shape model and write `output` / judge.safetensors."""
    _train(JUDGE, model, output, cache, schedule, report, resume=resume)


def _train(
    part: Part, model: MorphableModel, output: Path, cache: Path, schedule: Schedule, report: Progress, *, resume: bool
) -> None:
    torch.manual_seed(schedule.seed)
    pictures = load_or_render(part.people, model, cache, report)
    training = ArcFaceTraining(part.people.people, part.architecture)

    def step_loss(step: int, progress: float) -> Tensor:
        rng = np.random.default_rng((schedule.seed, step))
        chosen = rng.integers(len(pictures.images_rgb), size=schedule.batch)
        crops = np.stack([aligned_crop(pictures, int(index), rng) for index in chosen])
        batch = jitter_colours(as_batch(crops), rng, 0.7)
        flipped = torch.from_numpy(rng.random(schedule.batch) < 0.5)
        batch = torch.where(flipped[:, None, None, None], batch.flip(-1), batch)
        person = torch.from_numpy(pictures.person[chosen].astype(np.int64)) - part.people.first_person
        with torch.autocast("cpu", torch.bfloat16):
            return training(batch, person, margin_at(progress))

    run_training(training, step_loss, schedule, output / f"{part.name}.checkpoint", report, resume=resume)
    save_weights(training.network.eval(), output / f"{part.name}.safetensors", part.architecture)


def aligned_crop(
    pictures: Pictures, index: int, rng: np.random.Generator | None = None
) -> UInt8[np.ndarray, "112 112 3"]:
    """A picture on the ArcFace template, from its true points with or without jitter."""
    points = five_points(torch.from_numpy(np.array(pictures.landmarks_px[index, 0])).double()).numpy()
    image = np.asarray(pictures.images_rgb[index])
    if rng is not None:
        points = points + rng.normal(0, POINT_JITTER * len(image), points.shape)
    return cut_crop(image, plane_similarity(points, ARCFACE_TEMPLATE_PX.numpy()), CROP_PX)


def plane_similarity(
    source: Float[np.ndarray, "point 2"], target: Float[np.ndarray, "point 2"]
) -> Float32[np.ndarray, "2 3"]:
    """The least-squares similarity from source to target: one complex factor and a shift."""
    a, b = source @ (1, 1j), target @ (1, 1j)
    centred = a - a.mean()
    factor = (centred.conj() @ b) / (centred.conj() @ centred)
    shift = b.mean() - factor * a.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]], np.float32)


def evaluate_recognition(weights: Path, model: MorphableModel, cache: Path, report: Progress) -> VerificationScore:
    """Test a file of weights on people who were not trained on."""
    network = load_embedded_recognition(weights, ())
    return score_recognition(network, load_or_render(TEST_PORTRAITS, model, cache, report))


def score_recognition(network: RecognitionNetwork, pictures: Pictures) -> VerificationScore:
    """Verification over all pairs."""
    crops = np.stack([aligned_crop(pictures, index) for index in range(len(pictures.images_rgb))])
    with torch.no_grad():
        parts = [network(as_batch(crops[i : i + 50])).embedding for i in range(0, len(crops), 50)]
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
