"""offset + weights @ basis for a few rows of weights and a very long basis, each row as if it were alone.

The rounding of a matrix product depends on how many rows it has and even on where they lie in memory; an optimiser
magnifies such differences, and what is fitted to one face would depend on the faces beside it. So on the CPU every row
is a product of its own, of freshly allocated (equally aligned) operands.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def linear_basis(
    weights: Float[Tensor, "row mode"], basis: Float[Tensor, "mode column"], offset: Float[Tensor, "row column"]
) -> Float[Tensor, "row column"]:
    """Compute offset + weights @ basis, rows independent of each other to the last bit on the CPU in float32.

    Differentiable in the weights and the offset, not in the basis. Costs half as much again as a product of eight rows
    at once, and nothing for one.
    """
    if weights.device.type == "cpu" and weights.dtype == torch.float32:
        result: Tensor = _RowByRow.apply(weights, basis, offset)  # pyright: ignore[reportAssignmentType]
        return result
    return torch.addmm(offset, weights, basis)


class _RowByRow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, basis: Tensor, offset: Tensor) -> Tensor:
        ctx.basis = basis
        pairs = zip(offset.split(1), weights.split(1), strict=True)
        return torch.cat([torch.addmm(o.clone(), w.clone(), basis) for o, w in pairs])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        (gradient,) = gradients
        wanted_weights, _, wanted_offset = ctx.needs_input_grad
        by_weights = None
        if wanted_weights:
            by_weights = torch.cat([row.clone() @ ctx.basis.mT for row in gradient.split(1)])
        return by_weights, None, gradient if wanted_offset else None
