"""Fixtures every part of the suite shares."""

import os
from pathlib import Path

import pytest
import torch


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
