"""Data sets of people of the face world in the layout of MICC Florence, with the truth beside them.

::

    subject_NN/Model/{frontal1,frontal2}/obj/<timestamp>.obj
    subject_NN/Video/{Indoor-Cooperative,PTZ-Indoor,PTZ-Outdoor}/<timestamp>.{mjpg,mjpeg,mpg}
    landmarks/subject_NN/{frontal1,frontal2}/<timestamp>.ljson
    truth/data_set.json, truth/subject_NN.safetensors

The truth is for comparisons alone: nothing that reconstructs or registers reads it.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from safetensors import SafetensorError
from safetensors.numpy import load_file

from evaluation.landmark_files import write_landmarks
from evaluation.micc import SCANS, Setting, subject_name
from ops.errors import FingerprintMismatchError, OutputError, UnreadableInputError
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.clip_styles import COOPERATIVE, INDOOR, OUTDOOR
from ops.faceworld.filming import film_clip
from ops.faceworld.people import sample_identity, sample_person
from ops.faceworld.scanner import ScannerSettings, scan_head
from ops.files.tensor_file import write_tensor_file
from ops.geometry.mesh import write_obj
from ops.texture.procedural import canvas_for
from pipeline.stages.child_process import map_in_processes

FORMAT = "ganfit-synthetic-micc-1"
TEXTURE_PX = 512
STYLES = {Setting.COOPERATIVE: COOPERATIVE, Setting.INDOOR: INDOOR, Setting.OUTDOOR: OUTDOOR}
SPACING_MM = dict(zip(SCANS, (1.5, 1.9), strict=True))
TRUTH_DIR, LANDMARKS_DIR, RECORD_FILE = "truth", "landmarks", "data_set.json"


@dataclass(frozen=True, kw_only=True)
class SyntheticMiccSettings:
    """What decides the content; the number of subjects does not: more can be added later."""

    seed: int = 1
    """Another seed gives other people, motions and noise."""
    frames: int = 75
    """Of every clip, at 25 a second."""


class ScanTruth(NamedTuple):
    """A scan's place, scanned = rotation @ head + translation_mm, and its landmarks without the annotator's error."""

    rotation: np.ndarray
    translation_mm: np.ndarray
    landmarks_mm: np.ndarray


class SubjectTruth(NamedTuple):
    """What is true about one subject, as NumPy arrays."""

    identity: np.ndarray
    """Coefficients of the face world's model, float32."""
    neutral_mm: np.ndarray
    """Vertices of the model without expression, float32 [vertex, 3]."""
    scans: dict[str, ScanTruth]
    """By scan (`evaluation.micc.SCANS`)."""
    landmarks_px: dict[Setting, np.ndarray]
    """Of every frame of every clip, float32 [frame, 68, 2]; the jaw follows the visible outline."""


