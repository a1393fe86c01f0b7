"""The rasteriser on CUDA devices: nvdiffrast behind the common interface."""

import functools
import importlib
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from ops.errors import ConfigurationError


def rasterize_cuda(
    clip: Float[Tensor, "image vertex 4"], triangles: Int32[Tensor, "triangle 3"], height: int, width: int
) -> Float[Tensor, "image height width 4"]:
    """The rasteriser of the interface, for float32 on a CUDA device.

    Raises:
        ConfigurationError: nvdiffrast is not installed, or the tensors are not on a CUDA device.
    """
    if clip.device.type != "cuda":
        message = f"nvdiffrast draws on CUDA devices only, got vertices on {clip.device}: use the CPU rasteriser"
        raise ConfigurationError(message)
    pixels, _ = _nvdiffrast().rasterize(
        _context(clip.device), clip.float().contiguous(), triangles.contiguous(), resolution=[height, width]
    )
    # nvdiffrast's row 0 is the bottom row.
    return pixels.flip(1).to(clip.dtype)


def _nvdiffrast() -> Any:
    try:
        return importlib.import_module("nvdiffrast.torch")
    except ImportError as error:
        message = (
            "rendering on a CUDA device needs nvdiffrast, which is not installed. Install it after torch with: "
            "pip install -e '.[gpu]' --no-build-isolation"
        )
        raise ConfigurationError(message) from error


@functools.cache
def _context(device: torch.device) -> Any:
    """One rasteriser context a device: it owns buffers that are reused between calls."""
    return _nvdiffrast().RasterizeCudaContext(device=device)
