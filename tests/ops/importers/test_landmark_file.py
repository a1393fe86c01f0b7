import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ops.errors import MissingModelFileError, ModelFormatError
from ops.importers.landmark_file import read_landmarks

INDICES = list(range(100, 168))


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", " ".join(map(str, INDICES))),
        ("b.txt", "# iBUG order\n" + ",\n".join(map(str, INDICES)) + " # the end"),
        ("c.json", INDICES),
        ("d.json", {"landmarks": INDICES}),
        ("e.json", [float(index) for index in INDICES]),
    ],
)
def test_text_and_json_count_from_zero(tmp_path: Path, name: str, content: object) -> None:
    found = read_landmarks(write(tmp_path / name, content), "a toy")
    assert found.landmarks.tolist() == INDICES
    assert found.jaw_candidates.tolist() == [[index] for index in INDICES[:17]]


@pytest.mark.parametrize("variable", ["keypoints", "kpt_ind", "landmarks"])
def test_matlab_counts_from_one(tmp_path: Path, variable: str) -> None:
    savemat(tmp_path / "k.mat", {variable: np.array([INDICES], np.float64) + 1})
    assert read_landmarks(tmp_path / "k.mat", "a toy").landmarks.tolist() == INDICES


def test_jaw_candidates_are_read(tmp_path: Path) -> None:
    jaw = [[index, index + 500] for index in INDICES[:17]]
    path = write(tmp_path / "jaw.json", {"landmarks": INDICES, "jaw_candidates": jaw})
    assert read_landmarks(path, "a toy").jaw_candidates.tolist() == jaw


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "1 2 3", "expected 68 vertex indices"),
        ("b.txt", "one two", "not a landmark file"),
        ("c.json", {"points": INDICES}, "list of whole numbers"),
        ("d.json", [*INDICES[:-1], 1.5], "whole number, got 1.5"),
        ("e.json", [*INDICES[:-1], -1], "expected 68 vertex indices"),
        ("f.json", "{", "not a landmark file"),
        ("g.json", {"landmarks": INDICES, "jaw_candidates": [[1], [2, 3]]}, "17 lists of equal length"),
        ("h.json", {"landmarks": INDICES, "jaw_candidates": 5}, "jaw_candidates is not a list"),
        ("i.mat", "not matlab", "not a landmark file"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, name: str, content: object, words: str) -> None:
    with pytest.raises(ModelFormatError, match=words):
        read_landmarks(write(tmp_path / name, content), "a toy")


def test_matlab_files_of_other_variables_are_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "k.mat", {"keypoints": np.arange(21)})
    with pytest.raises(ModelFormatError, match="none of its variables"):
        read_landmarks(tmp_path / "k.mat", "a toy")


def test_no_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"BFM 2009 files do not say .*--landmarks FILE"):
        read_landmarks(None, "BFM 2009")
    with pytest.raises(MissingModelFileError, match=r"nothing\.txt"):
        read_landmarks(tmp_path / "nothing.txt", "a toy")
