"""Rasterisers: which triangle each pixel sees and where in it, behind one interface."""

import torch

from ops.render.rasterize.interface import Rasterizer


def select_rasterizer(device: torch.device, dtype: torch.dtype) -> Rasterizer:
    """The fastest rasteriser for tensors of this kind."""
    if device.type == "cuda":
        from ops.render.rasterize.cuda import rasterize_cuda

        return rasterize_cuda
    if dtype == torch.float32:
        from ops.render.rasterize.cpu import rasterize_cpu

        return rasterize_cpu
    from ops.render.rasterize.plain import rasterize_plain

    return rasterize_plain


__all__ = ["Rasterizer", "select_rasterizer"]
