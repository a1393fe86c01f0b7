import io
from pathlib import Path

import pytest

from jobs.fetch import files_named, main
from ops.weights.fetch_progress import FetchProgress
from ops.weights.registry import known_file
from tests.web_server import WebServer


def test_an_unreachable_mirror_ends_with_1_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    assert main(["scrfd_500m", "--model-dir", str(models), "--mirror", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr()
    assert "1 of 1 files (2.5 MB) to fetch from the mirror http://127.0.0.1:9" in said.out
    for part in ("error: scrfd_500m: http://127.0.0.1:9/scrfd_500m.onnx: cannot be reached", "to do"):
        assert part in said.err
    assert list(models.iterdir()) == []


def test_an_archive_of_something_else_on_the_mirror_is_refused(
    web: WebServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files["/buffalo_sc.zip"] = b"PK\3\4 something else"
    monkeypatch.setenv("GANFIT_MIRROR", web.address)
    assert main(["scrfd_500m", "--model-dir", str(tmp_path)]) == 1
    assert f"{web.address}/buffalo_sc.zip: expected sha256" in capsys.readouterr().err


def test_bundles_and_files_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "mine.yaml"
    bundle.write_text("detector: {kind: scrfd, known: scrfd_10g}\nprior: {kind: default}\n")
    assert [item.name for item in files_named(["pfld_68", str(bundle), "pfld_68"])] == ["pfld_68", "scrfd_10g"]
    with_manifest = ["dlib_recognition_face_api", "dlib_recognition_face_api_manifest"]
    assert [item.name for item in files_named(with_manifest[:1])] == with_manifest
    assert main(["nothing", "--model-dir", str(tmp_path)]) == 1
    assert "expected a bundle (" in capsys.readouterr().err


def test_a_bundle_of_shipped_files_needs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embedded", "--model-dir", str(tmp_path / "models")]) == 0
    assert "everything is there already" in capsys.readouterr().out
    assert not (tmp_path / "models").exists()


@pytest.mark.models
def test_files_that_are_there_go_to_a_mirror_and_come_back(
    model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror = str(tmp_path / "mirror")
    assert main(["scrfd_500m", "--model-dir", str(model_dir), "--to-mirror", mirror]) == 0
    assert main(["scrfd_500m", "--model-dir", str(tmp_path / "new"), "--mirror", mirror]) == 0
    said = capsys.readouterr().out
    for part in (
        "mirrored:",
        "fetched:",
        known_file("scrfd_500m").licence,
        "commercial use: no",
        str(tmp_path / "new"),
    ):
        assert part in said


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_bar_and_a_log_sees_lines() -> None:
    shown: list[str] = []
    for stream in (_Terminal(), io.StringIO()):
        progress = FetchProgress(stream)
        progress.received("net", 500_000, 1_000_000)
        progress.received("net", 1_000_000, 1_000_000)
        progress.say("fetched")
        shown.append(stream.getvalue())
    bar, lines = shown
    assert "\r\033[Knet  [############............] 50 %, 0.5 of 1.0 MB" in bar
    assert bar.endswith("[########################] 100 %, 1.0 of 1.0 MB\nfetched\n")
    assert lines == "net: 100 %, 1.0 of 1.0 MB\nfetched\n"
