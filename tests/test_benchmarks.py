"""Every benchmark can be imported, and says how it is run."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
WITHOUT_A_COMMAND = {"browser", "command_line", "photo_folders", "raw_scans", "scan_views"}


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_measures_and_how_it_is_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__
    assert hasattr(module, "main") == (name not in WITHOUT_A_COMMAND)
    if name in WITHOUT_A_COMMAND:
        return
    command = f"python -m benchmarks.{name}"
    assert command in module.__doc__
    monkeypatch.setattr(sys, "argv", [str(module.__file__), "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert f"usage: {command}" in capsys.readouterr().out
