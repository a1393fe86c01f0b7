"""Declaring kernels of NVIDIA Warp and launching them on torch tensors.

Warp compiles a module of kernels for a device at its first launch there and keeps the machine code on disk.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import warp as wp
from jaxtyping import Shaped
from torch import Tensor

wp.config.log_level = wp.LOG_ERROR
wp.init()


def kernel(function: Callable[..., Any]) -> Any:
    """Declare a kernel without a derivative."""
    return wp.kernel(function, enable_backward=False)


def view(tensor: Shaped[Tensor, "..."], dtype: Any = None) -> Any:
    """The tensor's memory as an array of numbers, or of the vectors in its last axis."""
    return wp.from_torch(tensor.detach(), dtype=dtype, requires_grad=False)


def launch(
    function: Any,
    size: int | Sequence[int],
    inputs: Sequence[Any],
    outputs: Sequence[Any] = (),
    *,
    device: torch.device,
    **adjoint: Any,
) -> None:
    """Run a kernel over a grid, in the order of torch's current stream on the device."""
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    target = None if stream is not None else wp.device_from_torch(device)
    wp.launch(
        function,
        dim=size,
        inputs=inputs,
        outputs=outputs,
        device=target,
        stream=stream,
        record_tape=False,
        **adjoint,
    )
