import pytest
import torch

from ops.training.sliced_wasserstein import sliced_wasserstein


def test_zero_between_equal_sets_in_any_order(rng: torch.Generator) -> None:
    images = torch.randn(64, 3, 32, 32, generator=rng)
    assert sliced_wasserstein(images, images) == {32: 0.0, 16: 0.0}
    shuffled = sliced_wasserstein(images, images.flip(0))
    assert max(shuffled.values()) < 0.05


def test_tells_the_level_at_which_sets_differ(rng: torch.Generator) -> None:
    """Fine stripes change the largest level alone."""
    first, second = (torch.randn(32, 3, 32, 32, generator=rng) for _ in range(2))
    striped = second + 3 * (torch.arange(32) % 2 * 2 - 1)
    same, different = sliced_wasserstein(first, second), sliced_wasserstein(first, striped)
    assert different[32] > 10 * same[32]
    assert different[16] == pytest.approx(same[16], rel=1e-3)


def test_does_not_depend_on_brightness(rng: torch.Generator) -> None:
    first, second = (torch.rand(16, 3, 16, 16, generator=rng) for _ in range(2))
    brighter = sliced_wasserstein(first, 0.5 * second + 0.4)
    assert brighter[16] == pytest.approx(sliced_wasserstein(first, second)[16], rel=1e-3)
