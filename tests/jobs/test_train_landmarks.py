import json
from pathlib import Path

import pytest

from jobs.learning.train_landmarks import main
from ops.training.dense_landmarks import WEIGHTS
from ops.weights.registry import sha256_of

WORDS = ["--models", "embedded", "--batch", "2", "--points", "150", "--first", "2", "--fresh", "1", "--kept", "8"]


def test_trains_writes_and_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "--output", str(tmp_path), "--test-portraits", "2"]
    assert main([*words, "--steps", "2"]) == 0
    report = json.loads((tmp_path / "dense_landmarks.json").read_text())
    assert report["sha256"] == sha256_of(tmp_path / WEIGHTS)
    assert report["training"]["schedule"]["steps"] == 2
    assert report["training"]["portraits"] == 3
    assert report["evaluation"]["portraits"] == 2
    assert "step 2 of 2" in (tmp_path / "training.log").read_text()
    assert main([*words, "--evaluate-only"]) == 0
    assert json.loads((tmp_path / "dense_landmarks.json").read_text()) == report
    assert "evaluat" not in capsys.readouterr().err


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    assert main([*WORDS, "--output", str(tmp_path / "out"), "--kept", "0"]) == 1
    assert main([*WORDS, "--output", str(tmp_path / "out"), "--points", "60"]) == 1
