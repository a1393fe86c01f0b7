"""Rasterisers: which triangle each pixel sees and where in it, behind one interface."""

from typing import Literal

import torch

from ops.render.rasterize.interface import Rasterizer

RasterizerName = Literal["warp", "nvdiffrast"]
"""What draws on CUDA devices: the project's own kernels, or NVIDIA's nvdiffrast where it is installed."""


def select_rasterizer(device: torch.device, dtype: torch.dtype, name: RasterizerName = "warp") -> Rasterizer:
    """The fastest rasteriser for tensors of this kind; `name` decides on CUDA devices."""
    if device.type == "cuda" and name == "nvdiffrast":
        from ops.render.rasterize.nvdiffrast import rasterize_nvdiffrast

        return rasterize_nvdiffrast
    if device.type == "cuda" and dtype == torch.float32:
        from ops.render.warp.differentiable import rasterize_warp

        return rasterize_warp
    if device.type == "cpu" and dtype == torch.float32:
        from ops.render.rasterize.cpu import rasterize_cpu

        return rasterize_cpu
    from ops.render.rasterize.plain import rasterize_plain

    return rasterize_plain


__all__ = ["Rasterizer", "RasterizerName", "select_rasterizer"]
