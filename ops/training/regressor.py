"""Training of the FastGANFit regressor: first from landmarks and known parameters, then through the renderer.

Phase one asks for landmarks in their places and, where a sample's parameters are known, for those; phase two adds the
whole objective of the fit (`ops.fit.objective`): identity, second render, content, pixels, landmarks, priors. What is
known stays supervised throughout.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ops.errors import ConfigurationError
from ops.face.landmark_points import choose_landmarks
from ops.face.mirror import Mirror, mirror_of
from ops.face.morphable_model import MorphableModel
from ops.fit import losses
from ops.fit.config import FitConfig, default_preset
from ops.fit.constraints import constrain
from ops.fit.landmark_bias import head_angles
from ops.fit.objective import FitInput, FitModels, Objective
from ops.fit.parameters import FitParameters, to_camera
from ops.fit.regression import recognition_crops, regress
from ops.geometry.camera import project_points
from ops.networks.regressor import LANDMARK_FEATURES
from ops.training.augmentation import jitter_colours
from ops.training.datasets import Progress
from ops.training.displacement import DisplacedBatch, align_anew, displaced_landmarks, mirror_samples
from ops.training.loop import Schedule, run_training
from ops.training.peers import Peers
from ops.training.regressor_samples import CROP_PX, TEXTURE_PX, SampleBatch, SampleSet

COLOUR_JITTER = 0.5
MIRRORED_SHARE = 0.5
"""Of the samples of a step, where the shape model is symmetric."""
STEP_SEEDS = 1_000_003
"""Keeps the second render's draws of different visits apart."""
HELD_OUT, MOST_HELD_OUT, WATCHED = 0.05, 200, 40
"""Share and greatest number of samples that are kept for testing, and how many are looked at during the training."""
MOST_RIDGE_SAMPLES, FEWEST_RIDGE_SAMPLES, RIDGE_BATCH = 20_000, 400, 64
RIDGE_STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
RIDGE_FOLDS = 5
"""One of so many parts of the samples decides between strengths."""
CAMERA_STEPS, CAMERA_RATE = 600, 0.02


@dataclass(frozen=True, kw_only=True)
class RegressorWeights:
    """Of the terms of phase one, each about 1 where nothing was learned, and of the objective beside them."""

    identity: float = 1.0
    """Unexplained share of the neutral face's variance."""
    expression: float = 0.3
    """The same of the expression's."""
    landmark: float = 10.0
    """Mean landmark distance over the outer-eye distance."""
    light: float = 0.05
    """Squared distance of the light in solver units."""
    texture: float = 10.0
    """Mean absolute difference of the texture's lower resolution."""
    prior: float = 1e-3
    """Squared norms of identity, expression and texture, and the camera's distance from its mean."""
    objective: float = 0.3
    """The fit's objective, in phase two."""


@dataclass(frozen=True, kw_only=True)
class RegressorTrainingConfig:
    """How a regressor is trained."""

    start_share: float = 0.6
    """Share of the steps that phase one takes."""
    weights: RegressorWeights = field(default_factory=RegressorWeights)
    fit: FitConfig = field(
        default_factory=lambda: dataclasses.replace(default_preset(), render_px=CROP_PX, steps=0, views=1)
    )
    """The objective of phase two."""


class TrainingFiles(NamedTuple):
    """What a training writes."""

    checkpoint: Path
    metrics: Path
    """One JSON line an evaluation."""


class ShapeMetric(NamedTuple):
    """Quadratic forms that measure coefficient differences on the face, as a share of the prior's variance.

    d^T identity d is the squared vertex distance of two neutral faces, after a similarity to first order, over that
    of a random face and the mean face; d^T expression d the same without a similarity.
    """

    identity: Float[Tensor, "identity identity"]
    expression: Float[Tensor, "expression expression"]


def shape_metric(shape: MorphableModel) -> ShapeMetric:
    """The metric of a shape model over its region `face`."""
    face = shape.regions["face"]
    mean = shape.mean_mm[face] - shape.mean_mm[face].mean(0)
    axes = torch.eye(3).to(mean)
    moves = [axis.expand_as(mean) for axis in axes] + [torch.linalg.cross(axis.expand_as(mean), mean) for axis in axes]
    rigid, _ = torch.linalg.qr(torch.stack([*moves, mean]).flatten(1).mT)
    identity = shape.identity_basis_mm[:, face].flatten(1)
    identity = identity - (identity @ rigid) @ rigid.mT
    expression = shape.expression_basis_mm[:, face].flatten(1)
    forms = (identity @ identity.mT, expression @ expression.mT)
    return ShapeMetric(*(form / form.trace() for form in forms))


