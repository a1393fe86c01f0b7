"""A local Ray for the whole session, and small input files."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from ops.morphable_model import ModelMetadata, MorphableModel
from ops.weights.bundle import ModelBundle, resolve_bundle
from pipeline.cluster import ClusterConfig, ray_session
from pipeline.sources import Item

WritePhoto = Callable[..., Path]


@pytest.fixture(scope="session")
def local_ray() -> Generator[Any]:
    with ray_session(ClusterConfig(num_gpus=0, stall_timeout_s=60)) as ray:
        yield ray


@pytest.fixture(scope="session")
def bundle(model_dir: Path) -> ModelBundle:
    return resolve_bundle("ict", model_dir)


@pytest.fixture
def photo_dir(model_dir: Path) -> Path:
    """Folder of real photos beside the model files."""
    folder = model_dir.parent / "photos"
    if not folder.is_dir():
        pytest.skip(f"needs the photos that belong in {folder}")
    return folder


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


@pytest.fixture
def tiny_shape() -> MorphableModel:
    """A grid of 9 x 8 vertices as wide as a face, with one identity mode (depth) and one expression mode (height)."""
    columns, rows = 9, 8
    x, y = np.meshgrid(np.linspace(-60, 60, columns), np.linspace(-80, 80, rows))
    mean = np.stack((x, y, np.zeros_like(x)), -1).reshape(-1, 3)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1)
    triangles = np.concatenate(
        (
            np.stack((corner, corner + 1, corner + columns), -1),
            np.stack((corner + 1, corner + columns + 1, corner + columns), -1),
        )
    )
    landmarks = torch.arange(68)
    landmarks[36], landmarks[45] = 0, 8
    everywhere = torch.ones(len(mean), dtype=torch.bool)
    return MorphableModel(
        mean_mm=torch.from_numpy(mean).float(),
        identity_basis_mm=torch.tensor([0.0, 0.0, 5.0]).expand(1, len(mean), 3).contiguous(),
        expression_basis_mm=torch.tensor([0.0, 3.0, 0.0]).expand(1, len(mean), 3).contiguous(),
        triangles=torch.from_numpy(triangles).int(),
        uv=torch.from_numpy((mean[:, :2] + (60, 80)) / (120, 160)).float(),
        uv_triangles=torch.from_numpy(triangles).int(),
        landmarks=landmarks,
        jaw_candidates=landmarks[:17, None].expand(17, 2).contiguous(),
        regions={"face": everywhere, "skin": everywhere},
        metadata=ModelMetadata(
            name="grid", licence="none", source="made here", uv_layout="grid", expression_kind="gaussian"
        ),
    )
