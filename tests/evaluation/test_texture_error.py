import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as reference_ssim

from evaluation.texture_error import detail_energy, structural_similarity, texture_error


def stripes(side: int, frequency: float) -> torch.Tensor:
    """A cosine of so many cycles a texel along x, one of the cosine transform's own waves."""
    wave = torch.cos(2 * math.pi * frequency * (torch.arange(side) + 0.5))
    return (0.5 + 0.3 * wave).expand(1, 3, side, side).contiguous()


def test_energy_counts_the_top_two_octaves_alone() -> None:
    low, high = stripes(64, 7 / 64), stripes(64, 9 / 64)
    assert float(detail_energy(low)) == pytest.approx(0, abs=1e-6)
    assert float(detail_energy(high)) == pytest.approx(3 * 64 * 64 * 0.3**2 / 2, rel=1e-5)


def test_kept_and_explained_energy_by_known_answers() -> None:
    truth = stripes(32, 5 / 32)
    weaker = 0.5 + 0.5 * (truth - 0.5)
    inverted = 1 - truth
    error = texture_error(torch.cat((truth, weaker, inverted)), truth.expand(3, -1, -1, -1))
    torch.testing.assert_close(error.energy_kept.float(), torch.tensor([1.0, 0.25, 1.0]))
    torch.testing.assert_close(error.energy_explained.float(), torch.tensor([1.0, 0.75, -3.0]), atol=1e-5, rtol=0)
    assert float(error.l1[0]) == 0
    assert float(error.ssim[0]) == pytest.approx(1)


def test_ssim_agrees_with_scikit_image(rng: torch.Generator) -> None:
    first = torch.rand(1, 3, 40, 40, generator=rng)
    second = (first + 0.2 * torch.randn(1, 3, 40, 40, generator=rng)).clamp(0, 1)
    expected = []
    for one, other in zip(first[0].double().numpy(), second[0].double().numpy(), strict=True):
        _, image = reference_ssim(
            one, other, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        expected.append(image[5:-5, 5:-5].mean())
    assert float(structural_similarity(first, second)) == pytest.approx(np.mean(expected), abs=1e-5)


def test_values_out_of_range_are_clamped() -> None:
    truth = torch.zeros(1, 3, 16, 16)
    truth[..., ::2] = 1
    assert float(texture_error(4 * truth - 1.5, truth).l1) == 0
