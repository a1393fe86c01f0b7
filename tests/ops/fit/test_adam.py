import pytest
import torch

from ops.fit.adam import adam_init, adam_step
from ops.fit.config import LearningRates
from ops.fit.parameters import FitParameters


def parameters(rng: torch.Generator, rows: int = 3) -> FitParameters:
    return FitParameters(*(torch.randn(rows, size, generator=rng) for size in (4, 3, 5, 8, 9)))


def quadratic(values: FitParameters) -> torch.Tensor:
    return torch.stack([(value**4 + value).sum() for value in values]).sum()


@pytest.mark.parametrize("nesterov", [False, True])
def test_follows_torchs_adam(rng: torch.Generator, nesterov: bool) -> None:
    ours = parameters(rng)
    theirs = [value.clone().requires_grad_() for value in ours]
    # Torch's Nadam warms its momentum up, which a fast enough warm-up makes constant.
    optimiser = (
        torch.optim.NAdam(theirs, lr=0.02, momentum_decay=1e6) if nesterov else torch.optim.Adam(theirs, lr=0.02)
    )
    rates = LearningRates(identity=0.02, expression=0.02, texture=0.02, camera=0.02, light=0.02)
    state = adam_init(ours)
    for step in range(10):
        leaves = ours.apply(lambda v: v.detach().requires_grad_())
        gradient = FitParameters(*torch.autograd.grad(quadratic(leaves), list(leaves)))
        values = leaves.apply(torch.Tensor.detach)
        ours, state = adam_step(values, gradient, state, rates=rates, scale=1.0, step=step, nesterov=nesterov)
        optimiser.zero_grad()
        quadratic(FitParameters(*theirs)).backward()
        optimiser.step()
    for got, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, expected.detach(), atol=1e-6, rtol=1e-5)


def test_rows_keep_their_own_state(rng: torch.Generator) -> None:
    values = parameters(rng)
    gradient = parameters(rng)
    moved, state = adam_step(values, gradient, adam_init(values), rates=LearningRates(), scale=0.5, step=0)
    index = torch.tensor([2])
    alone, _ = adam_step(
        values.apply(lambda v: v[index]),
        gradient.apply(lambda v: v[index]),
        adam_init(values).rows(index),
        rates=LearningRates(),
        scale=0.5,
        step=0,
    )
    assert torch.equal(moved.texture[2:], alone.texture)
    assert state.rows(index).first.camera.shape == (1, 8)
    step_size = (moved.identity - values.identity).abs()
    torch.testing.assert_close(step_size, torch.full_like(step_size, 0.005), atol=1e-5, rtol=1e-3)
