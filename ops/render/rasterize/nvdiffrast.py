"""NVIDIA's nvdiffrast behind the common interface, for those who hold its licence."""

import functools
import importlib
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from ops.errors import ConfigurationError


def rasterize_nvdiffrast(
    clip: Float[Tensor, "image vertex 4"], triangles: Int32[Tensor, "triangle 3"], height: int, width: int
) -> Float[Tensor, "image height width 4"]:
    """The rasteriser of the interface, for float32 on a CUDA device.

    Raises:
        ConfigurationError: nvdiffrast is not installed, or the tensors are not on a CUDA device.
    """
    if clip.device.type != "cuda":
        message = f"nvdiffrast draws on CUDA devices only, got vertices on {clip.device}: use the CPU rasteriser"
        raise ConfigurationError(message)
    # A corner with w = 0 is not drawn; what nvdiffrast does with one that is not finite is not documented.
    corners = torch.where(clip.isfinite().all(-1, keepdim=True), clip, 0).float().contiguous()
    pixels, _ = _nvdiffrast().rasterize(
        _context(clip.device), corners, triangles.contiguous(), resolution=[height, width], grad_db=False
    )
    # nvdiffrast's row 0 is the bottom row.
    return pixels.flip(1).to(clip.dtype)


def _nvdiffrast() -> Any:
    try:
        return importlib.import_module("nvdiffrast.torch")
    except ImportError as error:
        message = (
            "the rasteriser nvdiffrast is not installed: docs/gpu.md says how it is built, and --rasterizer warp does "
            "without it"
        )
        raise ConfigurationError(message) from error


@functools.cache
def _context(device: torch.device) -> Any:
    """One rasteriser context per device: it owns buffers that are reused between calls."""
    return _nvdiffrast().RasterizeCudaContext(device=device)