def write_synthetic_micc(
    model: MorphableModel,
    folder: Path,
    subjects: int,
    settings: SyntheticMiccSettings,
    processes: int,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Write subjects 01, 02, ... below a folder, filming in parallel; those that are complete are kept.

    A data set is a function of the model, the number of subjects and the settings.

    Raises:
        FingerprintMismatchError: the folder holds a data set of another model or other settings.
        OutputError: the folder holds subjects, but no record of a data set.
    """
    _open_folder(folder, model, settings)
    missing = [number for number in range(1, subjects + 1) if not _truth_path(folder, subject_name(number)).is_file()]
    film = partial(_film, model, folder, settings)
    landmarks = map_in_processes(film, [(number, setting) for number in missing for setting in Setting], processes)
    for number in range(1, subjects + 1):
        name = subject_name(number)
        if number not in missing:
            say(f"{name} is there")
            continue
        found = {setting: next(landmarks) for setting in Setting}
        identity = sample_identity(model, (settings.seed, number))
        neutral = model.vertices_mm(identity, torch.zeros(model.expression_size)).numpy()
        truth = SubjectTruth(
            identity=identity.numpy(),
            neutral_mm=neutral,
            scans=_scan(model, neutral, folder, number, settings),
            landmarks_px=found,
        )
        path = _truth_path(folder, name)
        arrays = {key: torch.from_numpy(values) for key, values in _flatten(truth).items()}
        write_tensor_file(path, arrays, {"format": FORMAT})
        say(f"{name} written")


def is_synthetic(folder: Path) -> bool:
    """Whether a folder holds a data set of this module."""
    return (folder / TRUTH_DIR / RECORD_FILE).is_file()


def read_truth(folder: Path, subject: str) -> SubjectTruth:
    """What is true about a subject of a data set.

    Raises:
        UnreadableInputError: its file is missing or damaged.
    """
    path = _truth_path(folder, subject)
    try:
        arrays = load_file(path)
        return SubjectTruth(
            identity=arrays["identity"],
            neutral_mm=arrays["neutral_mm"],
            scans={scan: ScanTruth(*(arrays[f"{scan}/{field}"] for field in ScanTruth._fields)) for scan in SCANS},
            landmarks_px={setting: arrays[f"{setting.value}/landmarks_px"] for setting in Setting},
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise UnreadableInputError(f"{path}: not the truth of a synthetic subject ({error})") from error


def _flatten(truth: SubjectTruth) -> dict[str, np.ndarray]:
    arrays = {"identity": truth.identity, "neutral_mm": truth.neutral_mm}
    for scan, values in truth.scans.items():
        arrays |= {f"{scan}/{field}": np.ascontiguousarray(value) for field, value in values._asdict().items()}
    arrays |= {f"{setting.value}/landmarks_px": value for setting, value in truth.landmarks_px.items()}
    return arrays


def _truth_path(folder: Path, subject: str) -> Path:
    return folder / TRUTH_DIR / f"{subject}.safetensors"


def _open_folder(folder: Path, model: MorphableModel, settings: SyntheticMiccSettings) -> None:
    record_path = folder / TRUTH_DIR / RECORD_FILE
    record = {"format": FORMAT, "model": model.checksum(), **dataclasses.asdict(settings)}
    if record_path.is_file():
        if record_path.read_text() != json.dumps(record):
            raise FingerprintMismatchError(
                f"{folder}: holds the data set {record_path.read_text()}, expected {json.dumps(record)}; "
                "choose another folder"
            )
        return
    if folder.is_dir() and any(folder.glob("subject*")):
        raise OutputError(f"{folder}: holds subjects that were not written by this command; choose another folder")
    record_path.parent.mkdir(parents=True, exist_ok=True)
    record_path.write_text(json.dumps(record))


def _scan(
    model: MorphableModel,
    neutral_mm: Float32[np.ndarray, "vertex 3"],
    folder: Path,
    number: int,
    settings: SyntheticMiccSettings,
) -> dict[str, ScanTruth]:
    """Write a subject's scans and their landmarks."""
    subject, names = subject_name(number), _file_names(number, settings)
    exact = neutral_mm.astype(np.float64)
    scans: dict[str, ScanTruth] = {}
    for index, scan in enumerate(SCANS):
        found = scan_head(model, exact, (settings.seed, number, 1, index), ScannerSettings(spacing_mm=SPACING_MM[scan]))
        write_obj(_file(folder / subject / "Model" / scan / "obj", f"{names[scan]}.obj"), found.mesh)
        write_landmarks(_file(folder / LANDMARKS_DIR / subject / scan, f"{names[scan]}.ljson"), found.landmarks_mm)
        placed = exact[model.landmarks.numpy()] @ found.rotation.T + found.translation_mm
        scans[scan] = ScanTruth(found.rotation, found.translation_mm, placed)
    return scans


def _film(
    model: MorphableModel, folder: Path, settings: SyntheticMiccSettings, clip: tuple[int, Setting]
) -> Float32[np.ndarray, "frame 68 2"]:
    """Write a subject's clip in a setting; its landmarks in pixels."""
    number, setting = clip
    style, name = STYLES[setting], _file_names(number, settings)[setting]
    path = _file(folder / subject_name(number) / "Video" / setting.value, f"{name}{style.suffix}")
    person = sample_person(model, AlbedoPainter(canvas_for(model, TEXTURE_PX)), (settings.seed, number))
    seed = (settings.seed, number, 2, list(STYLES).index(setting))
    return film_clip(model, person, seed, dataclasses.replace(style, frames=settings.frames), path)


def _file_names(number: int, settings: SyntheticMiccSettings) -> dict[str | Setting, str]:
    """Of a subject's scans and clips."""
    parts: list[str | Setting] = [*SCANS, *STYLES]
    rng = np.random.default_rng((settings.seed, number, 0))
    return dict(zip(parts, _timestamps(rng, len(parts)), strict=True))


def _timestamps(rng: np.random.Generator, count: int) -> list[str]:
    """Names as recorders give them: the times of one session."""
    day = f"11{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    start = int(rng.integers(9 * 3600, 16 * 3600))
    seconds = start + np.cumsum(rng.integers(60, 600, count))
    return [f"{day}{second // 3600:02d}{second // 60 % 60:02d}{second % 60:02d}" for second in seconds.tolist()]


def _file(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name
