import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from jobs.reconstruct import main
from pipeline.run.record import read_record
from pipeline.storage.lease import lease
from pipeline.storage.store import open_storage

ROOT = Path(__file__).parents[2]
FAST = ("--fit.steps", "2", "--fit.render_px", "96", "--num-gpus", "0", "--shard-size", "1", "--fit-workers", "1")
SETTINGS = ("--models", "ict", *FAST)
EMBEDDED = ("--models", "embedded", *FAST)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(folder / "a.png")
    return folder


@pytest.fixture
def portrait(model_dir: Path) -> Path:
    """A real photo of one person."""
    source = model_dir.parent / "photos" / "congress"
    if not source.is_dir():
        pytest.skip(f"needs the photos that belong in {source}")
    return sorted(source.iterdir())[0] / "0.jpg"


@pytest.fixture
def people(album: Path, tmp_path: Path) -> Path:
    """Four people of one photo each."""
    for person in album.iterdir():
        (tmp_path / "people" / person.name).mkdir(parents=True)
        shutil.copy(person / "photo_0.jpg", tmp_path / "people" / person.name)
    return tmp_path / "people"


def start(options: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs.reconstruct", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def shards(output: Path) -> dict[str, int]:
    """Committed shards and when they were made."""
    return {path.parent.name: path.stat().st_mtime_ns for path in output.glob("shards/*/_SUCCESS.json")}


def wait_for_a_shard(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("shard "):
            return
    pytest.fail(f"the run ended before it committed a shard: {process.communicate()[1]}")


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for word in ("--input", "--layout", "identity-folders", "Exit status", "--fit.steps", "--num-gpus"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "input"),
        (["--input", "x", "--output", "y", "--surprise", "1"], "surprise"),
        (["--input", "x", "--output", "y", "--layout", "spiral"], "layout"),
        (["--input", "x", "--output", "y", "--preset", "best"], "expected a preset out of default, faceworld, paper"),
        (["--input", "x", "--output", "y", "--limit", "none at all"], "limit"),
        (["--input", "x", "--output", "y", "--models", "nowhere.yaml"], "expected a bundle's name"),
        (["--input", "x", "--output", "y", "--models", "embedded", "--fit.steps", "-1"], "steps"),
        (["--input", "x", "--output", "y", "--models", "embedded", "--since", "yesterday"], "2026-11-21 for --since"),
        (["--input", "x", "--output", "memory://y", "--models", "embedded"], "keeps what is written"),
        (["--input", "nonsense://x", "--output", "y", "--models", "embedded"], "nonsense://"),
    ],
)
def test_bad_options_are_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert words in capsys.readouterr().err


