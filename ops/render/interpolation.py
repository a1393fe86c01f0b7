"""Attributes of vertices at the pixels that a rasteriser found."""

import numpy as np
import torch
from jaxtyping import Float, Int32
from numpy.typing import NDArray
from torch import Tensor

from ops.geometry.per_image import (
    check_shape,
    check_triangles,
    float32_array,
    for_each_image,
    image_kernel,
    int32_array,
)


def interpolate_attributes(
    pixels: Float[Tensor, "image height width 4"],
    triangles: Int32[Tensor, "triangle 3"],
    attributes: Float[Tensor, "image vertex channel"],
) -> Float[Tensor, "image height width channel"]:
    """The weighted mean of the three corners' attributes at every pixel, zero where nothing is seen.

    `pixels` as `ops.render.rasterize.interface` has them. For float32 on the CPU; not differentiable.

    Raises:
        TypeError: a tensor is not float32 or int32 on the CPU.
        ValueError: the shapes do not fit each other, or a triangle names a vertex that does not exist.
    """
    check_shape("pixels", pixels, None, None, None, 4)
    check_shape("attributes", attributes, len(pixels), None, None)
    check_triangles(triangles, attributes.shape[1])
    found = torch.zeros(*pixels.shape[:3], attributes.shape[2])
    arrays = (float32_array(pixels), float32_array(attributes), found.numpy())
    for_each_image(_interpolate, arrays, (int32_array(triangles),))
    return found


@image_kernel
def _interpolate(
    pixels: NDArray[np.float32],
    attributes: NDArray[np.float32],
    found: NDArray[np.float32],
    triangles: NDArray[np.int32],
) -> None:
    channels = attributes.shape[1]
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            pixel = pixels[row, column]
            if pixel[3] == 0.0:
                continue
            corners = triangles[int(pixel[3]) - 1]
            u, v = pixel[0], pixel[1]
            a, b, c = attributes[corners[0]], attributes[corners[1]], attributes[corners[2]]
            for channel in range(channels):
                found[row, column, channel] = u * a[channel] + v * b[channel] + (1 - u - v) * c[channel]
