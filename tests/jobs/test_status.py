from pathlib import Path

import pytest

from jobs.status import main


def test_what_is_no_output_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert f"expected the output of a reconstruction, and {tmp_path} has no run.json" in capsys.readouterr().err
    (tmp_path / "photo.jpg").touch()
    assert main([str(tmp_path)]) == 1
    assert "photo.jpg" in capsys.readouterr().err
