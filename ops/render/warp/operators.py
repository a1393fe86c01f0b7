"""The kernels as torch operators `ganfit::*`, so that profilers and dispatch modes see one operator each.

All take and give contiguous float32 tensors and int32 triangles on one device. Indices are not checked.
"""

from collections.abc import Callable
from typing import Any

import torch
import warp as wp
from torch import Tensor

from ops.render.warp.launch import launch, view
from ops.render.warp.mesh_kernels import (
    normalise,
    normalise_backward,
    sum_normals,
    sum_normals_backward,
    transform,
    transform_backward,
)
from ops.render.warp.raster_kernels import clear, draw, resolve, resolve_backward
from ops.render.warp.shade_kernels import shade

_LIBRARY = torch.library.Library("ganfit", "DEF")


def _operator(schema: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the function as the operator of a schema, on every device."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _LIBRARY.define(schema)
        _LIBRARY.impl(schema.partition("(")[0], function, "CompositeExplicitAutograd")
        return function

    return register


@_operator("transform_points(Tensor matrix, Tensor points) -> Tensor")
def _transform_points(matrix: Tensor, points: Tensor) -> Tensor:
    transformed = points.new_empty(*points.shape[:2], 4)
    arrays = [view(matrix, wp.vec4), view(points, wp.vec3), view(transformed, wp.vec4)]
    launch(transform, points.shape[:2], arrays, device=points.device)
    return transformed


@_operator("transform_points_backward(Tensor matrix, Tensor grad) -> Tensor")
def _transform_points_backward(matrix: Tensor, grad: Tensor) -> Tensor:
    points_grad = grad.new_empty(*grad.shape[:2], 3)
    arrays = [view(matrix, wp.vec4), view(grad, wp.vec4), view(points_grad, wp.vec3)]
    launch(transform_backward, grad.shape[:2], arrays, device=grad.device)
    return points_grad


@_operator("vertex_normals(Tensor vertices, Tensor triangles) -> (Tensor, Tensor)")
def _vertex_normals(vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    normals, lengths = torch.zeros_like(vertices), vertices.new_empty(vertices.shape[:2])
    sums = view(normals, wp.vec3)
    grid = (len(vertices), len(triangles))
    launch(sum_normals, grid, [view(vertices, wp.vec3), view(triangles), sums], device=vertices.device)
    launch(normalise, vertices.shape[:2], [sums, view(lengths)], device=vertices.device)
    return normals, lengths


@_operator(
    "vertex_normals_backward(Tensor vertices, Tensor triangles, Tensor normals, Tensor lengths, Tensor grad) -> Tensor"
)
def _vertex_normals_backward(
    vertices: Tensor, triangles: Tensor, normals: Tensor, lengths: Tensor, grad: Tensor
) -> Tensor:
    sums_grad, vertices_grad = torch.empty_like(grad), torch.zeros_like(vertices)
    sums = view(sums_grad, wp.vec3)
    arrays = [view(normals, wp.vec3), view(lengths), view(grad, wp.vec3), sums]
    launch(normalise_backward, vertices.shape[:2], arrays, device=vertices.device)
    arrays = [view(vertices, wp.vec3), view(triangles), sums, view(vertices_grad, wp.vec3)]
    launch(sum_normals_backward, (len(vertices), len(triangles)), arrays, device=vertices.device)
    return vertices_grad


@_operator("rasterize(Tensor clip, Tensor triangles, int height, int width) -> Tensor")
def _rasterize(clip: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    grid = (len(clip), height, width)
    keys = torch.empty(grid, dtype=torch.int64, device=clip.device)
    pixels = clip.new_empty(*grid, 4)
    corners, indices, depths = view(clip, wp.vec4), view(triangles), view(keys, wp.uint64)
    launch(clear, grid, [depths], device=clip.device)
    launch(draw, (len(clip), len(triangles)), [corners, indices, depths], device=clip.device)
    launch(resolve, grid, [corners, indices, depths, view(pixels, wp.vec4)], device=clip.device)
    return pixels


@_operator("rasterize_backward(Tensor clip, Tensor triangles, Tensor pixels, Tensor grad) -> Tensor")
def _rasterize_backward(clip: Tensor, triangles: Tensor, pixels: Tensor, grad: Tensor) -> Tensor:
    clip_grad = torch.zeros_like(clip)
    arrays = [view(clip, wp.vec4), view(triangles), view(pixels, wp.vec4), view(grad, wp.vec4)]
    launch(resolve_backward, pixels.shape[:3], [*arrays, view(clip_grad, wp.vec4)], device=clip.device)
    return clip_grad


@_operator(
    "shade(Tensor pixels, Tensor vertices, Tensor normals, Tensor texture, Tensor scene, Tensor triangles, "
    "Tensor uv_triangles, Tensor uv, float specular, float shininess) -> Tensor"
)
def _shade(pixels: Tensor, *rest: Any) -> Tensor:
    images, height, width, _ = pixels.shape
    shaded = pixels.new_zeros(images, 3, height, width)
    launch(shade, (images, height, width), _shade_inputs(pixels, *rest), [view(shaded)], device=pixels.device)
    return shaded


@_operator(
    "shade_backward(Tensor pixels, Tensor vertices, Tensor normals, Tensor texture, Tensor scene, Tensor triangles, "
    "Tensor uv_triangles, Tensor uv, float specular, float shininess, Tensor shaded, Tensor grad) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
def _shade_backward(pixels: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    *values, shaded, grad = (pixels, *rest)
    grads = [torch.zeros_like(value) for value in values[:5]]
    images, height, width, _ = pixels.shape
    launch(
        shade,
        (images, height, width),
        _shade_inputs(*values),
        [view(shaded)],
        device=pixels.device,
        adj_inputs=[*_shade_tensors(*grads), None, None, None, values[8], values[9]],
        adj_outputs=[view(grad)],
        adjoint=True,
    )
    return tuple(grads)


def _shade_inputs(*values: Any) -> list[Any]:
    triangles, uv_triangles, uv, specular, shininess = values[5:10]
    return [*_shade_tensors(*values[:5]), view(triangles), view(uv_triangles), view(uv, wp.vec2), specular, shininess]


def _shade_tensors(pixels: Tensor, vertices: Tensor, normals: Tensor, texture: Tensor, scene: Tensor) -> list[Any]:
    return [
        view(pixels, wp.vec4),
        view(vertices, wp.vec3),
        view(normals, wp.vec3),
        view(texture),
        view(scene, wp.vec3),
    ]
