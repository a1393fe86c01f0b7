from pathlib import Path

import pytest

from jobs.make_texture import main
from ops.texture.pca import load_pca_texture


def test_writes_the_texture_of_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "texture.safetensors"
    settings = ["--resolution", "32", "--modes", "4", "--samples", "8"]
    assert main(["--models", "embedded", "--output", str(output), *settings]) == 0
    texture = load_pca_texture(output)
    assert (texture.latent_size, texture.resolution, texture.uv_layout) == (4, 32, "faceworld-grid-v1")
    assert "4 modes at 32 px" in capsys.readouterr().out


def test_refuses_impossible_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--resolution", "32", "--modes", "8", "--samples", "8"]
    assert main(["--models", "embedded", "--output", str(tmp_path / "t.safetensors"), *settings]) == 1
    assert "more than 8 texture samples" in capsys.readouterr().err
    assert main(["--models", "no-such-bundle", "--output", str(tmp_path / "t.safetensors")]) == 1
