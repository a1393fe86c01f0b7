"""World to clip space as one matrix a camera, and its fused application to many vertices."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from ops.geometry.camera import FAR_MM, NEAR_MM, Camera, camera_from_world
from ops.geometry.per_image import check_shape, float32_array, for_each_image, image_kernel


def clip_from_world(
    camera: Camera, image_from_normalised: Float[Tensor, "*batch 2 3"] | None = None
) -> Float[Tensor, "*batch 4 4"]:
    """The matrix that takes homogeneous world points (mm) to the clip coordinates of `ops.geometry.camera.clip_points`.

    `image_from_normalised` moves the picture after the projection: an affine map of normalised image coordinates
    ([0, 1] over the image, y down). Being affine in (x / w, y / w) it is linear in (x, y, w).
    """
    rotation = camera_from_world(camera)
    translation = -(rotation * camera.eye_mm.unsqueeze(-2)).sum(-1)
    right, up, backward = torch.cat((rotation, translation.unsqueeze(-1)), -1).unbind(-2)
    focal = 2 * camera.focal.unsqueeze(-1)
    x, y, w = focal * right, focal * up, -backward
    unit = torch.zeros_like(w)
    unit[..., 3] = 1
    z = (w * (FAR_MM + NEAR_MM) - 2 * FAR_MM * NEAR_MM * unit) / (FAR_MM - NEAR_MM)
    if image_from_normalised is not None:
        # Normalised coordinates are ((1 + x / w) / 2, (1 - y / w) / 2).
        (xx, xy, x1), (yx, yy, y1) = (row.unsqueeze(-2).unbind(-1) for row in image_from_normalised.unbind(-2))
        x, y = xx * x - xy * y + (xx + xy + 2 * x1 - 1) * w, yy * y - yx * x + (1 - yx - yy - 2 * y1) * w
    return torch.stack((x, y, z, w), -2)


def transform_points_plain(
    matrix: Float[Tensor, "image 4 4"], points: Float[Tensor, "image point 3"]
) -> Float[Tensor, "image point 4"]:
    """Apply a homogeneous matrix to the points of each image."""
    return points @ matrix[..., :3].mT + matrix[..., 3].unsqueeze(-2)


def transform_points_cpu(
    matrix: Float[Tensor, "image 4 4"], points: Float[Tensor, "image point 3"]
) -> Float[Tensor, "image point 4"]:
    """`transform_points_plain` for float32 on the CPU; unlike a batched product, the same bits in every batch.

    Raises:
        TypeError: a tensor is not float32 on the CPU.
        ValueError: the shapes are not those of as many matrices as sets of points.
    """
    check_shape("points", points, None, None, 3)
    check_shape("matrix", matrix, len(points), 4, 4)
    return _Transform.apply(matrix, points)  # pyright: ignore[reportReturnType]


class _Transform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, points: Tensor) -> Tensor:
        transformed = points.new_empty(*points.shape[:2], 4)
        for_each_image(_transform, (float32_array(matrix), float32_array(points), transformed.numpy()))
        ctx.save_for_backward(matrix, points)
        return transformed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        matrix, points = ctx.saved_tensors
        matrix_grad = torch.empty_like(matrix, memory_format=torch.contiguous_format)
        points_grad = torch.empty_like(points, memory_format=torch.contiguous_format)
        inputs = (float32_array(matrix), float32_array(points), float32_array(grad))
        for_each_image(_transform_backward, (*inputs, matrix_grad.numpy(), points_grad.numpy()))
        return matrix_grad, points_grad


@image_kernel
def _transform(matrix: NDArray[np.float32], points: NDArray[np.float32], transformed: NDArray[np.float32]) -> None:
    for k in range(len(points)):
        x, y, z = np.float64(points[k, 0]), np.float64(points[k, 1]), np.float64(points[k, 2])
        for row in range(4):
            transformed[k, row] = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z + matrix[row, 3]


@image_kernel
def _transform_backward(
    matrix: NDArray[np.float32],
    points: NDArray[np.float32],
    grad: NDArray[np.float32],
    matrix_grad: NDArray[np.float32],
    points_grad: NDArray[np.float32],
) -> None:
    total = np.zeros((4, 4))
    for k in range(len(points)):
        x, y, z = 0.0, 0.0, 0.0
        for row in range(4):
            g = np.float64(grad[k, row])
            if g != 0.0:
                x, y, z = x + g * matrix[row, 0], y + g * matrix[row, 1], z + g * matrix[row, 2]
                total[row, 0] += g * points[k, 0]
                total[row, 1] += g * points[k, 1]
                total[row, 2] += g * points[k, 2]
                total[row, 3] += g
        points_grad[k, 0], points_grad[k, 1], points_grad[k, 2] = x, y, z
    for row in range(4):
        for column in range(4):
            matrix_grad[row, column] = total[row, column]
