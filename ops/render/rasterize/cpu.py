"""The rasteriser on the CPU: one compiled pass over the triangles with a depth buffer, and its gradient.

Edge functions are those of homogeneous coordinates (Olano and Greer, "Triangle scan conversion using 2D homogeneous
coordinates", 1997), so a triangle that crosses the camera plane needs no clipping. With corners p_i = (x, y, w) and
the pixel P = (X, Y, 1): e_0 = det(P, p_1, p_2) and cyclically; the weights are e_i / (e_0 + e_1 + e_2). Products of two
float32 are exact in float64, so the two triangles at an edge see exactly opposite values of its edge function.
"""

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
    kernel_part,
)
from ops.render.rasterize.interface import TRIANGLE_LIMIT

_BOX_MARGIN_PX = 1e-6
"""Widens bounding boxes by more than the rounding of the projection; the edge functions decide."""


def rasterize_cpu(
    clip: Float[Tensor, "image vertex 4"], triangles: Int32[Tensor, "triangle 3"], height: int, width: int
) -> Float[Tensor, "image height width 4"]:
    """The rasteriser of the interface, for float32 on the CPU; of two equally near triangles the first is seen.

    Raises:
        TypeError: the tensors are not float32 and int32 on the CPU.
        ValueError: a triangle names a vertex that does not exist, or there are too many triangles.
    """
    check_shape("clip", clip, None, None, 4)
    check_triangles(triangles, clip.shape[1])
    if len(triangles) >= TRIANGLE_LIMIT:
        message = f"expected fewer than {TRIANGLE_LIMIT} triangles, got {len(triangles)}"
        raise ValueError(message)
    return _Rasterize.apply(clip, triangles, height, width)  # pyright: ignore[reportReturnType]


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, clip: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
        corners = float32_array(clip)
        pixels = clip.new_zeros(len(clip), height, width, 4)
        screen = np.empty((*corners.shape[:2], 2))
        for_each_image(_rasterize_image, (corners, screen, pixels.numpy()), (int32_array(triangles),))
        ctx.save_for_backward(clip, triangles, pixels)
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        clip, triangles, pixels = ctx.saved_tensors
        clip_grad = torch.zeros_like(clip, memory_format=torch.contiguous_format)
        arrays = (float32_array(clip), float32_array(pixels), float32_array(grad), clip_grad.numpy())
        for_each_image(_rasterize_image_backward, arrays, (int32_array(triangles),))
        return clip_grad, None, None, None


@kernel_part
def _project(clip: NDArray[np.float32], screen: NDArray[np.float64], height: int, width: int) -> None:
    """Pixel coordinates of every vertex; +inf for one before the near plane, NaN for one that is not finite."""
    for k in range(len(clip)):
        x, y, z, w = np.float64(clip[k, 0]), np.float64(clip[k, 1]), np.float64(clip[k, 2]), np.float64(clip[k, 3])
        if not math.isfinite(x + y + z + w):
            screen[k, 0] = math.nan
        elif z < -w or w <= 0.0:
            screen[k, 0] = math.inf
        else:
            screen[k, 0] = (0.5 + 0.5 * x / w) * width
            screen[k, 1] = (0.5 - 0.5 * y / w) * height


@kernel_part
def _visible_box(
    clip: NDArray[np.float32], corners: NDArray[np.int32], height: int, width: int
) -> tuple[float, float, float, float]:
    """Pixel bounds (x low, x high, y low, y high) of the part of a triangle behind the near plane; empty if none."""
    x_low, x_high, y_low, y_high = math.inf, -math.inf, math.inf, -math.inf
    for i in range(3):
        a, b = clip[corners[i]], clip[corners[(i + 1) % 3]]
        near_a, near_b = np.float64(a[2]) + a[3], np.float64(b[2]) + b[3]
        for end in range(2):
            # The corner itself where it is visible, and the point where its edge crosses the near plane.
            if (end == 0 and near_a < 0.0) or (end == 1 and (near_a < 0.0) == (near_b < 0.0)):
                continue
            t = near_a / (near_a - near_b) if end else 0.0
            x, y, w = (1.0 - t) * a[0] + t * b[0], (1.0 - t) * a[1] + t * b[1], (1.0 - t) * a[3] + t * b[3]
            if w <= 0.0:
                return 0.0, float(width), 0.0, float(height)
            x, y = (0.5 + 0.5 * x / w) * width, (0.5 - 0.5 * y / w) * height
            x_low, x_high, y_low, y_high = min(x_low, x), max(x_high, x), min(y_low, y), max(y_high, y)
    return x_low, x_high, y_low, y_high


@kernel_part
def _first_pixel(low: float, side: int) -> int:
    """The first pixel whose centre is not below `low`, within [0, side]."""
    return math.ceil(min(max(low - 0.5 - _BOX_MARGIN_PX, 0.0), float(side)))


@kernel_part
def _end_pixel(high: float, side: int) -> int:
    """One past the last pixel whose centre is not above `high`, within [0, side]."""
    return math.floor(min(max(high + 0.5 + _BOX_MARGIN_PX, 0.0), float(side)))


@kernel_part
def _inside(edge: float, a: float, b: float) -> bool:
    """Whether a pixel is on the inner side of an edge a X + b Y + c; on the edge itself one of both sides owns it."""
    return edge > 0.0 or (edge == 0.0 and (a > 0.0 or (a == 0.0 and b > 0.0)))


