import dataclasses

import pytest
import torch

from ops.fit.adam import adam_init, adam_step, step_sizes
from ops.fit.config import LearningRates
from ops.fit.parameters import FitParameters


def quadratic(values: torch.Tensor) -> torch.Tensor:
    return (values**4 + values).sum()


@pytest.mark.parametrize("nesterov", [False, True])
def test_follows_torchs_adam(rng: torch.Generator, nesterov: bool) -> None:
    ours = torch.randn(3, 29, generator=rng)
    theirs = ours.clone().requires_grad_()
    # Torch's Nadam warms its momentum up, which a fast enough warm-up makes constant.
    optimiser = (
        torch.optim.NAdam([theirs], lr=0.02, momentum_decay=1e6) if nesterov else torch.optim.Adam([theirs], lr=0.02)
    )
    state = adam_init(ours)
    for step in range(10):
        leaf = ours.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(quadratic(leaf), leaf)
        ours, state = adam_step(ours, gradient, state, rates=torch.full((29,), 0.02), step=step, nesterov=nesterov)
        optimiser.zero_grad()
        quadratic(theirs).backward()
        optimiser.step()
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-5)


def test_rows_keep_their_own_state(rng: torch.Generator) -> None:
    values, gradient = torch.randn(3, 7, generator=rng), torch.randn(3, 7, generator=rng)
    rates = torch.full((7,), 0.005)
    moved, state = adam_step(values, gradient, adam_init(values), rates=rates, step=0)
    index = torch.tensor([2])
    alone, _ = adam_step(values[index], gradient[index], adam_init(values).rows(index), rates=rates, step=0)
    assert torch.equal(moved[2:], alone)
    assert state.rows(index).first.shape == (1, 7)
    torch.testing.assert_close((moved - values).abs(), torch.full_like(values, 0.005), atol=1e-5, rtol=1e-3)


def test_every_unknown_has_the_step_size_of_its_group(rng: torch.Generator) -> None:
    parameters = FitParameters(*(torch.randn(2, size, generator=rng) for size in (4, 3, 5, 8, 9)))
    rates = LearningRates(identity=1.0, expression=2.0, texture=3.0, camera=4.0, light=5.0)
    found = parameters.split(step_sizes(rates, parameters).unsqueeze(0))
    for part, (name, rate) in zip(found, dataclasses.asdict(rates).items(), strict=True):
        assert (part == rate).all(), name
    assert torch.equal(parameters.split(parameters.joined()).camera, parameters.camera)
