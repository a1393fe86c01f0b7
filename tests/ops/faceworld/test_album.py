from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ops.face.morphable_model import MorphableModel
from ops.faceworld import album
from ops.faceworld.album import AlbumSettings, read_album_truth, write_album
from ops.faceworld.shape import faceworld_model

SETTINGS = AlbumSettings(people=1, photos=2, side_px=96)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return faceworld_model()


@pytest.fixture(autouse=True)
def _small_textures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(album, "TEXTURE_PX", 128)


def pixels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*/*.jpg"))]


def test_an_album_is_a_function_of_its_settings(tmp_path: Path, model: MorphableModel) -> None:
    first = write_album(model, tmp_path / "a", tmp_path / "a.safetensors", SETTINGS)
    second = write_album(model, tmp_path / "b", tmp_path / "b.safetensors", SETTINGS)
    other = write_album(model, tmp_path / "c", tmp_path / "c.safetensors", replace(SETTINGS, seed=2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    assert not any(torch.equal(x, y) for x, y in zip(first, other, strict=True))
    assert first.texture.shape == (1, 3, 128, 128)
    a, b, c = (pixels(tmp_path / name) for name in "abc")
    assert len(a) == 2
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a[0], c[0])
    assert not np.array_equal(a[0], a[1])


def test_the_truth_is_read_without_the_settings_for_the_same_model(tmp_path: Path, model: MorphableModel) -> None:
    path = tmp_path / "truth.safetensors"
    assert read_album_truth(model, path) is None
    written = write_album(model, tmp_path / "album", path, SETTINGS)
    found = read_album_truth(model, path)
    assert found is not None
    assert all(torch.equal(x, y) for x, y in zip(written, found, strict=True))
    assert read_album_truth(replace(model, mean_mm=1.01 * model.mean_mm), path) is None


def test_a_complete_album_is_kept(tmp_path: Path, model: MorphableModel) -> None:
    truth = tmp_path / "truth.safetensors"
    write_album(model, tmp_path / "album", truth, SETTINGS)
    photo = next((tmp_path / "album").glob("*/*.jpg"))
    photo.write_bytes(b"touched")
    write_album(model, tmp_path / "album", truth, SETTINGS)
    assert photo.read_bytes() == b"touched"
    write_album(replace(model, mean_mm=1.01 * model.mean_mm), tmp_path / "album", truth, SETTINGS)
    assert photo.read_bytes() != b"touched"
    write_album(model, tmp_path / "album", truth, replace(SETTINGS, photos=1))
    (page,) = (tmp_path / "album").glob("*/*.jpg")
    assert page.read_bytes() != b"touched"
