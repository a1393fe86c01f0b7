import json
from pathlib import Path

import pytest

from jobs.train_embedded import main
from ops.training import datasets, detector


def test_trains_writes_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = datasets.CrowdSet(first_picture=0, pictures=24, first_person=1, people=2)
    test = datasets.CrowdSet(first_picture=100, pictures=3, first_person=9, people=1)
    monkeypatch.setattr(detector, "TRAIN_CROWDS", train)
    monkeypatch.setattr(detector, "TEST_CROWDS", test)
    for steps, resume in ((2, False), (3, True)):
        main(part="detector", output=tmp_path / "out", cache=tmp_path / "cache", steps=steps, resume=resume)
    report = json.loads((tmp_path / "out" / "detector.json").read_text())
    assert (report["part"], report["step_limit"], report["score"]["pictures"]) == ("detector", 3, 3)
    assert (tmp_path / "out" / "detector.safetensors").stat().st_size > 10_000
    assert "resumed at step 2" in capsys.readouterr().out
