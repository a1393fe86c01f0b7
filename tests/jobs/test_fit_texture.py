import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs import fit_texture
from ops.texture.gan_texture import GanTexture, freeze, save_gan_texture
from ops.texture.pca import PcaTexture, save_pca_texture
from ops.texture.progressive_gan import GanSize, Generator


def write_maps(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        small = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(small).resize((32, 32), Image.Resampling.BILINEAR).save(folder / f"{number}.png")
    return folder


def write_generator(path: Path, uv_layout: str = "test-v1") -> Path:
    torch.manual_seed(0)
    generator = freeze(Generator(GanSize(resolution=32, latent_size=6, channel_base=64, channel_limit=8)))
    save_gan_texture(GanTexture(generator=generator, uv_layout=uv_layout, training="none", licence="CC0"), path)
    return path


def test_a_table_and_a_grid_of_generator_and_pca(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = write_generator(tmp_path / "generator.safetensors")
    held_out, trained = write_maps(tmp_path / "held-out", 4, 1), write_maps(tmp_path / "trained", 12, 2)
    command = ["--maps", str(held_out), "--texture", str(generator), "--pca-maps", str(trained)]
    command += ["--output", str(tmp_path / "out"), "--count", "4", "--steps", "20", "--batch", "3", "--device", "cpu"]
    assert fit_texture.main(command) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "table.txt").read_text() in printed
    values = json.loads((tmp_path / "out" / "values.json").read_text())
    assert list(values) == [str(generator), f"PCA of {trained}"]
    assert all(len(value["l1"]) == 4 for value in values.values())
    assert np.mean(values[f"PCA of {trained}"]["l1"]) < np.mean(values[str(generator)]["l1"])
    with Image.open(tmp_path / "out" / "grid.png") as grid:
        assert grid.size == (3 * 32, 4 * 32)


def test_models_of_two_layouts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pca = tmp_path / "pca.safetensors"
    save_pca_texture(PcaTexture(mean=torch.rand(3, 32, 32), basis=torch.rand(2, 3, 32, 32), uv_layout="other"), pca)
    generator = write_generator(tmp_path / "generator.safetensors")
    command = ["--maps", str(tmp_path), "--texture", str(generator), str(pca), "--output", str(tmp_path / "out")]
    assert fit_texture.main(command) == 1
    assert "one UV layout" in capsys.readouterr().err
    assert fit_texture.main([*command[:2], "--texture", str(tmp_path / "none"), *command[-2:]]) == 1
