"""A small texture model, and people of known albedo."""

import pytest
import torch

from ops.texture.pca import PcaTexture
from tests.support.painted_people import PaintedPeople, paint_people

__all__ = ["PaintedPeople"]


@pytest.fixture
def small_texture(rng: torch.Generator) -> PcaTexture:
    mean = torch.rand(3, 64, 64, generator=rng)
    basis = 0.1 * torch.randn(5, 3, 64, 64, generator=rng)
    return PcaTexture(mean=mean, basis=basis, uv_layout="test-v1")


@pytest.fixture(scope="session")
def people() -> PaintedPeople:
    return paint_people(8)
