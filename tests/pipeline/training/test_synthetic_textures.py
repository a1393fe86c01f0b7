import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ops.errors import FingerprintMismatchError, OutputError
from ops.faceworld.shape import UV_LAYOUT, faceworld_model
from pipeline.training.synthetic_textures import SyntheticTextureSettings, write_synthetic_textures

SETTINGS = SyntheticTextureSettings(side=32, seed=3)


def write(folder: Path, count: int, settings: SyntheticTextureSettings = SETTINGS, processes: int = 1) -> list[str]:
    lines: list[str] = []
    write_synthetic_textures(faceworld_model(), folder, count, settings, processes, lines.append)
    return lines


def images(folder: Path) -> np.ndarray:
    uris = pq.read_table(folder / "manifest.parquet")["uri"].to_pylist()
    return np.stack([np.asarray(Image.open(folder / uri)) for uri in uris])


def test_maps_depend_on_seed_and_number_alone(tmp_path: Path) -> None:
    write(tmp_path / "a", 3)
    write(tmp_path / "b", 2)
    write(tmp_path / "c", 2, SyntheticTextureSettings(side=32, seed=4))
    first, second, other = (images(tmp_path / name) for name in "abc")
    assert first.shape == (3, 32, 32, 3)
    assert np.array_equal(first[:2], second)
    assert not np.array_equal(second, other)
    assert not np.array_equal(first[0], first[1])


def test_more_maps_are_added_to_those_there(tmp_path: Path) -> None:
    write(tmp_path, 2)
    before = (tmp_path / "maps/00000/00000000.png").stat().st_mtime_ns
    assert write(tmp_path, 3) == ["3 of 3 maps"]
    assert (tmp_path / "maps/00000/00000000.png").stat().st_mtime_ns == before
    record = json.loads((tmp_path / "textures.json").read_text())
    assert (record["count"], record["uv_layout"], record["side"]) == (3, UV_LAYOUT, 32)
    table = pq.read_table(tmp_path / "manifest.parquet")
    assert table["number"].to_pylist() == [0, 1, 2]
    assert json.loads(table["appearance"][1].as_py())["detail"] == 1.0


def test_plain_faces_lack_what_lies_elsewhere_on_every_face(tmp_path: Path) -> None:
    write(tmp_path / "plain", 2, SyntheticTextureSettings(side=32, seed=3, plain=True))
    for appearance in pq.read_table(tmp_path / "plain" / "manifest.parquet")["appearance"].to_pylist():
        look = json.loads(appearance)
        assert (look["detail"], look["moles"], look["freckles"], look["age_spots"]) == (0, 0, 0, 0)
    write(tmp_path / "detailed", 2)
    assert not np.array_equal(images(tmp_path / "plain"), images(tmp_path / "detailed"))


@pytest.mark.slow
def test_processes_paint_what_one_paints(tmp_path: Path) -> None:
    write(tmp_path / "a", 4)
    write(tmp_path / "b", 4, processes=2)
    assert np.array_equal(images(tmp_path / "a"), images(tmp_path / "b"))


def test_other_settings_and_other_folders_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", 1)
    with pytest.raises(FingerprintMismatchError, match=r"seed \(there 3, here 5\)"):
        write(tmp_path / "a", 1, SyntheticTextureSettings(side=32, seed=5))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "photo.jpg").touch()
    with pytest.raises(OutputError, match="holds something else"):
        write(tmp_path / "b", 1)
