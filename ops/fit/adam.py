"""Adam with one state a row (Kingma and Ba 2015), so that rows can leave a running optimisation.

With Nesterov's momentum it is Nadam (Dozat, "Incorporating Nesterov momentum into Adam", 2016) of constant decay: the
step looks ahead by the momentum that the next one will have.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from ops.fit.config import LearningRates
from ops.fit.parameters import FitParameters

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class AdamState(NamedTuple):
    """Running means of the gradient and of its square."""

    first: FitParameters
    second: FitParameters

    def rows(self, index: Int64[Tensor, " kept"]) -> "AdamState":
        """The state of some rows."""
        return AdamState(self.first.apply(lambda v: v[index]), self.second.apply(lambda v: v[index]))


def adam_init(parameters: FitParameters) -> AdamState:
    """A state of zeros."""
    return AdamState(parameters.apply(torch.zeros_like), parameters.apply(torch.zeros_like))


def adam_step(
    parameters: FitParameters,
    gradient: FitParameters,
    state: AdamState,
    *,
    rates: LearningRates,
    scale: float,
    step: int,
    nesterov: bool = False,
) -> tuple[FitParameters, AdamState]:
    """One step; `scale` multiplies all step sizes, `step` counts from 0 and is the same for every row."""
    first = [BETA_1 * m + (1 - BETA_1) * g for m, g in zip(state.first, gradient, strict=True)]
    second = [BETA_2 * v + (1 - BETA_2) * g.square() for v, g in zip(state.second, gradient, strict=True)]
    correction_1, correction_2 = 1 - BETA_1 ** (step + 1), 1 - BETA_2 ** (step + 1)
    next_correction_1 = 1 - BETA_1 ** (step + 2)
    moved: list[Tensor] = []
    for name, value, g, m, v in zip(FitParameters._fields, parameters, gradient, first, second, strict=True):
        rate = scale * getattr(rates, name)
        ahead = BETA_1 * m / next_correction_1 + (1 - BETA_1) * g / correction_1 if nesterov else m / correction_1
        moved.append(value - rate * ahead / ((v / correction_2).sqrt() + EPSILON))
    return FitParameters(*moved), AdamState(FitParameters(*first), FitParameters(*second))
