import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from ops.errors import ConfigurationError, InputError
from ops.training.adversarial.seen_texels import as_seen
from ops.training.texture_maps import TextureMaps, find_maps, load_or_decode_maps


def test_levels_are_averages_of_the_files(maps: TextureMaps, map_folder: Path) -> None:
    assert (maps.count, maps.skipped) == (24, 0)
    file = np.asarray(Image.open(map_folder / "005.png")).astype(np.float64).transpose(2, 0, 1)
    assert np.array_equal(maps.level(16)[5], file)
    assert np.abs(maps.level(4)[5] - file.reshape(3, 4, 4, 4, 4).mean((2, 4))).max() <= 0.5
    batch = maps.batch(16, np.array([5, 0]))
    torch.testing.assert_close(batch[0], torch.from_numpy(file / 127.5 - 1).float())


def test_bad_images_are_counted_and_skipped(map_folder: Path, tmp_path: Path) -> None:
    (map_folder / "001.png").write_bytes(b"no picture")
    Image.new("RGB", (16, 12)).save(map_folder / "002.png")
    maps = load_or_decode_maps(find_maps(map_folder), (8, 16), tmp_path / "other", lambda line: None)
    assert (maps.count, maps.skipped, len(maps.level(8))) == (22, 2, 22)
    named = (maps.folder / "skipped.txt").read_text()
    assert "001.png" in named
    assert "expected a square map, got 16 x 12" in named


def test_a_set_of_mostly_bad_images_is_refused(map_folder: Path, tmp_path: Path) -> None:
    for number in range(13):
        (map_folder / f"{number:03d}.png").write_bytes(b"")
    with pytest.raises(InputError, match="only 11 of 24 maps"):
        load_or_decode_maps(find_maps(map_folder), (16,), tmp_path / "other", lambda line: None)


def test_decoded_maps_are_kept(maps: TextureMaps, map_folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    again = load_or_decode_maps(find_maps(map_folder), (4, 8, 16), tmp_path / "cache", lines.append)
    assert again == maps
    assert not lines


def test_a_manifest_names_maps_and_their_layout(map_folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["discs/003.png", "discs/001.png"]}), tmp_path / "maps.parquet")
    (tmp_path / "textures.json").write_text(json.dumps({"uv_layout": "test-v1"}))
    source = find_maps(tmp_path / "maps.parquet")
    assert [path.name for path in source.uris] == ["003.png", "001.png"]
    assert source.uv_layout == "test-v1"
    assert find_maps(map_folder).uv_layout is None


def test_other_inputs_are_refused(map_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "maps.parquet")
    for source, words in (
        (tmp_path / "empty", "found none"),
        (map_folder / "000.png", "expected a folder"),
        (tmp_path / "maps.parquet", "column uri"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            find_maps(source)


def test_weights_of_texels_lie_beside_the_maps(map_folder: Path, tmp_path: Path) -> None:
    assert find_maps(map_folder).texel_weight is None
    stored = np.ones((8, 8), np.float32)
    stored[:, :4] = 3
    np.save(map_folder / "texel_weight.npy", stored)
    maps = load_or_decode_maps(find_maps(map_folder), (4, 8, 16), tmp_path / "cache", lambda line: None)
    assert maps.count == 24
    torch.testing.assert_close(maps.weight(8), torch.from_numpy(stored))
    assert maps.weight(16)[3, 1] == 3
    assert maps.weight(16)[3, 14] == 1
    np.save(map_folder / "texel_weight.npy", np.zeros((8, 8)))
    with pytest.raises(ConfigurationError, match="weights > 0"):
        maps.weight(8)
    (map_folder / "texel_weight.npy").write_bytes(b"no array")
    with pytest.raises(ConfigurationError, match="array of weights"):
        maps.weight(8)


def test_maps_that_are_seen_in_part_come_with_their_masks(partly_seen: TextureMaps) -> None:
    numbers = np.array([3, 7])
    batch = partly_seen.batch(32, numbers)
    found = partly_seen.as_seen(batch, numbers)
    seen = torch.zeros(2, 2, 32, 32)
    seen[..., :16] = 1
    torch.testing.assert_close(found, as_seen(batch, seen))
    assert not torch.equal(found[..., 16:], batch[..., 16:])
    small = torch.nn.functional.avg_pool2d(batch, 2)
    torch.testing.assert_close(partly_seen.batch(16, numbers), small, atol=1 / 127, rtol=0)


def test_maps_from_files_are_seen_whole(maps: TextureMaps) -> None:
    numbers = np.array([0, 1])
    batch = maps.batch(16, numbers)
    assert maps.as_seen(batch, numbers) is batch
