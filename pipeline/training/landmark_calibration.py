"""From a folder of photos and a bundle to a calibration of the bundle's landmarks on its shape model."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.errors import GanfitError, InputError
from ops.face.alignment import apply_affine, crop_from_image
from ops.face.landmark_calibration import LandmarkCalibration, save_landmark_calibration
from ops.face.landmark_parts import LEFT_OUTER_EYE, RIGHT_OUTER_EYE
from ops.face.morphable_model import MorphableModel
from ops.files.photo import decode_photo
from ops.fit.calibration import CalibrationConfig, calibrate_landmarks
from ops.fit.landmark_problem import LandmarkProblem, LandmarkStageConfig
from ops.reconstruction.detection import DetectionConfig, DetectionNetworks, Rejection, find_faces
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition, load_shape
from pipeline.input.listing import Layout
from pipeline.input.locations import local_path, read_location
from pipeline.input.sources import list_input

HELD_OUT = 5
"""Every so many-th person is measured on, not learned from."""
MEASURING_STEPS = 12


class DetectedPeople(NamedTuple):
    """Landmarks of photos in aligned crops (crop sides), and whom each photo shows (0, 1, ...)."""

    landmarks: Float[Tensor, "image 68 2"]
    person: Int64[Tensor, " image"]
    rejected: dict[str, int]
    """Photos without a usable face, or with several, by reason."""


class Prediction(NamedTuple):
    """How photos fitted one by one come out; distances in per cent of the outer-eye distance."""

    mean_identity: float
    """Norm of the mean of the identities: near 0 for a population."""
    mean_square: float
    """Mean square of an identity coefficient."""
    constant: float
    """Mean distance that all photos share."""
    whole: float
    """Mean distance of projected and detected points."""


def detect_people(
    folder: Path | str, layout: Layout, bundle: ModelBundle, say: Callable[[str], None]
) -> DetectedPeople:
    """The landmarks of all photos that show one face.

    Raises:
        ConfigurationError: an input that cannot be listed.
        InputError: no photo with one face.
    """
    networks = DetectionNetworks(
        load_detector(bundle.detector), load_landmarks(bundle.landmarks), load_recognition(bundle.recognition, ())
    )
    points: list[Tensor] = []
    names: list[str] = []
    rejected: Counter[str] = Counter()
    items = list_input(folder, layout).items.to_pylist()
    for number, item in enumerate(items):
        location = item["location"] or item["uri"]
        try:
            path = local_path(location)
            photo = decode_photo(read_location(location) if path is None else path.read_bytes())
        except (GanfitError, OSError):
            rejected["unreadable"] += 1
            continue
        found = find_faces(networks, photo, DetectionConfig())
        if isinstance(found, Rejection) or len(found) > 1:
            rejected[found.reason if isinstance(found, Rejection) else "several_faces"] += 1
            continue
        landmarks = torch.from_numpy(found[0].landmarks_px.astype(np.float64))
        points.append(apply_affine(crop_from_image(landmarks, 1), landmarks))
        names.append(item["identity_id"])
        if (number + 1) % 100 == 0:
            say(f"{number + 1} of {len(items)} photos")
    if not points:
        raise InputError(f"expected photos with one face each in {folder}, got {dict(rejected)}")
    _, person = np.unique(names, return_inverse=True)
    return DetectedPeople(torch.stack(points), torch.from_numpy(person.astype(np.int64)), dict(rejected))


def measure_prediction(
    shape: MorphableModel, landmarks: Float[Tensor, "image 68 2"], calibration: LandmarkCalibration | None
) -> Prediction:
    """Fit every photo by itself and compare projected with detected points."""
    problem = LandmarkProblem(shape, landmarks, torch.arange(len(landmarks)), LandmarkStageConfig(), calibration)
    theta = problem.solve(MEASURING_STEPS)
    eyes = (landmarks[:, RIGHT_OUTER_EYE] - landmarks[:, LEFT_OUTER_EYE]).norm(dim=-1)
    relative = 100 * problem.difference(theta).unflatten(1, (68, 2)) / eyes[:, None, None]
    identity = theta[:, : shape.identity_size]
    return Prediction(
        mean_identity=float(identity.mean(0).norm()),
        mean_square=float(identity.square().mean()),
        constant=float(relative.mean(0).norm(dim=-1).mean()),
        whole=float(relative.norm(dim=-1).mean()),
    )


def make_calibration(
    folder: Path | str,
    bundle: ModelBundle,
    output: Path,
    *,
    layout: Layout = "auto",
    config: CalibrationConfig | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Calibrate on four people of five, say what it does for the fifth, then on all; writes the file and its JSON.

    Returns the path of the JSON, which says what was seen and measured.

    Raises:
        InputError: too few photos or people.
    """
    people = detect_people(folder, layout, bundle, say)
    shape = load_shape(bundle.shape)
    held_out = people.person % HELD_OUT == HELD_OUT - 1
    learned = calibrate_landmarks(
        shape, people.landmarks[~held_out], _renumbered(people.person[~held_out]), config, say
    )
    if not bool(held_out.any()):
        raise InputError(f"expected at least {HELD_OUT} people, got {int(people.person.max()) + 1}")
    before = measure_prediction(shape, people.landmarks[held_out], None)
    after = measure_prediction(shape, people.landmarks[held_out], learned)
    say(f"people held out, uncalibrated: {_line(before)}")
    say(f"people held out, calibrated:   {_line(after)}")
    calibration = calibrate_landmarks(shape, people.landmarks, people.person, config, say)
    about = {
        "shape": {"name": shape.metadata.name, "sha256": bundle.shape.sha256},
        "landmarks": {"kind": bundle.landmarks.kind, "sha256": bundle.landmarks.sha256},
        "photos": len(people.landmarks),
        "people": int(people.person.max()) + 1,
        "rejected": people.rejected,
        "people_held_out": {"uncalibrated": before._asdict(), "calibrated": after._asdict()},
        "holds": "places of 68 points on the shape model, a covariance of their scatter, mean and covariance of the "
        "expressions: statistics of a landmark network, no model of faces or skin",
    }
    save_landmark_calibration(calibration, output, about)
    described = output.with_suffix(".json")
    described.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return described


def _renumbered(person: Int64[Tensor, " image"]) -> Int64[Tensor, " image"]:
    return person.unique(return_inverse=True)[1]


def _line(found: Prediction) -> str:
    return (
        f"mean identity {found.mean_identity:.2f}, mean square {found.mean_square:.3f}, points off by "
        f"{found.whole:.2f} % of the outer-eye distance, {found.constant:.2f} % the same for everybody"
    )
