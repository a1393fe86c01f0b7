"""PReLU whose gradient goes to the input alone."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class _ChannelPrelu(torch.autograd.Function):
    """torch's own backward also forms the gradient of the slopes, element by element, which a frozen net never uses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return functional.prelu(x, slope.flatten())

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (grad,) = grad_outputs
        x, slope = ctx.saved_tensors
        passed = torch.ops.aten.threshold_backward(grad, x, 0)
        return passed.mul_(1 - slope).addcmul_(grad, slope), None


def channel_prelu(x: Float[Tensor, "*shape"], slope: Float[Tensor, "*slope"]) -> Float[Tensor, "*shape"]:
    """PReLU: x where x > 0, slope x elsewhere; differentiable in x.

    The slope broadcasts to x from the right, as in ONNX; one slope a channel (shape `channel 1 1`) is the fast case.
    """
    if x.ndim == 4 and slope.shape == (x.shape[1], 1, 1):
        if x.device.type == "cuda" or not (x.requires_grad or slope.requires_grad):
            return functional.prelu(x, slope.flatten())
        if not slope.requires_grad:
            return _ChannelPrelu.apply(x, slope)
    return torch.where(x > 0, x, slope * x)
