"""Train one of the networks of the embedded bundle on pictures of people who do not exist, and evaluate it.

    python -m jobs.train_embedded --part landmarks --output runs/embedded
    python -m jobs.train_embedded --part landmarks --output ops/weights/embedded --evaluate_only true

The first command renders the training pictures once (some CPU-minutes, kept in the cache), trains from nothing and
writes PART.safetensors; `--resume true` continues from the last checkpoint. Both write PART.json beside the weights:
what they were trained on, and how they do on people and scenes that were not trained on. The same command on the same
number of threads gives the same weights.

The landmark network learns from ICT-FaceKit's people too: from the file in the model directory, or one of
`jobs.import_model ict` named by `--second_shape`. Without either the job refuses; `--faceworld_only true` leaves these
people out. `--reference ict` shows our pictures to the detector of that bundle, and `--photos FOLDER` adds how a
network does on photographs (one sub-folder a person), as compared with the reference's networks.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jsonargparse import CLI

from jobs.command import say
from ops.errors import ConfigurationError, GanfitError, MissingModelFileError
from ops.face.morphable_model import MorphableModel

PartName = Literal["detector", "landmarks", "recognition", "judge"]
SECOND_SHAPE = "ict_facekit_face"
REFERENCE_PEOPLE = 100
"""Of the face world, whom the reference detector is shown."""


class _Task(NamedTuple):
    """What all steps of the job need."""

    part: PartName
    models: tuple[MorphableModel, ...]
    output: Path
    cache: Path

    @property
    def weights(self) -> Path:
        return self.output / f"{self.part}.safetensors"


def main(
    part: PartName,
    output: Path,
    cache: Path = Path("~/.cache/ganfit/training"),
    steps: int | None = None,
    seed: int = 0,
    threads: int = 1,
    resume: bool = False,
    evaluate_only: bool = False,
    second_shape: Path | None = None,
    faceworld_only: bool = False,
    reference: str | None = None,
    photos: Path | None = None,
) -> None:
    """Train one of the embedded networks and evaluate it.

    Args:
        part: which network.
        output: folder of the weights, the report and the checkpoint.
        cache: folder of the rendered pictures.
        steps: number of steps instead of the part's own.
        seed: of the training.
        threads: of the CPU in training; another number gives slightly other weights.
        resume: continue from the checkpoint in the output folder.
        evaluate_only: keep the weights in the output folder and evaluate them.
        second_shape: ICT-FaceKit as `jobs.import_model ict` writes it, instead of the model directory's file.
        faceworld_only: leave out the people of ICT-FaceKit.
        reference: a bundle; its detector is shown our pictures, its networks are the standard on photographs.
        photos: a folder of photographs to evaluate on as well, one sub-folder a person; needs a reference.
    """
    try:
        if photos and not reference:
            raise ConfigurationError("--photos needs --reference, the bundle to compare with")
        task = _Task(part, _models(part, second_shape, faceworld_only), output, cache.expanduser())
        chosen = {"seed": seed, "threads": threads} | ({"steps": steps} if steps else {})
        training = _known_training(task) if evaluate_only else _train(task, chosen, resume=resume)
        scores = _evaluate(task) | (_compare(task, reference, photos) if reference else {})
        _write_report(task, training, scores)
    except GanfitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _models(part: PartName, second_shape: Path | None, faceworld_only: bool) -> tuple[MorphableModel, ...]:
    from ops.faceworld.shape import faceworld_model
    from ops.weights.models import ModelRef, load_shape
    from ops.weights.registry import known_file, resolve_model_dir, verify

    if part != "landmarks" or faceworld_only:
        return (faceworld_model(),)
    if second_shape:
        return (faceworld_model(), load_shape(ModelRef(kind="ict", path=second_shape, sha256=None)))
    item = known_file(SECOND_SHAPE)
    advice = (
        "name a converted ICT-FaceKit by --second_shape FILE, or leave its people out by --faceworld_only true;"
        " the network then knows the face world alone"
    )
    path = verify(resolve_model_dir() / item.filename, item.sha256, advice)
    return (faceworld_model(), load_shape(ModelRef(kind="ict-npz", path=path, sha256=item.sha256)))


def _train(task: _Task, chosen: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
    from ops.training import detector, landmarks, recognition
    from ops.training.loop import Schedule

    world = task.models[0]
    trainers: Mapping[PartName, tuple[Callable[..., None], Schedule]] = {
        "detector": (partial(detector.train_detector, world), detector.SCHEDULE),
        "landmarks": (partial(landmarks.train_landmarks, task.models), landmarks.SCHEDULE),
        "recognition": (partial(recognition.train_recognition, world), recognition.SCHEDULE),
        "judge": (partial(recognition.train_judge, world), recognition.JUDGE_SCHEDULE),
    }
    train, schedule = trainers[task.part]
    schedule = replace(schedule, **chosen)
    train(task.output, task.cache, schedule, say, resume=resume)
    return {"shapes": [model.metadata.name for model in task.models], **asdict(schedule)}


def _known_training(task: _Task) -> Any:
    """What the report beside the weights says about their training, if it is about these weights."""
    from ops.weights.registry import sha256_of

    path = task.output / f"{task.part}.json"
    if not task.weights.is_file():
        raise MissingModelFileError(f"expected weights to evaluate at {task.weights}, found no file")
    report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return report.get("training") if report.get("sha256") == sha256_of(task.weights) else None


def _evaluate(task: _Task) -> dict[str, Any]:
    from ops.training import detector, landmarks, recognition

    evaluate: Callable[..., Any] = {
        "detector": detector.evaluate_detector,
        "landmarks": landmarks.evaluate_landmarks,
        "recognition": recognition.evaluate_recognition,
        "judge": recognition.evaluate_recognition,
    }[task.part]
    return {model.metadata.name: evaluate(task.weights, model, task.cache, say) for model in task.models}


def _compare(task: _Task, reference: str, photos: Path | None) -> dict[str, Any]:
    from ops.networks.embedded_detector import load_embedded_detector
    from ops.networks.embedded_landmarks import load_embedded_landmarks
    from ops.networks.embedded_recognition import load_embedded_recognition
    from ops.training import comparison
    from ops.training.datasets import TEST_PORTRAITS, load_or_render
    from ops.weights.bundle import load_detector, load_landmarks, resolve_bundle

    bundle = resolve_bundle(reference)
    detector = load_detector(bundle.detector)
    scores: dict[str, Any] = {}
    if task.part == "detector":
        pictures = load_or_render(TEST_PORTRAITS, task.models[0], task.cache, say)
        scores["reference_detector"] = comparison.check_with_reference(detector, pictures, REFERENCE_PEOPLE)
    if photos is None:
        return scores
    faces = comparison.reference_faces(_photos(photos), detector)
    match task.part:
        case "detector":
            scores["photos"] = comparison.compare_detector(load_embedded_detector(task.weights), faces)
        case "landmarks":
            networks = load_embedded_landmarks(task.weights), load_landmarks(bundle.landmarks)
            scores["photos"] = comparison.compare_landmarks(*networks, faces)
        case "recognition" | "judge":
            scores["photos"] = comparison.compare_recognition(load_embedded_recognition(task.weights, ()), faces)
    return scores


def _photos(folder: Path) -> Iterator[tuple[int, np.ndarray]]:
    """The number of the person and the picture, of every readable photo of a folder."""
    from ops.errors import UnreadableInputError
    from ops.files.photo import decode_photo

    people = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not people:
        raise ConfigurationError(f"expected a folder with one sub-folder of photos a person, got {folder}")
    for person, home in enumerate(people):
        for path in sorted(path for path in home.iterdir() if path.is_file()):
            try:
                yield person, decode_photo(path.read_bytes()).image_rgb
            except UnreadableInputError as error:
                say(f"left out {path}: {error}")


def _write_report(task: _Task, training: Any, scores: Mapping[str, Any]) -> None:
    from ops.weights.registry import sha256_of

    evaluation = {name: score._asdict() for name, score in scores.items()}
    report = {
        "part": task.part,
        "sha256": sha256_of(task.weights),
        "training": training,
        "evaluation": evaluation,
    }
    (task.output / f"{task.part}.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(evaluation, indent=2))


if __name__ == "__main__":
    CLI(main, as_positional=False)
