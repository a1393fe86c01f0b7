"""Which implementation of the renderer's four steps a device takes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ops.errors import ConfigurationError
from ops.geometry.mesh_normals import vertex_normals, vertex_normals_plain
from ops.geometry.projection import transform_points_cpu, transform_points_plain
from ops.render.rasterize import Rasterizer, RasterizerName, select_rasterizer
from ops.render.shading import shade_plain
from ops.render.shading_cpu import shade_cpu


class Backend(NamedTuple):
    """The steps of a render; all implementations of a step have the same shapes and conventions."""

    transform: Callable[[Tensor, Tensor], Tensor]
    rasterize: Rasterizer
    normals: Callable[[Tensor, Tensor], Tensor]
    shade: Callable[..., Tensor]


def select_backend(device: torch.device, dtype: torch.dtype, rasterizer: RasterizerName = "warp") -> Backend:
    """Compiled kernels for float32, on the CPU or on CUDA; torch alone for float64.

    Raises:
        ConfigurationError: a CUDA device without NVIDIA Warp.
    """
    draw = select_rasterizer(device, dtype, rasterizer)
    if dtype != torch.float32:
        return Backend(transform_points_plain, draw, vertex_normals_plain, shade_plain)
    if device.type == "cpu":
        return Backend(transform_points_cpu, draw, vertex_normals, shade_cpu)
    try:
        from ops.render.warp.differentiable import shade_warp, transform_points_warp, vertex_normals_warp
    except ImportError as error:
        message = "rendering on a CUDA device needs NVIDIA Warp, which is not installed: pip install 'ganfit[gpu]'"
        raise ConfigurationError(message) from error
    return Backend(transform_points_warp, draw, vertex_normals_warp, shade_warp)