def test_missing_models_are_refused_at_once(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    output = tmp_path / "out"
    assert main(["--input", str(photos), "--output", str(output), "--models", "ict", "--model-dir", str(tmp_path)]) == 1
    assert time.monotonic() - started < 10
    message = capsys.readouterr().err
    for words in (f"{tmp_path} lacks", "scrfd_500m.onnx", "commercial use: no", "ganfit fetch ict", "--fetch"):
        assert words in message
    assert not output.exists()


def test_a_dry_run_says_what_would_be_done(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 64)).save(photos / "b.png")
    os.utime(photos / "b.png", (1e9, 1e9))
    output = tmp_path / "out"
    options = ["--input", str(photos), "--output", str(output), "--models", "embedded", "--shard-size", "1"]
    assert main([*options, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"the persons with the most files: a-\w+ \(1\), b-\w+ \(1\)\n", said)
    assert "to do: 2 files (2 images and frames) of 2 identities in 2 shards; 0 shards are there" in said
    assert "time: unknown" in said
    assert "clips" not in said
    (photos / "c.mp4").write_bytes(b"")
    assert main([*options, "--dry-run", "--frames", "4", "--frame-choice", "best"]) == 0
    assert "clips: 1, of each 4 frames, the best of 24 that are looked at" in capsys.readouterr().out
    (photos / "c.mp4").unlink()
    assert main([*options, "--dry-run", "--since", "2020-01-01"]) == 0
    assert "to do: 1 files (1 images and frames) of 1 identities in 1 shards" in capsys.readouterr().out
    assert not output.exists()


def test_an_output_in_use_is_refused_naming_its_run(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--input", str(photos), "--output", str(tmp_path / "out"), "--models", "embedded"]
    with lease(open_storage(tmp_path / "out"), "nightly-17"):
        assert main(options) == 1
    assert "another run is writing" in (said := capsys.readouterr().err)
    assert "submission nightly-17" in said


@pytest.mark.models
def test_an_altered_model_is_refused_naming_both_checksums(
    tmp_path: Path, model_dir: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in model_dir.iterdir():
        (tmp_path / path.name).symlink_to(path)
    altered = tmp_path / "pfld_68.onnx"
    altered.unlink()
    altered.write_bytes((model_dir / "pfld_68.onnx").read_bytes() + b"!")
    options = ["--input", str(photos), "--output", str(tmp_path / "out"), "--models", "ict"]
    assert main([*options, "--model-dir", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert str(altered) in message
    assert message.count("sha256") >= 2


@pytest.mark.models
def test_bad_input_and_output_are_refused_before_any_work(
    tmp_path: Path, photos: Path, model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    output = tmp_path / "out"
    for source, target, words in (
        (tmp_path / "nowhere", output, "does not exist"),
        (tmp_path / "empty", output, "expected photos or videos"),
        (photos, tmp_path / "file" / "out", "expected a folder that can be written"),
        (photos, tmp_path, "choose another output"),
        (photos, photos / "out", "expected an output outside the input"),
    ):
        assert main(["--input", str(source), "--output", str(target), *SETTINGS]) == 1
        assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "photos"]


@pytest.mark.slow
@pytest.mark.ray
def test_killed_and_interrupted_runs_are_continued(
    local_ray: Any, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    options = ["--input", str(people), "--output", str(output), *EMBEDDED]
    for stop, status, words in ((signal.SIGKILL, -9, ""), (signal.SIGINT, 2, "the same command continues")):
        process = start(options)
        wait_for_a_shard(process)
        os.kill(process.pid, stop)
        _, err = process.communicate(timeout=60)
        assert process.returncode == status
        assert words in err
    kept = shards(output)
    assert main(options) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "4 of 4 input files accounted for" in said.out
    assert {name: shards(output)[name] for name in kept} == kept, "finished shards are untouched"
    frames = pd.concat(pd.read_parquet(path) for path in sorted(output.glob("shards/*/frames.parquet")))
    assert sorted(Path(uri).parent.name for uri in frames["uri"]) == sorted(path.name for path in people.iterdir())
    assert not list(output.glob("shards/.tmp-*"))
    assert main(options) == 0
    assert "this run: " not in capsys.readouterr().out, "nothing is left to do"
    assert main([*options, "--fit.steps", "3"]) == 1
    assert "configuration.fit.steps: 2 before, 3 now" in capsys.readouterr().err


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.ray
def test_garbage_gets_rows_and_the_run_ends_well(
    local_ray: Any, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "été à la plage"
    folder.mkdir()
    shutil.copy(portrait, folder / "good one.jpg")
    (folder / "corrupt.jpg").write_bytes(portrait.read_bytes()[:2000])
    (folder / "empty.jpg").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "notes.txt").write_text("no medium")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self.jpg").symlink_to("self.jpg")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (200, 200), (90, 120, 90)).save(folder / "lawn.png")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    output = tmp_path / "out"
    options = ["--input", str(folder), "--output", str(output), *SETTINGS, "--mesh-formats", "glb,obj,ply"]
    assert main(options) == 0
    assert "1 other files skipped" in capsys.readouterr().out
    frames = pd.concat(pd.read_parquet(path) for path in output.glob("shards/*/frames.parquet"))
    assert {Path(uri).name: f"{s} {r}".strip() for uri, s, r in frames[["uri", "status", "reason"]].to_numpy()} == {
        "good one.jpg": "ok",
        "corrupt.jpg": "failed unreadable",
        "empty.jpg": "failed unreadable",
        "text.mp4": "failed unreadable",
        "self.jpg": "failed unreadable",
        "dot.png": "rejected too_small",
        "lawn.png": "rejected no_face",
        "huge.png": "rejected too_large",
    }
    people_found = pd.concat(pd.read_parquet(path) for path in output.glob("shards/*/identities.parquet"))
    assert people_found["status"].value_counts().to_dict() == {"ok": 1, "failed": 4, "rejected": 3}
    assert len(list(output.glob("shards/*/meshes/good-one-*"))) == 5
    record = read_record(open_storage(output))
    assert record is not None
    assert record["summary"]["frames"]["ok"] == 1
    assert (output / "report" / "index.html").exists()


def test_fetch_asks_the_mirror_before_anything_else(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--input", str(photos), "--output", str(tmp_path / "out"), "--models", "ict"]
    models = str(tmp_path / "models")
    assert main([*options, "--model-dir", models, "--fetch", "--mirror", "http://127.0.0.1:9"]) == 1
    assert "http://127.0.0.1:9/scrfd_500m.onnx: cannot be reached" in capsys.readouterr().err
    assert main([*options, "--model-dir", "s3://bucket/models", "--fetch"]) == 1
    assert "expected a folder as --model-dir with --fetch" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