class RegressorScore(NamedTuple):
    """On held-out samples, means."""

    samples: int
    shape_ratio: float
    """Root of the unexplained share of the neutral face's variance: 1 is the mean face, 0 the truth."""
    landmark_error: float
    """Over the outer-eye distance."""
    similarity: float
    """Cosine of input and render by the recognition network."""
    objective: float
    """The fit's objective."""


class RegressorTraining(nn.Module):
    """The loss of a batch; `models.regressor` is what learns."""

    def __init__(self, models: FitModels, config: RegressorTrainingConfig) -> None:
        super().__init__()
        assert models.regressor is not None
        self.models = models
        self.config = config
        self.regressor = models.regressor
        self.metric = shape_metric(models.shape)
        self.mirror = mirror_of(models.shape)
        self.points = models.landmark_surface.of(models.shape)
        levels = models.texture.levels
        self.level = max((side for side in levels if side <= TEXTURE_PX), default=levels[0])

    def forward(self, batch: SampleBatch, step: int, progress: float) -> Float[Tensor, ""]:
        """Mean loss of a batch at a share of the training; random parts depend on the samples and the step alone."""
        batch, given = self.as_fits_take(disturbed(batch, step, self.mirror))
        answer = regress(self.models, batch.images, given)
        total = self.known(answer, batch) + self.config.weights.prior * self.prior(answer)
        if progress >= self.config.start_share:
            objective = self.objective(self.within_limits(answer), batch, step)
            total = total + self.config.weights.objective * objective
        return total.mean()

    def as_fits_take(self, displaced: DisplacedBatch) -> DisplacedBatch:
        """Landmarks without their bias, where that is known."""
        batch, given = displaced
        return DisplacedBatch(batch._replace(landmarks=self.without_bias(batch.landmarks)), self.without_bias(given))

    def without_bias(self, landmarks: Float[Tensor, "sample 68 2"]) -> Float[Tensor, "sample 68 2"]:
        """Landmarks in crop sides where the shape model's own ones are seen."""
        bias = self.models.bias
        return landmarks if bias is None else landmarks - bias.at(head_angles(self.models.shape, landmarks))

    def known(self, answer: FitParameters, batch: SampleBatch) -> Float[Tensor, " sample"]:
        """Landmarks in their places, and what is known of a sample."""
        weights = self.config.weights
        identity, expression = _or(batch.identity, answer.identity), _or(batch.expression, answer.expression)
        light = _or(batch.light, answer.light) - answer.light
        total = weights.landmark * self.misplaced(answer.camera, identity, expression, batch.landmarks)
        total = total + weights.identity * _measured(identity - answer.identity, self.metric.identity)
        total = total + weights.expression * _measured(expression - answer.expression, self.metric.expression)
        total = total + weights.light * losses.squared_norm(light)
        wanted = torch.nn.functional.adaptive_avg_pool2d(batch.texture, self.level)
        texture = self.models.texture(answer.texture, self.level)
        return total + weights.texture * (_or(wanted, texture) - texture).abs().mean((1, 2, 3))

    def misplaced(
        self,
        camera: Float[Tensor, "sample 8"],
        identity: Float[Tensor, "sample identity"],
        expression: Float[Tensor, "sample expression"],
        landmarks: Float[Tensor, "sample 68 2"],
    ) -> Float[Tensor, " sample"]:
        """Mean distance of projected and given landmarks over the outer-eye distance."""
        seen_from = to_camera(camera)
        points = choose_landmarks(self.points.vertices_mm(identity, expression), seen_from)
        return losses.landmark_error(project_points(seen_from, points), landmarks)

    def prior(self, answer: FitParameters) -> Float[Tensor, " sample"]:
        """What holds parameters that nothing else determines."""
        total = losses.squared_norm(answer.camera - self.regressor.start_camera)
        for part in (answer.identity, answer.expression, answer.texture):
            total = total + losses.squared_norm(part)
        return total

    def within_limits(self, answer: FitParameters) -> FitParameters:
        """The answer within the models' limits, keeping the gradient that leads back from beyond them."""
        limited = constrain(answer, self.models)
        return FitParameters(*(a + (within - a).detach() for a, within in zip(answer, limited, strict=True)))

    def objective(self, answer: FitParameters, batch: SampleBatch, step: int) -> Float[Tensor, " sample"]:
        """The objective of the fit at the answer."""
        objective = Objective(self.models, fit_input(batch, step), self.config.fit)
        return objective(answer, objective.everyone(), 0).total(self.config.fit)


def disturbed(batch: SampleBatch, step: int, mirror: Mirror | None) -> DisplacedBatch:
    """A batch as its visit at a step sees it: mirrored or not, recoloured, and by displaced landmarks."""
    rng = np.random.default_rng((step, int(batch.seeds[0])))
    if mirror is not None:
        batch = mirror_samples(batch, mirror, torch.from_numpy(rng.random(len(batch.seeds)) < MIRRORED_SHARE))
    moved, given = align_anew(batch, displaced_landmarks(batch.landmarks, rng))
    images = jitter_colours(moved.images.cpu(), rng, COLOUR_JITTER).to(batch.images)
    return DisplacedBatch(moved._replace(images=images), given)


