"""Fixtures every part of the suite shares."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ops.faceworld.album import AlbumSettings, write_album
from ops.faceworld.shape import faceworld_model
from ops.weights.bundle import ModelBundle, resolve_bundle
from pipeline.cluster.session import ClusterConfig, ray_session
from tests.web_server import WebServer, web_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, and all that shares the local Ray, or the registered scans, in one."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        alone = "head" in fixtures  # a cluster that two processes would both start
        shared = "ray" if item.get_closest_marker("ray") else "micc" if "tiny_micc" in fixtures else None
        group = shared if shared and not alone else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """Folder of the downloaded model files; tests that need it carry the marker `models`."""
    folder = os.environ.get("GANFIT_MODELS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the downloaded model files: set GANFIT_MODELS to their folder")
    return Path(folder).resolve()


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server on this machine."""
    with web_server() as served:
        yield served


@pytest.fixture(scope="session")
def embedded() -> ModelBundle:
    """The models that ship with this project."""
    return resolve_bundle("embedded")


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos of each of four people of the face world, in one folder per person; to be read only."""
    folder = tmp_path_factory.mktemp("album")
    settings = AlbumSettings(people=4, photos=2, side_px=240, seed=3, yaw_deg=10.0)
    write_album(faceworld_model(), folder / "people", folder / "truth.safetensors", settings)
    return folder / "people"


@pytest.fixture(scope="session")
def local_ray() -> Generator[Any]:
    with ray_session(ClusterConfig(num_gpus=0, stall_timeout_s=60)) as ray:
        yield ray


@pytest.fixture(scope="session")
def album_run(local_ray: Any, album: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command made of the album by the shipped regressor; to be read only.

    Two fit workers: on two cores each has one thread, as this process has, and so the same last bits.
    """
    from jobs.reconstruct import main

    output = tmp_path_factory.mktemp("run") / "OUT"
    words = ["--models", "embedded", "--method", "fastganfit", "--shard-size", "4"]
    words += ["--num-gpus", "0", "--fit-workers", "2"]
    assert main(["--input", str(album), "--output", str(output), *words]) == 0
    return output


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
