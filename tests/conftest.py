"""Fixtures every part of the suite shares."""

import os
from pathlib import Path

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, and everything that needs Ray in the same one: there is one Ray."""
    for item in items:
        group = "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]
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
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)