def fit_input(batch: SampleBatch, step: int) -> FitInput:
    """A batch as the fit takes it, every image a person of its own."""
    return FitInput(
        images=batch.images,
        valid=batch.valid,
        landmarks_px=batch.landmarks * batch.images.shape[-1],
        group=torch.arange(len(batch.seeds), device=batch.images.device),
        seeds=(batch.seeds * STEP_SEEDS + step) % (1 << 62),
    )


@torch.no_grad()
def start_heads(training: RegressorTraining, samples: SampleSet, positions: range) -> int:
    """Add to the shape head the ridge regression of what it leaves, on embedding and landmarks, some of them displaced.

    The camera's head follows from the landmarks by gradient descent, which needs no pictures. It is left
    unchanged where labelled samples are too few. Returns how many samples were used.
    """
    network, models = training.regressor.eval(), training.models
    used = min(len(positions), MOST_RIDGE_SAMPLES)
    if used < FEWEST_RIDGE_SAMPLES:
        return 0
    network.learn_plausible(training.without_bias(samples.landmarks(positions[:used]).to(models.device)))
    rows: list[tuple[Tensor, ...]] = []
    for start in range(0, used, RIDGE_BATCH):
        batch = samples.batch(positions[start : min(start + RIDGE_BATCH, used)]).to(models.device)
        displaced = align_anew(batch, displaced_landmarks(batch.landmarks, np.random.default_rng(start)))
        batch, given = training.as_fits_take(displaced)
        crops = recognition_crops(batch.images)
        recognition = models.recognition(crops)
        answer = network(crops, recognition, given)
        inputs = torch.cat((network.scaled(recognition.embedding), network.landmark_features(given)), 1)
        left = torch.cat((batch.identity - answer.identity, batch.expression - answer.expression), 1)
        rows.append((inputs, left, batch.landmarks, batch.identity, batch.expression))
    columns = [torch.cat(column) for column in zip(*rows, strict=True)]
    known = torch.isfinite(columns[1]).all(1)
    if int(known.sum()) < FEWEST_RIDGE_SAMPLES:
        return 0
    inputs, left, landmarks, identity, expression = (column[known] for column in columns)
    size = network.layout.embedding
    solved = [ridge(inputs, part) for part in left.split((identity.shape[1], expression.shape[1]), 1)]
    weight, bias = (torch.cat(part) for part in zip(*solved, strict=True))
    network.shape.weight[:, :size] += weight[:, :size]
    network.shape.weight[:, -LANDMARK_FEATURES:] += weight[:, size:]
    network.shape.bias.add_(bias)
    _start_camera(training, inputs[:, size:], landmarks, identity, expression)
    return len(inputs)


def ridge(
    inputs: Float[Tensor, "sample input"], outputs: Float[Tensor, "sample output"], strength: float | None = None
) -> tuple[Float[Tensor, "output input"], Float[Tensor, " output"]]:
    """Weights and bias that minimise |W x + b - y|^2 + strength |W|^2 for inputs of unit variance.

    Without a strength that one out of `RIDGE_STRENGTHS` with which the first samples tell most of the last ones.
    """
    if strength is None:
        known = len(inputs) - len(inputs) // RIDGE_FOLDS
        left: list[float] = []
        for tried in RIDGE_STRENGTHS:
            weight, bias = ridge(inputs[:known], outputs[:known], tried)
            left.append(float((inputs[known:] @ weight.mT + bias - outputs[known:]).square().mean()))
        strength = RIDGE_STRENGTHS[int(np.argmin(left))]
    mean, deviation = inputs.mean(0), inputs.std(0).clamp_min(1e-6)
    scaled = ((inputs - mean) / deviation).double()
    normal = scaled.mT @ scaled + strength * len(inputs) * torch.eye(inputs.shape[1]).to(scaled)
    centred = (outputs - outputs.mean(0)).double()
    weight = torch.linalg.solve(normal, scaled.mT @ centred).mT.float() / deviation
    return weight, outputs.mean(0) - weight @ mean