@image_kernel
def _rasterize_image(
    clip: NDArray[np.float32], screen: NDArray[np.float64], pixels: NDArray[np.float32], triangles: NDArray[np.int32]
) -> None:
    height, width = pixels.shape[0], pixels.shape[1]
    _project(clip, screen, height, width)
    for t in range(len(triangles)):
        i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, x1, x2 = screen[i0, 0], screen[i1, 0], screen[i2, 0]
        y0, y1, y2 = screen[i0, 1], screen[i1, 1], screen[i2, 1]
        total = x0 + x1 + x2
        if math.isnan(total):
            continue
        if total == math.inf:
            x_low, x_high, y_low, y_high = _visible_box(clip, triangles[t], height, width)
        else:
            x_low, x_high = min(x0, x1, x2), max(x0, x1, x2)
            y_low, y_high = min(y0, y1, y2), max(y0, y1, y2)
        column, column_end = _first_pixel(x_low, width), _end_pixel(x_high, width)
        row, row_end = _first_pixel(y_low, height), _end_pixel(y_high, height)
        if column < column_end and row < row_end:
            _draw_triangle(clip, pixels, t, triangles[t], (row, row_end, column, column_end))


@kernel_part
def _draw_triangle(
    clip: NDArray[np.float32],
    pixels: NDArray[np.float32],
    triangle: int,
    corners: NDArray[np.int32],
    box: tuple[int, int, int, int],
) -> None:
    """Write the triangle into the pixels of the box (rows, then columns, half-open) where it is the nearest so far."""
    p0, p1, p2 = clip[corners[0]], clip[corners[1]], clip[corners[2]]
    x0, y0, z0, w0 = np.float64(p0[0]), np.float64(p0[1]), np.float64(p0[2]), np.float64(p0[3])
    x1, y1, z1, w1 = np.float64(p1[0]), np.float64(p1[1]), np.float64(p1[2]), np.float64(p1[3])
    x2, y2, z2, w2 = np.float64(p2[0]), np.float64(p2[1]), np.float64(p2[2]), np.float64(p2[3])
    a0, b0, c0 = y1 * w2 - w1 * y2, w1 * x2 - x1 * w2, x1 * y2 - y1 * x2
    a1, b1, c1 = y2 * w0 - w2 * y0, w2 * x0 - x2 * w0, x2 * y0 - y2 * x0
    a2, b2, c2 = y0 * w1 - w0 * y1, w0 * x1 - x0 * w1, x0 * y1 - y0 * x1
    determinant = x0 * a0 + y0 * b0 + w0 * c0
    if determinant == 0.0:
        return
    if determinant < 0.0:
        a0, b0, c0, a1, b1, c1, a2, b2, c2 = -a0, -b0, -c0, -a1, -b1, -c1, -a2, -b2, -c2
    height, width = pixels.shape[0], pixels.shape[1]
    for row in range(box[0], box[1]):
        y = 1.0 - (2 * row + 1) / height
        for column in range(box[2], box[3]):
            x = (2 * column + 1) / width - 1.0
            e0, e1, e2 = a0 * x + (b0 * y + c0), a1 * x + (b1 * y + c1), a2 * x + (b2 * y + c2)
            if not (_inside(e0, a0, b0) and _inside(e1, a1, b1) and _inside(e2, a2, b2)):
                continue
            depth = np.float32((e0 * z0 + e1 * z1 + e2 * z2) / (e0 * w0 + e1 * w1 + e2 * w2))
            pixel = pixels[row, column]
            if -1.0 <= depth <= 1.0 and (pixel[3] == 0.0 or depth < pixel[2]):
                scale = 1.0 / (e0 + e1 + e2)
                pixel[0], pixel[1], pixel[2], pixel[3] = e0 * scale, e1 * scale, depth, triangle + 1


@image_kernel
def _rasterize_image_backward(
    clip: NDArray[np.float32],
    pixels: NDArray[np.float32],
    grad: NDArray[np.float32],
    clip_grad: NDArray[np.float32],
    triangles: NDArray[np.int32],
) -> None:
    """Add the gradient of u and v into the corners.

    With q_i = (x_i - X w_i, y_i - Y w_i) the weights b solve sum b_i q_i = 0 and sum b_i = 1. Differentiating that,
    M (du, dv) = -sum b_i dq_i with M = (q_0 - q_2, q_1 - q_2), so q_i receives b_i h where h = -M^-T (grad u, grad v).
    """
    height, width = pixels.shape[0], pixels.shape[1]
    for row in range(height):
        y = 1.0 - (2 * row + 1) / height
        for column in range(width):
            pixel = pixels[row, column]
            grad_u, grad_v = np.float64(grad[row, column, 0]), np.float64(grad[row, column, 1])
            if pixel[3] == 0.0 or (grad_u == 0.0 and grad_v == 0.0):
                continue
            x = (2 * column + 1) / width - 1.0
            t = int(pixel[3]) - 1
            i0, i1, i2 = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            p0, p1, p2 = clip[i0], clip[i1], clip[i2]
            x2, y2 = p2[0] - x * p2[3], p2[1] - y * p2[3]
            m00, m10 = p0[0] - x * p0[3] - x2, p0[1] - y * p0[3] - y2
            m01, m11 = p1[0] - x * p1[3] - x2, p1[1] - y * p1[3] - y2
            determinant = m00 * m11 - m01 * m10
            if determinant == 0.0:
                continue
            h_x = (m10 * grad_v - m11 * grad_u) / determinant
            h_y = (m01 * grad_u - m00 * grad_v) / determinant
            h_w = -(x * h_x + y * h_y)
            u, v = np.float64(pixel[0]), np.float64(pixel[1])
            corners, weights = (i0, i1, i2), (u, v, 1.0 - u - v)
            for i in range(3):
                corner_grad = clip_grad[corners[i]]
                corner_grad[0] += weights[i] * h_x
                corner_grad[1] += weights[i] * h_y
                corner_grad[3] += weights[i] * h_w
