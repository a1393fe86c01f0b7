"""A pretended CUDA device, and the models of the face world on it."""

from collections.abc import Iterator

import pytest
import torch

from ops.fit import FitInput, FitModels
from ops.fit.regression import mean_start
from ops.weights.bundle import ModelBundle
from pipeline.stages.models import load_fit_models
from tests.ops.conftest import bumpy_mesh  # noqa: F401 - a fixture
from tests.support.nvdiffrast_stand_in import installed
from tests.support.pretended_cuda import PretendedCuda

SIDE = 96


@pytest.fixture
def cuda() -> Iterator[PretendedCuda]:
    """Where `device="cuda"` works, with nvdiffrast at hand; what it is compared with is to be computed before."""
    with installed(), PretendedCuda() as mode:
        yield mode


@pytest.fixture(scope="session")
def models(embedded: ModelBundle) -> FitModels:
    return load_fit_models.__wrapped__(embedded, "cpu")


@pytest.fixture(scope="session")
def inputs(models: FitModels) -> FitInput:
    """Three pictures of two people that look like noise, with landmarks about where a face has them."""
    rng = torch.Generator().manual_seed(1)
    landmarks = mean_start(models.shape).landmarks.expand(3, -1, -1) * SIDE
    smooth = torch.nn.functional.interpolate(torch.rand(3, 3, 12, 12, generator=rng), size=SIDE, mode="bilinear")
    return FitInput(
        images=smooth,
        valid=torch.ones(3, SIDE, SIDE, dtype=torch.bool),
        landmarks_px=landmarks + torch.randn(3, 68, 2, generator=rng),
        group=torch.tensor([0, 0, 1]),
        seeds=torch.arange(3),
    )
