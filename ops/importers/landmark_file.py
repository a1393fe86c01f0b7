"""Which vertices of a model are its 68 landmarks, read from a small file."""

import json
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Int64
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ops.errors import MissingModelFileError, ModelFormatError
from ops.face.morphable_model import JAW_LANDMARK_COUNT, LANDMARK_COUNT

MAT_NAMES = ("keypoints", "kpt_ind", "landmarks")


class LandmarkVertices(NamedTuple):
    """Vertex indices counted from 0: the landmarks in iBUG order, and what may replace those of the jaw."""

    landmarks: Int64[np.ndarray, "68"]
    jaw_candidates: Int64[np.ndarray, "17 candidate"]


def read_landmarks(path: Path | None, model_name: str) -> LandmarkVertices:
    """Read 68 vertex indices of a model that does not carry its own.

    Understood are: text with 68 whole numbers from 0, separated by white space or commas, `#` starting a comment;
    JSON with a list of 68 numbers from 0, or with the entries `landmarks` and `jaw_candidates` (17 lists of equal
    length, each starting with its landmark's vertex); MATLAB .mat (not 7.3) with 68 numbers from 1 in a variable
    `keypoints`, `kpt_ind` or `landmarks`.

    Raises:
        ModelFormatError: no path is given, or the file holds something else.
        MissingModelFileError: there is no such file.
    """
    if path is None:
        raise ModelFormatError(
            f"{model_name} files do not say which vertices are the 68 landmarks: give a file of 68 vertex indices in "
            "iBUG order (--landmarks FILE: text or JSON counted from 0, or .mat counted from 1)"
        )
    if not path.is_file():
        raise MissingModelFileError(f"no landmark file at {path}")
    try:
        if path.suffix.lower() == ".mat":
            landmarks, jaw = _from_mat(path), None
        elif path.suffix.lower() == ".json":
            landmarks, jaw = _from_json(path)
        else:
            lines = path.read_text(encoding="utf-8").splitlines()
            words = " ".join(line.split("#")[0] for line in lines).replace(",", " ").split()
            landmarks, jaw = [int(word) for word in words], None
    except (ValueError, NotImplementedError, MatReadError) as error:
        raise ModelFormatError(f"{path} is not a landmark file: {error}") from error
    if len(landmarks) != LANDMARK_COUNT or min(landmarks) < 0:
        raise ModelFormatError(f"expected {LANDMARK_COUNT} vertex indices in {path}, got {len(landmarks)}: {landmarks}")
    indices = np.array(landmarks, np.int64)
    if jaw is None:
        return LandmarkVertices(indices, indices[:JAW_LANDMARK_COUNT, None])
    if len(jaw) != JAW_LANDMARK_COUNT or len({len(row) for row in jaw}) != 1 or not jaw[0]:
        raise ModelFormatError(f"expected {JAW_LANDMARK_COUNT} lists of equal length in jaw_candidates of {path}")
    return LandmarkVertices(indices, np.array(jaw, np.int64))


def _from_mat(path: Path) -> list[int]:
    content = cast(dict[str, object], loadmat(path))
    for name in MAT_NAMES:
        value = content.get(name)
        if isinstance(value, np.ndarray) and value.size == LANDMARK_COUNT:
            return [_whole(number) - 1 for number in value.ravel().tolist()]
    raise ValueError(f"none of its variables {', '.join(MAT_NAMES)} holds {LANDMARK_COUNT} numbers")


def _from_json(path: Path) -> tuple[list[int], list[list[int]] | None]:
    content: object = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return _whole_list(content), None
    entries = cast(dict[str, object], content)
    jaw = entries.get("jaw_candidates")
    if jaw is not None and not isinstance(jaw, list):
        raise ValueError("jaw_candidates is not a list")
    rows = None if jaw is None else [_whole_list(row) for row in cast(list[object], jaw)]
    return _whole_list(entries.get("landmarks")), rows


def _whole_list(values: object) -> list[int]:
    if not isinstance(values, list):
        raise ValueError(f"expected a list of whole numbers, got {values!r}")
    return [_whole(value) for value in cast(list[object], values)]


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"expected a whole number, got {value!r}")
    return int(value)
