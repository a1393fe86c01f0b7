import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from jobs.train_regressor import main
from ops.weights.bundle import resolve_bundle
from pipeline.stages.models import load_fit_models
from pipeline.training import regressor_training


def test_help_explains(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "kind: fastganfit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --input or --portraits"),
        (["--portraits", "3", "--steps", "0"], "--steps, --batch and --checkpoint-every >= 1"),
        (["--portraits", "3", "--start-share", "1.5"], "--start-share in [0, 1]"),
        (["--portraits", "3", "--first-person", "-1"], "--portraits to name people from 0 to"),
        (["--portraits", "3", "--first-person", "9999998"], "--portraits to name people from 0 to"),
        (["--portraits", "3", "--models", "itc"], "expected a bundle's name"),
        (["--input", "x/nowhere", "--models", "embedded", "--device", "cpu"], "runs at x/nowhere, found nothing"),
        (["--portraits", "3", "--models", "embedded", "--start-from", "x/nothing"], "start from at x/nothing, found"),
    ],
)
def test_bad_options_are_refused(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    sizes = ["--portraits", "6", "--first-person", "100"]
    sizes += ["--steps", "4", "--batch", "2", "--start-share", "0.5", "--checkpoint-every", "2"]
    output = str(tmp_path / "out")
    return ["--models", "embedded", "--workers", "0", "--device", "cpu", *sizes, "--output", output]


@pytest.mark.slow
def test_a_regressor_is_trained_once_and_a_bundle_takes_it(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regressor_training, "TESTED_SHARE", 0.3)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "errors known from 4 portraits each of 2 people" in said
    assert "photographed 6 of 6 people, found 6 faces" in said
    seeds = np.load(tmp_path / "out" / "samples" / "portraits" / "00000" / "seeds.npy")
    assert seeds.tolist() == list(range(100, 106))
    assert "step 4 of 4" in said
    file = tmp_path / "out" / "regressor.safetensors"
    trained = hashlib.sha256(file.read_bytes()).hexdigest()
    record = json.loads((tmp_path / "out" / "regressor.json").read_text())
    assert (record["bundle"], record["training"]["samples"]) == ("embedded", 6)
    assert record["models"]["recognition"]["sha256"] == resolve_bundle("embedded").recognition.sha256
    assert 0 < record["training"]["held_out"]["landmark_error"] < 0.2

    shipped = {role: ref for role, ref in resolve_bundle("embedded").roles() if ref is not None}
    roles = {
        role: {"kind": ref.kind} | ({"path": str(ref.path), "sha256": ref.sha256} if ref.path else {})
        for role, ref in shipped.items()
    }
    roles["regressor"] = {"kind": "fastganfit", "path": "out/regressor.safetensors", "sha256": trained}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(roles))
    assert load_fit_models(resolve_bundle(tmp_path / "mine.yaml"), "cpu").regressor is not None

    assert main(command) == 0
    said = capsys.readouterr().out
    assert "resumed at step 4" in said
    assert "photographed" not in said
    assert hashlib.sha256(file.read_bytes()).hexdigest() == trained
    assert main([*command, "--steps", "5"]) == 1
    assert "holds another training (steps: 4 before, 5 now)" in capsys.readouterr().err