@torch.enable_grad()
def _start_camera(
    training: RegressorTraining,
    features: Float[Tensor, "sample 273"],
    landmarks: Float[Tensor, "sample 68 2"],
    identity: Float[Tensor, "sample identity"],
    expression: Float[Tensor, "sample expression"],
) -> None:
    """Let the camera's head see known faces where their landmarks are."""
    head, start = training.regressor.camera, training.regressor.start_camera
    optimiser = torch.optim.Adam(head.parameters(), CAMERA_RATE)
    prior = training.config.weights.prior
    for step in range(CAMERA_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = CAMERA_RATE * (1 - step / CAMERA_STEPS)
        rows = torch.from_numpy(np.random.default_rng(step).integers(len(landmarks), size=RIDGE_BATCH)).to(
            landmarks.device
        )
        camera = head(features[rows])
        error = training.misplaced(camera, identity[rows], expression[rows], landmarks[rows])
        loss = (training.config.weights.landmark * error + prior * losses.squared_norm(camera - start)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def score_regressor(training: RegressorTraining, samples: SampleSet, positions: range) -> RegressorScore:
    """Means over held-out samples, one by one; the regressor is left in evaluation mode."""
    training.regressor.eval()
    device = training.models.device
    columns: list[tuple[float, float, float, float]] = []
    for position in positions:
        batch = samples.batch([position]).to(device)
        batch, given = training.as_fits_take(DisplacedBatch(batch, batch.landmarks))
        answer = constrain(regress(training.models, batch.images, given), training.models)
        objective = Objective(training.models, fit_input(batch, 0), training.config.fit)
        targets = objective.everyone()
        rendered = objective.render_first(answer, targets)
        share = _measured(batch.identity - answer.identity, training.metric.identity)
        error = losses.landmark_error(rendered.landmarks_px, batch.landmarks * CROP_PX)
        similarity = objective.similarity(targets, rendered.composite)
        total = objective.compare(rendered, answer, targets, 0).total(training.config.fit)
        columns.append((float(share), float(error), float(similarity), float(total)))
    share, error, similarity, total = np.array(columns).T
    return RegressorScore(len(columns), float(np.sqrt(share.mean())), error.mean(), similarity.mean(), total.mean())


@torch.no_grad()
def learn_errors(training: RegressorTraining, samples: SampleSet, pictures_each: int) -> int:
    """Let the regressor know its errors from portraits of people not learned from, as `portrait_samples` numbers them.

    Returns how many people were used: those of whom every portrait is there.
    """
    network, device = training.regressor.eval(), training.models.device
    rows: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for position in range(len(samples)):
        batch = samples.batch([position]).to(device)
        answer = regress(training.models, batch.images, training.without_bias(batch.landmarks))
        rows.setdefault(int(batch.seeds[0]) // pictures_each, []).append((answer.identity, batch.identity))
    people = [found for found in rows.values() if len(found) == pictures_each]
    if people:
        answers = torch.stack([torch.cat([answer for answer, _ in found]) for found in people])
        truth = torch.cat([found[0][1] for found in people])
        network.learn_errors(answers, truth, training.metric.identity.diagonal())
    return len(people)


def train_regressor(
    training: RegressorTraining,
    samples: SampleSet,
    schedule: Schedule,
    files: TrainingFiles,
    report: Progress,
    *,
    peers: Peers | None = None,
) -> RegressorScore:
    """Train from the checkpoint where there is one, and score on the last samples, which are not learned from.

    Every worker takes its rows of the same batches.

    Raises:
        ConfigurationError: a batch that the workers cannot share.
        DivergedTrainingError: numbers stopped being finite.
    """
    peers = peers or Peers()
    if schedule.batch % peers.count:
        raise ConfigurationError(f"expected a batch that {peers.count} workers can share, got {schedule.batch}")
    torch.set_num_threads(schedule.threads)
    learned, held_out = samples.split(HELD_OUT, MOST_HELD_OUT)
    device = training.models.device
    if not files.checkpoint.is_file():
        used = start_heads(training, samples, learned)
        report(f"heads start from {used} known samples of {len(learned)}, {len(held_out)} held out")

    def step_loss(step: int, progress: float) -> Tensor:
        chosen = samples.draw(np.random.default_rng((schedule.seed, step)), schedule.batch, learned)
        batch = samples.batch(chosen[peers.rank :: peers.count]).to(device)
        return training(batch, step, progress)

    def watch(step: int) -> None:
        score = score_regressor(training, samples, held_out[:WATCHED])
        training.train()
        line = {"step": step, **score._asdict()}
        with files.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        report("held out: " + ", ".join(f"{name} {value:.3f}" for name, value in score._asdict().items()))

    run_training(training, step_loss, schedule, files.checkpoint, report, resume=True, peers=peers, watch=watch)
    return score_regressor(training, samples, held_out)


def _or(values: Tensor, otherwise: Tensor) -> Tensor:
    """The values, and the other ones in rows that are not known."""
    known = torch.isfinite(values).flatten(1).all(1)
    return torch.where(known.view(-1, *[1] * (values.ndim - 1)), torch.nan_to_num(values), otherwise)


def _measured(
    difference: Float[Tensor, "sample column"], form: Float[Tensor, "column column"]
) -> Float[Tensor, " sample"]:
    return ((difference @ form) * difference).sum(1)
