"""Adam with one state per row (Kingma and Ba 2015), so that rows can leave a running optimisation.

With Nesterov's momentum it is Nadam (Dozat, "Incorporating Nesterov momentum into Adam", 2016) of constant decay: the
step looks ahead by the momentum that the next one will have.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ops.fit.config import LearningRates
from ops.fit.parameters import FitParameters

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class AdamState(NamedTuple):
    """Running means of the gradient and of its square."""

    first: Float[Tensor, "row unknown"]
    second: Float[Tensor, "row unknown"]

    def rows(self, index: Int64[Tensor, " kept"]) -> "AdamState":
        """The state of some rows."""
        return AdamState(self.first[index], self.second[index])


def adam_init(unknowns: Float[Tensor, "row unknown"]) -> AdamState:
    """A state of zeros."""
    return AdamState(torch.zeros_like(unknowns), torch.zeros_like(unknowns))


def step_sizes(rates: LearningRates, parameters: FitParameters) -> Float[Tensor, " unknown"]:
    """The step size of every unknown, in the order in which `FitParameters` joins them."""
    sizes = [
        torch.full(values.shape[1:], getattr(rates, name), dtype=torch.float64)
        for name, values in zip(FitParameters._fields, parameters, strict=True)
    ]
    return torch.cat(sizes).to(parameters.camera.device)


def adam_step(
    unknowns: Float[Tensor, "row unknown"],
    gradient: Float[Tensor, "row unknown"],
    state: AdamState,
    *,
    rates: Float[Tensor, " unknown"],
    step: int,
    nesterov: bool = False,
) -> tuple[Float[Tensor, "row unknown"], AdamState]:
    """One step; `step` counts from 0 and is the same for every row."""
    first = BETA_1 * state.first + (1 - BETA_1) * gradient
    second = BETA_2 * state.second + (1 - BETA_2) * gradient.square()
    correction_1, correction_2 = 1 - BETA_1 ** (step + 1), 1 - BETA_2 ** (step + 1)
    ahead = first / correction_1
    if nesterov:
        next_correction_1 = 1 - BETA_1 ** (step + 2)
        ahead = BETA_1 * first / next_correction_1 + (1 - BETA_1) * gradient / correction_1
    moved = unknowns - rates * ahead / ((second / correction_2).sqrt() + EPSILON)
    return moved, AdamState(first, second)
