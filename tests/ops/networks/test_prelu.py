import torch
from torch.nn import functional

from ops.networks.prelu import channel_prelu


def test_values_and_gradient_are_those_of_torch(rng: torch.Generator) -> None:
    x = torch.randn(2, 5, 4, 3, generator=rng, dtype=torch.float64)
    x[0, 0, 0, 0] = 0.0
    slope = torch.randn(5, 1, 1, generator=rng, dtype=torch.float64)
    mine, torchs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    y = channel_prelu(mine, slope)
    expected = functional.prelu(torchs, slope.flatten())
    torch.testing.assert_close(y, expected, rtol=0, atol=0)
    (y * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(mine.grad, torchs.grad)


def test_gradient_in_float64(rng: torch.Generator) -> None:
    x = torch.randn(2, 3, 2, 2, generator=rng, dtype=torch.float64, requires_grad=True)
    slope = torch.randn(3, 1, 1, generator=rng, dtype=torch.float64)
    assert torch.autograd.gradcheck(channel_prelu, (x, slope))
    assert torch.autograd.gradgradcheck(channel_prelu, (x, slope))


def test_a_slope_that_learns_gets_its_gradient(rng: torch.Generator) -> None:
    x = torch.randn(2, 3, 2, 2, generator=rng, dtype=torch.float64)
    slope = torch.randn(3, 1, 1, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: channel_prelu(x, a), (slope,))
