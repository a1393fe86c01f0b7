"""Train one of the networks of the embedded bundle on pictures of people who do not exist, and evaluate it.

    ganfit train-embedded --part landmarks --output runs/embedded
    ganfit train-embedded --part landmarks --output ops/weights/embedded --evaluate-only

The first command renders the training pictures once (some CPU-minutes, kept in the cache), trains from nothing and
writes PART.safetensors; `--resume` continues from the last checkpoint. Both write PART.json beside the weights:
what they were trained on, and how they do on people and scenes that were not trained on. The same command on the same
number of threads gives the same weights.

The landmark network learns from ICT-FaceKit's people too: from the file in the model directory, or one of
`ganfit import-model ict` named by `--second-shape`. Without either the job refuses; `--faceworld-only` leaves these
people out. `--reference ict` shows our pictures to the detector of that bundle, and `--photos FOLDER` adds how a
network does on photographs (one sub-folder per person), as compared with the reference's networks.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser, say
from ops.errors import ConfigurationError, MissingModelFileError
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


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--part", choices=get_args(PartName), required=True, help="which network")
    add("--output", type=Path, required=True, help="folder of the weights, the report and the checkpoint")
    add("--cache", type=Path, default=Path("~/.cache/ganfit/training"), help="folder of the rendered pictures")
    add("--steps", type=int, help="training steps; default: the part's own number")
    add("--seed", type=int, default=0, help="of the training")
    add("--threads", type=int, default=1, help="CPU threads; another number gives slightly other weights")
    add("--resume", action="store_true", help="continue from the checkpoint in the output folder")
    add("--evaluate-only", action="store_true", help="keep the weights in the output folder and evaluate them")
    add("--second-shape", type=Path, help="ICT-FaceKit as import-model writes it; default: the model directory's file")
    add("--faceworld-only", action="store_true", help="leave out the people of ICT-FaceKit")
    add("--reference", help="a bundle: its detector is shown our pictures, its networks are the standard on photos")
    add("--photos", type=Path, help="folder of photos to evaluate on as well, one sub-folder per person")


def _run(options: Namespace) -> None:
    if options.photos and not options.reference:
        raise ConfigurationError("--photos needs --reference, the bundle to compare with")
    models = _models(options.part, options.second_shape, options.faceworld_only)
    task = _Task(options.part, models, options.output, options.cache.expanduser())
    chosen = {"seed": options.seed, "threads": options.threads} | ({"steps": options.steps} if options.steps else {})
    training = _known_training(task) if options.evaluate_only else _train(task, chosen, resume=options.resume)
    scores = _evaluate(task) | (_compare(task, options.reference, options.photos) if options.reference else {})
    _write_report(task, training, scores)


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
        "name a converted ICT-FaceKit by --second-shape FILE, or leave its people out by --faceworld-only;"
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
        raise ConfigurationError(f"expected a folder with one sub-folder of photos per person, got {folder}")
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


main = Command("train-embedded", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
