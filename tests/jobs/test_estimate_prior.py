import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from jobs.estimate_prior import main
from ops.face.prior import load_prior


def write(path: Path, yaw: float, **changes: np.ndarray) -> None:
    content = {
        "Pose_Para": np.array([[0.0, yaw, 0.0, 10, 20, 30, 1e-3]]),
        "Illum_Para": np.array([[0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.2, 0.0, 0.1, 20]]),
        "Color_Para": np.array([[1, 1, 1, 0, 0, 0, 1.0]]),
        "Exp_Para": np.full((29, 1), yaw),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images at yaw -10, 0 and 10 degrees, a landmark file, a broken one, a text file and a short pose."""
    folder = tmp_path / "300W with spaces"
    for name, yaw in (("AFW/a", -10), ("AFW/b", 0), ("HELEN/é", 10)):
        write(folder / f"{name}.mat", np.deg2rad(yaw))
    savemat(folder / "landmarks.mat", {"pts_2d": np.zeros((68, 2))})
    (folder / "broken.mat").write_bytes(b"not MATLAB")
    (folder / "a.txt").write_text("ignored")
    write(folder / "short.mat", 0, Pose_Para=np.zeros((1, 3)))
    return folder


def test_counts_reasons_and_gaussian(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "prior.json"
    assert main(["--input", str(folder), "--output", str(output)]) == 0
    text = capsys.readouterr().out
    assert "read     3 images" in text
    assert "skipped  3 files" in text
    for reason in ("no numbers in Pose_Para", "not a readable MATLAB file", "Pose_Para holds 3 numbers instead of 7"):
        assert f"      1  {reason}, for instance {folder}" in text
    prior = load_prior(output)
    assert prior.yaw_deg.mean == pytest.approx(0, abs=1e-9)
    assert prior.yaw_deg.sd == pytest.approx(10)
    assert prior.ambient.mean == pytest.approx(0.5)
    assert prior.expression_sd == 0.5
    assert "kept: without --expression-sigma" in text


def test_expression_in_deviations_of_its_modes(folder: Path, tmp_path: Path) -> None:
    savemat(tmp_path / "Model_Exp.mat", {"sigma_exp": np.full((29, 1), np.deg2rad(5))})
    arguments = ["--input", str(folder), "--output", str(tmp_path / "p.json")]
    assert main([*arguments, "--expression-sigma", str(tmp_path / "Model_Exp.mat")]) == 0
    assert load_prior(tmp_path / "p.json").expression_sd == pytest.approx(2.0)


@pytest.mark.parametrize("sigma", [np.ones(28), np.zeros(29)])
def test_wrong_deviations_are_refused(
    folder: Path, tmp_path: Path, sigma: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    savemat(tmp_path / "s.mat", {"sigma_exp": sigma})
    arguments = ["--input", str(folder), "--output", str(tmp_path / "p.json")]
    assert main([*arguments, "--expression-sigma", str(tmp_path / "s.mat")]) == 1
    assert "29 positive numbers" in capsys.readouterr().err
    assert not (tmp_path / "p.json").exists()


def test_nothing_usable_is_an_error_that_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.mat").write_bytes(b"not MATLAB")
    assert main(["--input", str(tmp_path), "--output", str(tmp_path / "prior.json")]) == 1
    captured = capsys.readouterr()
    assert "skipped  1 files" in captured.out
    assert "no usable file" in captured.err
    assert not (tmp_path / "prior.json").exists()


def test_a_missing_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--input", str(tmp_path / "none"), "--output", str(tmp_path / "prior.json")]) == 1
    assert "no folder at" in capsys.readouterr().err


def test_help_explains() -> None:
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-m", "jobs.estimate_prior", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "Pose_Para (7 numbers)" in found.stdout
    assert "Exit status" in found.stdout
