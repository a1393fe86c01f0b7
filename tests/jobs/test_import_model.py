import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jobs.import_model import main
from ops.face.morphable_model import load_morphable_model


@pytest.fixture
def flame(tmp_path: Path) -> list[str]:
    """The arguments that import a toy FLAME of 300 identity modes and one expression mode."""
    rng = np.random.default_rng(0)
    mean = rng.uniform(-0.05, 0.05, size=(80, 3))
    places = {36: (-0.045, 0.03, 0.06), 45: (0.045, 0.03, 0.06), 8: (0, -0.08, 0.07), 30: (0, 0, 0.11)}
    mean[list(places)] = list(places.values())
    np.savez(
        tmp_path / "flame.npz",
        v_template=mean,
        shapedirs=rng.normal(size=(80, 3, 301)) * 1e-4,
        f=np.array([[30, 36, 8], [30, 8, 45]]),
    )
    (tmp_path / "landmarks.txt").write_text(" ".join(map(str, range(68))))
    files = ["--input", str(tmp_path / "flame.npz"), "--landmarks", str(tmp_path / "landmarks.txt")]
    return ["flame", *files, "--output", str(tmp_path / "new" / "model.safetensors")]


def test_a_model_is_written_and_summarised(flame: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flame) == 0
    model = load_morphable_model(Path(flame[-1]))
    assert (len(model.mean_mm), model.identity_size, model.expression_size) == (80, 300, 1)
    text = capsys.readouterr().out
    assert "vertices    80" in text
    assert "expression  1 modes, gaussian" in text
    assert "outer eyes  90.0 mm apart" in text
    assert f"written to  {flame[-1]}" in text


def test_missing_landmarks_are_explained(flame: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*flame[:3], *flame[5:]]) == 1
    assert "FLAME files do not say which vertices are the 68 landmarks" in capsys.readouterr().err
    assert not Path(flame[-1]).exists()


@pytest.mark.parametrize(
    ("kind", "extra", "words"),
    [
        ("ict", ["--landmarks", "a.txt"], "ict has no use for --landmarks"),
        ("bfm2017", ["--expression", "a.bin"], "bfm2017 has no use for --expression"),
        ("lsfm", ["--expression-vertices", "a.mat"], "without --expression"),
        ("ict", [], "no ICT-FaceKit folder"),
        ("bfm2009", [], "no model file at"),
        ("bfm2017", [], "no model file at"),
        ("lsfm", [], "no model file at"),
        ("flame", [], "no model file at"),
    ],
)
def test_wrong_arguments_are_refused(
    tmp_path: Path, kind: str, extra: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model.safetensors"
    assert main([kind, "--input", str(tmp_path / "none"), "--output", str(output), *extra]) == 1
    assert words in capsys.readouterr().err
    assert not output.exists()


def test_help_explains() -> None:
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-m", "jobs.import_model", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "01_MorphableModel.mat" in found.stdout
    assert "Exit status" in found.stdout


@pytest.mark.models
def test_the_real_ict_model(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = model_dir / "ict_facekit_face.npz", tmp_path / "ict.safetensors"
    assert main(["ict", "--input", str(source), "--output", str(output)]) == 0
    assert "vertices    19775" in capsys.readouterr().out
    assert load_morphable_model(output).metadata.name == "ict-facekit"
