from pathlib import Path

import pytest

from jobs.ablation import main


def test_a_wrong_variant_or_input_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--models", "embedded", "--input", str(tmp_path / "gone"), "--output", str(tmp_path / "out")]
    assert main([*words, "--variants", "no-nose"]) == 1
    assert "no-recognition" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
