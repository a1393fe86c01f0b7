import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.assets import main
from ops.weights.bundle_file import known_files_of
from ops.weights.known_files import KNOWN_FILES
from ops.weights.registry import known_file


def test_list_shows_every_file_with_licence_and_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / known_file("pfld_68").filename).write_bytes(b"something else")
    assert main(["list", "--model-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for item in KNOWN_FILES:
        assert all(part in shown for part in (item.name, item.sha256, item.licence, item.source))
    assert "pfld_68  [ALTERED]" in shown
    assert "scrfd_500m  [absent]" in shown


def test_verify_of_absent_and_altered_files_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    item = known_file("pfld_68")
    path = tmp_path / item.filename
    path.write_bytes(b"something else")
    assert main(["verify", "pfld_68", "--model-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    found = hashlib.sha256(b"something else").hexdigest()
    assert all(part in said for part in (str(path), item.sha256, found, "ganfit fetch pfld_68"))
    assert main(["verify", "--model-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert all(item.filename in said for item in known_files_of("open"))


def test_unknown_names_end_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "resnet"]) == 1
    assert "expected a bundle" in capsys.readouterr().err


def test_files_without_an_address_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "arcface_mobilefacenet", "--model-dir", str(tmp_path)]) == 1
    assert "bundle file of your own" in capsys.readouterr().err


def test_the_command_answers_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from jobs.assets import main; "
        f"code = main(['list', '--model-dir', {str(tmp_path)!r}]); sys.exit(code or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], capture_output=True)


@pytest.mark.models
def test_verify_and_fetch_accept_the_right_files(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "ict", "--model-dir", str(model_dir)]) == 0
    assert capsys.readouterr().out.count("ok  ") >= 5
    assert main(["fetch", "ict", "--model-dir", str(model_dir)]) == 0
    assert "everything is there already" in capsys.readouterr().out
