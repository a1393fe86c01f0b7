"""A stand-in for `nvdiffrast.torch` on the pretended device, written from its public documentation alone.

Documented: OpenGL's clip space; a pixel is (u, v of corners 0 and 1, z / w, triangle + 1), all zero where nothing is
seen; row 0 is the bottom row; `pos` is contiguous float32 [image, vertex, 4] and `tri` contiguous int32 [triangle, 3]
on the device; the second output holds derivatives of (u, v); z / w passes no gradient; u and v lie in [0, 1].

Visibility is brute force over the triangles' boxes in float64 and the weights are the textbook formula, so that
gradients come from autograd: nothing is shared with the project's rasterisers.
"""

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from tests.support.pretended_cuda import CudaTensor, PretendedCuda, running


class RasterizeCudaContext:
    def __init__(self, device: torch.device | None = None) -> None:
        assert device is None or torch.device(device).type == "cuda", device


def rasterize(
    glctx: RasterizeCudaContext, pos: Tensor, tri: Tensor, resolution: Any, ranges: Any = None, grad_db: bool = True
) -> tuple[Tensor, Tensor]:
    assert isinstance(glctx, RasterizeCudaContext)
    assert pos.device.type == "cuda", "expected vertices in GPU memory"
    assert tri.device == pos.device, "expected triangles in GPU memory"
    assert (pos.dtype, tri.dtype) == (torch.float32, torch.int32)
    assert pos.is_contiguous(), "expected contiguous vertices"
    assert tri.is_contiguous(), "expected contiguous triangles"
    assert pos.dim() == 3 and pos.shape[-1] == 4 and tri.dim() == 2 and tri.shape[1] == 3  # noqa: PT018
    assert pos.numel() > 0 and tri.numel() > 0 and ranges is None  # noqa: PT018
    height, width = (int(side) for side in tuple(resolution))
    pixels = _Rasterize.apply(pos, tri, height, width)
    return pixels, torch.zeros_like(pixels) if grad_db else pixels.new_zeros(0)  # type: ignore[return-value]


@contextmanager
def installed() -> Iterator[None]:
    """Answer to `import nvdiffrast.torch`."""
    package, module = types.ModuleType("nvdiffrast"), types.ModuleType("nvdiffrast.torch")
    vars(module).update(RasterizeCudaContext=RasterizeCudaContext, rasterize=rasterize)
    vars(package).update(torch=module, __path__=[])
    sys.modules.update({"nvdiffrast": package, "nvdiffrast.torch": module})
    try:
        yield
    finally:
        del sys.modules["nvdiffrast"], sys.modules["nvdiffrast.torch"]


@contextmanager
def _not_counted() -> Iterator[PretendedCuda]:
    """What is computed here is no work of the project."""
    mode = running()
    mode.paused += 1
    try:
        yield mode
    finally:
        mode.paused -= 1


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pos: Tensor, tri: Tensor, height: int, width: int) -> Tensor:
        with _not_counted() as mode:
            ids = _see(pos, tri, height, width)
            out = _weights(pos, tri, ids, height, width)
        mode.kernels["nvdiffrast"] += 1
        mode.waits["nvdiffrast reads its counters back"] += 1
        ctx.save_for_backward(pos, tri, ids)
        ctx.size = height, width
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        pos, tri, ids = ctx.saved_tensors
        with _not_counted() as mode, torch.enable_grad():
            leaf = pos.detach().requires_grad_()
            (found,) = torch.autograd.grad(_weights(leaf, tri, ids, *ctx.size), leaf, grad)
        mode.kernels["nvdiffrast backward"] += 1
        return found, None, None, None


def _see(pos: Tensor, tri: Tensor, height: int, width: int) -> Tensor:
    assert isinstance(pos, CudaTensor)
    assert isinstance(tri, CudaTensor)
    values, corners = pos.inner.detach().double().numpy(), tri.inner.numpy()
    ids = np.zeros((len(values), height, width), np.int64)
    for image in range(len(values)):
        _draw(values[image], corners, ids[image])
    return torch.from_numpy(ids).to(pos.device)


@njit(cache=True)
def _draw(pos: NDArray[np.float64], tri: NDArray[np.int32], ids: NDArray[np.int64]) -> None:
    height, width = ids.shape
    depth = np.full((height, width), np.inf)
    x, y, z = np.empty(3), np.empty(3), np.empty(3)
    for t in range(tri.shape[0]):
        before = False
        for k in range(3):
            p = pos[tri[t, k]]
            before = before or not p[3] > 0
            x[k] = (p[0] / p[3] * 0.5 + 0.5) * width
            y[k] = (p[1] / p[3] * 0.5 + 0.5) * height
            z[k] = p[2] / p[3]
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        if before or area == 0 or not np.isfinite(area):
            continue
        for j in range(max(0, int(np.floor(y.min() - 0.5))), min(height, int(np.ceil(y.max() + 0.5)))):
            for i in range(max(0, int(np.floor(x.min() - 0.5))), min(width, int(np.ceil(x.max() + 0.5)))):
                cx, cy = i + 0.5, j + 0.5
                a = ((x[1] - cx) * (y[2] - cy) - (x[2] - cx) * (y[1] - cy)) / area
                b = ((x[2] - cx) * (y[0] - cy) - (x[0] - cx) * (y[2] - cy)) / area
                c = 1 - a - b
                nearness = a * z[0] + b * z[1] + c * z[2]
                if a >= 0 and b >= 0 and c >= 0 and -1 <= nearness <= 1 and nearness < depth[j, i]:
                    depth[j, i] = nearness
                    ids[j, i] = t + 1


def _weights(pos: Tensor, tri: Tensor, ids: Tensor, height: int, width: int) -> Tensor:
    seen = (ids > 0).unsqueeze(-1)
    image = torch.arange(len(pos), device=pos.device)[:, None, None, None]
    corner = pos[image, tri.long()[(ids - 1).clamp_min(0)]].double()
    # Where nothing is seen, a triangle that is not degenerate: no NaN must pass `where` backwards.
    some = torch.tensor(((0, 0, 0, 1), (1, 0, 0, 1), (0, 1, 0, 1)), dtype=torch.float64).to(pos.device)
    corner = torch.where(seen.unsqueeze(-1), corner, some)
    columns, rows = (torch.arange(side, device=pos.device).double() for side in (width, height))
    x = ((columns + 0.5) / width * 2 - 1)[None, None, :, None]
    y = ((rows + 0.5) / height * 2 - 1)[None, :, None, None]
    w = corner[..., 3]
    sx, sy = corner[..., 0] / w - x, corner[..., 1] / w - y
    areas = [sx[..., i] * sy[..., j] - sx[..., j] * sy[..., i] for i, j in ((1, 2), (2, 0), (0, 1))]
    screen = torch.stack(areas, -1)
    screen = screen / screen.sum(-1, keepdim=True)
    over_w = screen / w
    weights = (over_w / over_w.sum(-1, keepdim=True))[..., :2].clamp(0, 1)
    depth = (screen * (corner[..., 2] / w)).detach().sum(-1, keepdim=True)
    found = torch.cat((weights, depth, ids.unsqueeze(-1)), -1).to(pos.dtype)
    return torch.where(seen, found, torch.zeros_like(found)).contiguous()
