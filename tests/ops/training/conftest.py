"""A few small maps that need no painter."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ops.training.texture_maps import (
    PartlySeenMap,
    TextureMaps,
    find_maps,
    load_or_decode_maps,
    write_partly_seen,
)

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


@pytest.fixture
def partly_seen(tmp_path: Path) -> TextureMaps:
    """Noise of 32 px on a colour, seen on the left alone; two in a row are of one person."""
    rng = torch.Generator().manual_seed(0)
    seen = torch.zeros(2, 32, 32)
    seen[..., :16] = 1
    maps = [
        PartlySeenMap(torch.rand(3, 1, 1, generator=rng) + 0.2 * torch.rand(3, 32, 32, generator=rng), seen)
        for _ in range(12)
    ]
    write_partly_seen(reversed(list(enumerate(maps))), 12, (16, 32), tmp_path / "partly")
    return TextureMaps(folder=tmp_path / "partly", sides=(16, 32), count=12, skipped=0, partly_seen=True, together=2)
