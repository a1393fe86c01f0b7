"""Training a bundle's regressor: in this process, or as one of the workers of Ray Train."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ops.errors import ConfigurationError, FingerprintMismatchError
from ops.face.landmark_points import landmark_surface
from ops.faceworld.portraits.stream import PortraitSettings
from ops.fit.regression import new_regressor
from ops.networks.regressor_file import RegressorFile, RegressorOrigin, probe_models, save_regressor, take_over
from ops.training.loop import Schedule
from ops.training.peers import Peers
from ops.training.regressor import (
    RegressorTraining,
    RegressorTrainingConfig,
    TrainingFiles,
    learn_errors,
    train_regressor,
)
from ops.training.regressor_samples import FaceFinder, RegressorSamples, SampleSet, portrait_samples, write_part
from ops.training.stream_samples import SIDE_PX, TrueLandmarks, stream_samples
from ops.weights.bundle import ModelBundle, load_bias, load_calibration, load_detector, load_landmarks, load_shape
from ops.weights.registry import sha256_of
from pipeline.stages.models import load_fit_models
from pipeline.training.portraits import PortraitSource
from pipeline.training.workers import Say

Photographer = Callable[[range], RegressorSamples | None]
FACE_WORLD = "faceworld"
"""The kind of shape model whose people stand in scenes of their own."""
STREAM_SEED = 21
"""Of the portraits' people."""
CHECKPOINT, METRICS, REGRESSOR, REPORT = "checkpoint.pt", "metrics.jsonl", "regressor.safetensors", "regressor.json"
SETTINGS = "settings.json"
PORTRAITS_A_PART, PICTURES_EACH = 200, 1
FIRST_TESTED, MOST_TESTED, TESTED_SHARE, TESTED_PICTURES = 10_000_000, 200, 0.01, 4
"""Number of the first of the people whose portraits only tell how far answers are off; how many they are at most, and
for every one that is learned from; portraits of each."""


@dataclass(frozen=True, kw_only=True)
class RegressorRun:
    """One training, as every worker gets it; its folders must be visible to all of them."""

    bundle: ModelBundle
    samples: tuple[Path, ...]
    """Folders of sample sets."""
    output: Path
    schedule: Schedule
    config: RegressorTrainingConfig = field(default_factory=RegressorTrainingConfig)
    tested: Path | None = None
    """Several portraits each of people not learned from."""
    device: str = "cpu"
    start_from: Path | None = None
    """A regressor of the same layout, for what it makes of pictures."""
    looks: dict[str, str | None] | None = None
    """Kind and sha256 of the texture model that the portraits wear beside painted faces."""

    def __call__(self, report: Say, peers: Peers) -> None:
        """Train from the checkpoint where there is one; the first worker writes regressor.safetensors and its score."""
        torch.set_num_threads(self.schedule.threads)
        models = load_fit_models(dataclasses.replace(self.bundle, regressor=None), self.device)
        torch.manual_seed(self.schedule.seed)
        training = RegressorTraining(dataclasses.replace(models, regressor=new_regressor(models)), self.config)
        if self.start_from is not None:
            take_over(training.regressor, self.start_from)
        samples = SampleSet(self.samples)
        files = TrainingFiles(self.output / CHECKPOINT, self.output / METRICS)
        score = train_regressor(training, samples, self.schedule, files, report, peers=peers)
        if peers.rank > 0:
            return
        if self.tested is not None:
            people = learn_errors(training, SampleSet([self.tested]), TESTED_PICTURES)
            report(f"errors known from {TESTED_PICTURES} portraits each of {people} people")
        described = {
            "samples": len(samples),
            "schedule": dataclasses.asdict(self.schedule),
            "start_share": self.config.start_share,
            "looks": self.looks,
            "start_from": sha256_of(self.start_from) if self.start_from else None,
            "held_out": score._asdict(),
        }
        origin = RegressorOrigin(bundle=self.bundle.name, models=trained_with(self.bundle), training=described)
        probe = probe_models(models.shape, models.texture)
        save_regressor(RegressorFile(training.regressor, origin, probe), self.output / REGRESSOR)
        text = json.dumps(dataclasses.asdict(origin), indent=2)
        (self.output / REPORT).write_text(text + "\n", encoding="utf-8")
        report(f"wrote {self.output / REGRESSOR}: " + ", ".join(f"{k} {v:.3f}" for k, v in score._asdict().items()))


