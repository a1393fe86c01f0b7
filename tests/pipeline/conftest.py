"""A local Ray for the whole session, and small input files."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.cluster import ClusterConfig, ray_session
from pipeline.sources import Item

WritePhoto = Callable[..., Path]


@pytest.fixture(scope="session")
def local_ray() -> Generator[Any]:
    with ray_session(ClusterConfig(num_gpus=0, stall_timeout_s=60)) as ray:
        yield ray


@pytest.fixture
def write_photo() -> WritePhoto:
    """Write a photo of random noise."""

    def write(path: Path, size: tuple[int, int] = (80, 60)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(path.name)).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(noise).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 40 frames, 64 x 48, its index in front so that it can be cut."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(40):
            image = np.full((48, 64, 3), 6 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def make_item() -> Callable[..., Item]:
    def make(name: str, identity: str | None = None, kind: Any = "image", location: str = "") -> Item:
        return Item(
            item_id=f"{name}-id", identity_id=identity or f"{name}-id", uri=name, location=location or name, kind=kind
        )

    return make
