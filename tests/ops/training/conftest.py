"""A few small maps that need no painter."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ops.training.texture_maps import TextureMaps, find_maps, load_or_decode_maps

COUNT, SIDE = 24, 16


@pytest.fixture
def map_folder(tmp_path: Path) -> Path:
    """Discs of random colour, place and size, 24 files of 16 px."""
    folder = tmp_path / "discs"
    folder.mkdir()
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        centre, radius = rng.uniform(5, 11, 2), rng.uniform(3, 6)
        inside = np.clip(radius - np.hypot(x - centre[0], y - centre[1]), 0, 1)[..., None]
        image = inside * rng.uniform(100, 255, 3) + (1 - inside) * 30
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def maps(map_folder: Path, tmp_path: Path) -> TextureMaps:
    return load_or_decode_maps(find_maps(map_folder), (4, 8, 16), tmp_path / "cache", lambda line: None)
