import json
from pathlib import Path

import numpy as np
import pytest

from evaluation.landmark_files import read_landmarks, write_landmarks
from ops.errors import UnreadableInputError, UnsupportedInputError

POINTS = np.random.default_rng(0).normal(0, 50, (68, 3))
LISTED = POINTS.tolist()


@pytest.mark.parametrize(
    "content",
    [
        {"version": 2, "labels": [], "landmarks": {"points": LISTED, "connectivity": []}},
        {"version": 3, "groups": {"LJSON": {"labels": [], "landmarks": {"points": LISTED}}}},
        {"LJSON": {"landmarks": {"points": LISTED}}},
        {"version": 1, "groups": [{"label": "all", "landmarks": [{"point": p} for p in LISTED]}]},
    ],
)
def test_every_version_gives_the_same_points(tmp_path: Path, content: object) -> None:
    (tmp_path / "a.ljson").write_text(json.dumps(content))
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.ljson"), POINTS)


def test_missing_points_are_nan_and_survive_writing(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[[3, 40]] = np.nan
    write_landmarks(tmp_path / "a.ljson", points)
    assert "null" in (tmp_path / "a.ljson").read_text()
    np.testing.assert_array_equal(read_landmarks(tmp_path / "a.ljson"), points)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("{", UnreadableInputError, "not a readable LJSON"),
        ('{"landmarks": {}}', UnreadableInputError, "found none"),
        ("[1, 2]", UnreadableInputError, "found none"),
        ('{"landmarks": {"points": [["a", 1, 2]]}}', UnreadableInputError, "lists of numbers"),
        ('{"landmarks": {"points": [[0, 1, 2]]}}', UnsupportedInputError, r"got shape \(1, 3\)"),
        (json.dumps({"landmarks": {"points": POINTS[:, :2].tolist()}}), UnsupportedInputError, r"\(68, 2\)"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: str, error: type[Exception], words: str) -> None:
    (tmp_path / "a.ljson").write_text(content)
    with pytest.raises(error, match=words):
        read_landmarks(tmp_path / "a.ljson")


def test_a_missing_file_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInputError, match=r"gone\.ljson"):
        read_landmarks(tmp_path / "gone.ljson")
