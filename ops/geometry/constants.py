"""Constant tensors that are made once for a device: making one on a GPU costs a copy that the host waits for."""

from functools import cache

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor


def constant_like(values: tuple[float, ...], like: Float[Tensor, "..."]) -> Float[Tensor, " value"]:
    """The numbers with the type and on the device of another tensor; not to be written to."""
    return _constant(values, like.dtype, like.device)


def constant_index(values: tuple[int, ...], like: Shaped[Tensor, "..."]) -> Int64[Tensor, " index"]:
    """Indices on the device of another tensor; not to be written to."""
    return _constant(values, torch.int64, like.device)


@cache
def _constant(values: tuple[float | int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)
