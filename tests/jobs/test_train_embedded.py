import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from jobs.train_embedded import main
from ops.training import datasets, detector, landmarks
from ops.weights.registry import MODEL_DIR_VARIABLE, sha256_of


def test_trains_writes_resumes_and_evaluates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = datasets.CrowdSet(first_picture=0, pictures=24, first_person=1, people=2)
    test = datasets.CrowdSet(first_picture=100, pictures=3, first_person=9, people=1)
    monkeypatch.setattr(detector, "TRAIN_CROWDS", train)
    monkeypatch.setattr(detector, "TEST_CROWDS", test)
    words = ["--part", "detector", "--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    for steps, resume in ((2, False), (3, True)):
        assert main([*words, "--steps", str(steps), *(["--resume"] if resume else [])]) == 0
    assert "resumed at step 2" in capsys.readouterr().out
    path = tmp_path / "out" / "detector.json"
    report = json.loads(path.read_text())
    assert report["sha256"] == sha256_of(tmp_path / "out" / "detector.safetensors")
    assert (report["training"]["steps"], report["training"]["shapes"]) == (3, ["faceworld"])
    assert report["evaluation"]["faceworld"]["pictures"] == 3
    path.write_text(json.dumps(report | {"evaluation": {}}))
    assert main([*words, "--evaluate-only"]) == 0
    assert json.loads(path.read_text()) == report


def test_two_trainings_are_equal_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = datasets.PortraitSet(first_person=0, people=2, pictures_each=2, side_px=64)
    monkeypatch.setattr(landmarks, "LANDMARK_PORTRAITS", people)
    monkeypatch.setattr(landmarks, "TEST_PORTRAITS", people)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        words = ["--part", "landmarks", "--output", str(tmp_path / name), "--cache", str(tmp_path / "cache")]
        assert main([*words, "--steps", "2", "--seed", str(seed), "--faceworld-only"]) == 0
    first, again, other = (load_file(tmp_path / name / "landmarks.safetensors") for name in "abc")
    assert all(first[name].equal(again[name]) for name in first)
    assert not all(first[name].equal(other[name]) for name in first)


def test_the_landmark_network_asks_for_the_second_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MODEL_DIR_VARIABLE, str(tmp_path))
    words = ["--part", "landmarks", "--output", str(tmp_path / "out"), "--steps", "1"]
    assert main(words) == 1
    message = capsys.readouterr().err
    assert "ict_facekit_face.npz" in message
    assert "--faceworld-only" in message
    assert main([*words, "--second-shape", str(tmp_path / "ict.safetensors")]) == 1
    assert "ict.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["detector", "landmarks", "recognition", "judge"])
def test_the_shipped_reports_are_about_the_shipped_weights(part: str) -> None:
    folder = Path(datasets.__file__).parents[1] / "weights" / "embedded"
    report = json.loads((folder / f"{part}.json").read_text())
    assert report["sha256"] == sha256_of(folder / f"{part}.safetensors")
    assert report["training"]
    assert "faceworld" in report["evaluation"]
