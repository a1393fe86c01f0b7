"""A small texture model."""

import pytest
import torch

from ops.texture.pca import PcaTexture


@pytest.fixture
def small_texture(rng: torch.Generator) -> PcaTexture:
    mean = torch.rand(3, 64, 64, generator=rng)
    basis = 0.1 * torch.randn(5, 3, 64, 64, generator=rng)
    return PcaTexture(mean=mean, basis=basis, uv_layout="test-v1")