def trained_with(bundle: ModelBundle) -> dict[str, dict[str, str | None]]:
    """Kind and sha256 of the models a regressor learns from, by role."""
    roles = {role: ref for role, ref in bundle.roles() if ref is not None and role != "regressor"}
    return {role: {"kind": ref.kind, "sha256": ref.sha256} for role, ref in roles.items()}


def with_looks(bundle: ModelBundle, other: ModelBundle) -> ModelBundle:
    """The bundle with the other's texture model, for portraits that wear it.

    Raises:
        ConfigurationError: the two have different shape models, to which textures belong.
    """
    ours, theirs = (trained_with(each)["shape"] for each in (bundle, other))
    if ours != theirs:
        raise ConfigurationError(
            f"expected looks of a bundle with the shape model {ours}, found {theirs} in the bundle {other.name}"
        )
    return dataclasses.replace(bundle, texture=other.texture)


def claim_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Write down what decides a training in its folder, or see that the folder holds the same training.

    Raises:
        FingerprintMismatchError: it holds another one.
    """
    wanted: dict[str, Any] = json.loads(json.dumps(settings))
    path = folder / SETTINGS
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
        return
    there: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    changed = [f"{key}: {there.get(key)} before, {wanted[key]} now" for key in wanted if there.get(key) != wanted[key]]
    if changed:
        raise FingerprintMismatchError(
            f"{folder} holds another training ({'; '.join(changed)}): give its settings again, or another --output"
        )


def portrait_set(bundle: ModelBundle, folder: Path, people: range, say: Say) -> None:
    """Photograph people who do not exist on the bundle's shape model, those who are not there yet.

    Those of the face world stand in its scenes; of another shape model there are photo-like portraits.
    """
    _photograph(bundle, folder, people, PICTURES_EACH, say)


def tested_set(bundle: ModelBundle, folder: Path, people: int, say: Say) -> Path | None:
    """Photograph those beside so many people who show how far answers are off; None where these are too few."""
    count = min(MOST_TESTED, round(TESTED_SHARE * people))
    if not count:
        return None
    _photograph(bundle, folder, range(FIRST_TESTED, FIRST_TESTED + count), TESTED_PICTURES, say)
    return folder


def _photograph(bundle: ModelBundle, folder: Path, people: range, pictures_each: int, say: Say) -> None:
    photograph: Photographer | None = None
    for first in range(0, len(people), PORTRAITS_A_PART):
        part = folder / f"{first // PORTRAITS_A_PART:05d}"
        if part.is_dir():
            continue
        photograph = photograph or _photographer(bundle, pictures_each)
        chosen = people[first : first + PORTRAITS_A_PART]
        samples = photograph(chosen)
        if samples is not None:
            write_part(part, samples)
            done = first + len(chosen)
            say(f"photographed {done} of {len(people)} people, found {len(samples.seeds)} faces in the last")


def _photographer(bundle: ModelBundle, pictures_each: int) -> Photographer:
    """What makes the samples of people with some numbers."""
    shape = load_shape(bundle.shape)
    if bundle.shape.kind == FACE_WORLD:
        finder = FaceFinder(load_detector(bundle.detector), load_landmarks(bundle.landmarks))
        return lambda people: portrait_samples(shape, finder, people, pictures_each)
    stream = PortraitSource(bundle, PortraitSettings(side_px=SIDE_PX, seed=STREAM_SEED, pictures_each=pictures_each))()
    calibration = load_calibration(bundle.calibration, shape) if bundle.calibration else None
    points = (calibration.surface if calibration else landmark_surface(shape)).of(shape)
    landmarks = TrueLandmarks(shape, points, load_bias(bundle.landmark_bias) if bundle.landmark_bias else None)

    def photograph(people: range) -> RegressorSamples:
        return stream_samples(stream, landmarks, range(people.start * pictures_each, people.stop * pictures_each))

    return photograph
