"""Vertex normals: the cross products of the adjacent triangles summed, so weighted by area, then normalised."""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from ops.geometry.per_image import (
    check_shape,
    check_triangles,
    float32_array,
    for_each_image,
    image_kernel,
    int32_array,
)


def vertex_normals(
    vertices: Float[Tensor, "image vertex 3"], triangles: Int32[Tensor, "triangle 3"]
) -> Float[Tensor, "image vertex 3"]:
    """Unit normals, outwards where triangles run anticlockwise seen from outside; differentiable.

    A vertex without a triangle of positive area has a zero normal and passes no gradient; a triangle with a corner that
    is not finite counts for nothing. Fused for float32 on the CPU.

    Raises:
        ValueError: a triangle names a vertex that does not exist, or the vertices are not points.
    """
    check_shape("vertices", vertices, None, None, 3)
    if vertices.device.type == "cpu" and vertices.dtype == torch.float32:
        check_triangles(triangles, vertices.shape[1])
        return _VertexNormals.apply(vertices, triangles)  # pyright: ignore[reportReturnType]
    return vertex_normals_plain(vertices, triangles)


def vertex_normals_plain(
    vertices: Float[Tensor, "image vertex 3"], triangles: Int32[Tensor, "triangle 3"]
) -> Float[Tensor, "image vertex 3"]:
    """`vertex_normals` written out in torch: any float type, any device."""
    corners = triangles.long()
    a, b, c = (vertices[:, corners[:, i]] for i in range(3))
    finite = (a + b + c).isfinite().all(-1, keepdim=True)
    e, f = (torch.where(finite, edge - a, torch.zeros_like(a)) for edge in (b, c))
    cross = torch.linalg.cross(e, f)
    total = torch.zeros_like(vertices)
    for i in range(3):
        total = total.index_add(1, corners[:, i], cross)
    squared = total.square().sum(-1, keepdim=True)
    has_normal = squared > 0
    length = torch.where(has_normal, squared, torch.ones_like(squared)).sqrt()
    return torch.where(has_normal, total / length, torch.zeros_like(total))


class _VertexNormals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, triangles: Tensor) -> Tensor:
        normals = torch.zeros_like(vertices, memory_format=torch.contiguous_format)
        lengths = vertices.new_empty(vertices.shape[:2])
        arrays = (float32_array(vertices), normals.numpy(), lengths.numpy())
        for_each_image(_normals, arrays, (int32_array(triangles),))
        ctx.save_for_backward(vertices, triangles, normals, lengths)
        return normals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        vertices, triangles, normals, lengths = ctx.saved_tensors
        vertices_grad = torch.zeros_like(vertices, memory_format=torch.contiguous_format)
        sum_grad = torch.empty_like(vertices_grad)
        inputs = (float32_array(vertices), normals.numpy(), lengths.numpy(), float32_array(grad))
        for_each_image(_normals_backward, (*inputs, sum_grad.numpy(), vertices_grad.numpy()), (int32_array(triangles),))
        return vertices_grad, None


@image_kernel
def _normals(
    vertices: NDArray[np.float32],
    normals: NDArray[np.float32],
    lengths: NDArray[np.float32],
    triangles: NDArray[np.int32],
) -> None:
    for t in range(len(triangles)):
        a, b, c = vertices[triangles[t, 0]], vertices[triangles[t, 1]], vertices[triangles[t, 2]]
        ex, ey, ez = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        fx, fy, fz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        x, y, z = ey * fz - ez * fy, ez * fx - ex * fz, ex * fy - ey * fx
        if math.isfinite(x + y + z):
            for i in range(3):
                normal = normals[triangles[t, i]]
                normal[0] += x
                normal[1] += y
                normal[2] += z
    for k in range(len(vertices)):
        x, y, z = np.float64(normals[k, 0]), np.float64(normals[k, 1]), np.float64(normals[k, 2])
        length = math.sqrt(x * x + y * y + z * z)
        lengths[k] = length
        if length > 0.0:
            normals[k, 0], normals[k, 1], normals[k, 2] = x / length, y / length, z / length


@image_kernel
def _normals_backward(
    vertices: NDArray[np.float32],
    normals: NDArray[np.float32],
    lengths: NDArray[np.float32],
    grad: NDArray[np.float32],
    sum_grad: NDArray[np.float32],
    vertices_grad: NDArray[np.float32],
    triangles: NDArray[np.int32],
) -> None:
    """Through n = s / |s| into each vertex' sum s, then through the cross products e x f of the triangles.

    With g the gradient of a cross product, the edges e = b - a and f = c - a receive f x g and g x e.
    """
    for k in range(len(vertices)):
        n, g, s = normals[k], grad[k], sum_grad[k]
        inverse = 1.0 / lengths[k] if lengths[k] > 0.0 else 0.0
        along = n[0] * g[0] + n[1] * g[1] + n[2] * g[2]
        for axis in range(3):
            s[axis] = (g[axis] - n[axis] * along) * inverse
    for t in range(len(triangles)):
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        s0, s1, s2 = sum_grad[i0], sum_grad[i1], sum_grad[i2]
        gx, gy, gz = s0[0] + s1[0] + s2[0], s0[1] + s1[1] + s2[1], s0[2] + s1[2] + s2[2]
        if gx == 0.0 and gy == 0.0 and gz == 0.0:
            continue
        a, b, c = vertices[i0], vertices[i1], vertices[i2]
        ex, ey, ez = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        fx, fy, fz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        if not math.isfinite(ex + ey + ez + fx + fy + fz):
            continue
        bx, by, bz = fy * gz - fz * gy, fz * gx - fx * gz, fx * gy - fy * gx
        cx, cy, cz = gy * ez - gz * ey, gz * ex - gx * ez, gx * ey - gy * ex
        ga, gb, gc = vertices_grad[i0], vertices_grad[i1], vertices_grad[i2]
        ga[0], ga[1], ga[2] = ga[0] - bx - cx, ga[1] - by - cy, ga[2] - bz - cz
        gb[0], gb[1], gb[2] = gb[0] + bx, gb[1] + by, gb[2] + bz
        gc[0], gc[1], gc[2] = gc[0] + cx, gc[1] + cy, gc[2] + cz
