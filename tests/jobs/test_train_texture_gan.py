from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import train_texture_gan
from ops.texture.gan_texture import load_gan_texture


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    folder = tmp_path / "maps"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        small = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(small).resize((32, 32), Image.Resampling.BILINEAR).save(folder / f"{number}.png")
    settings = ["--images", "8", "--latent-size", "8", "--workers", "0", "--device", "cpu", "--no-tensorboard"]
    return ["--maps", str(folder), "--output", str(tmp_path / "out"), *settings]


def test_trains_in_this_process_and_continues(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*command, "--uv-layout", "test-v1", "--licence", "CC0", "--first-side", "32"]
    assert train_texture_gan.main(command) == 0
    assert "wrote" in capsys.readouterr().out
    texture = load_gan_texture(tmp_path / "out" / "generator.safetensors")
    assert (texture.resolution, texture.levels, texture.latent_size) == (64, (32, 64), 8)
    assert (texture.uv_layout, texture.licence) == ("test-v1", "CC0")
    assert texture.training.startswith("preset cpu-small on maps; 8 maps, 0 files skipped; WGAN-GP")
    assert train_texture_gan.main(command) == 0
    assert "resumed at step" in capsys.readouterr().out
    assert train_texture_gan.main([*command, "--seed", "1"]) == 1
    assert "another schedule" in capsys.readouterr().err


def test_maps_of_an_unknown_layout_are_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert train_texture_gan.main(command) == 1
    assert "give --uv-layout" in capsys.readouterr().err
