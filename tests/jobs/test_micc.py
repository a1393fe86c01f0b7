from pathlib import Path
from typing import Any

import pytest

from jobs.micc import main


def test_a_wrong_folder_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(tmp_path / "gone"), "--output", str(tmp_path / "out"), "--models", "embedded"]
    assert main(words) == 1
    assert "expected the folder of the MICC data set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_scans_without_videos_stop_after_the_registration(
    tiny_micc: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "MICC"
    data.mkdir()
    (data / "subject_01").symlink_to(tiny_micc.data / "subject_01")
    words = ["--data", str(data), "--landmarks", str(tiny_micc.landmarks), "--output", str(tmp_path / "out")]
    assert main([*words, "--models", "embedded", "--workers", "0"]) == 1
    said = capsys.readouterr()
    assert "expected photos or videos" in said.err
    assert (tmp_path / "out" / "registered" / "registrations.parquet").is_file()
    assert "2/2 subject_01-frontal2" in said.out


def test_an_unknown_protocol_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--output", str(tmp_path), "--protocol", "guess"]) == 1
    assert "ganfit-code" in capsys.readouterr().err
