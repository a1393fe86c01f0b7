"""The operators with their gradients, under the names and shapes of the CPU's renderer."""

from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor
from torch.autograd.function import once_differentiable

from ops.geometry.topology import Topology
from ops.render.shading import PhongMaterial, Scene
from ops.render.warp import operators as _  # noqa: F401 - registers torch.ops.ganfit

_OPS: Any = torch.ops.ganfit


def transform_points_warp(
    matrix: Float[Tensor, "image 4 4"], points: Float[Tensor, "image point 3"]
) -> Float[Tensor, "image point 4"]:
    """`ops.geometry.projection.transform_points_plain` for float32, the sums in float64."""
    return _Transform.apply(matrix.contiguous(), points.contiguous())  # pyright: ignore[reportReturnType]


def vertex_normals_warp(
    vertices: Float[Tensor, "image vertex 3"], triangles: Int32[Tensor, "triangle 3"]
) -> Float[Tensor, "image vertex 3"]:
    """`ops.geometry.mesh_normals.vertex_normals` for float32."""
    return _VertexNormals.apply(vertices.contiguous(), triangles.contiguous())  # pyright: ignore[reportReturnType]


def rasterize_warp(
    clip: Float[Tensor, "image vertex 4"], triangles: Int32[Tensor, "triangle 3"], height: int, width: int
) -> Float[Tensor, "image height width 4"]:
    """The rasteriser of `ops.render.rasterize.interface`; of two equally near triangles the first is seen."""
    return _Rasterize.apply(clip.contiguous(), triangles.contiguous(), height, width)  # pyright: ignore[reportReturnType]


def shade_warp(
    pixels: Float[Tensor, "image height width 4"],
    topology: Topology,
    vertices_mm: Float[Tensor, "image vertex 3"],
    normals: Float[Tensor, "image vertex 3"],
    texture: Float[Tensor, "image 3 texture_height texture_width"],
    scene: Scene,
    material: PhongMaterial,
) -> Float[Tensor, "image 3 height width"]:
    """`ops.render.shading.shade_plain` for float32, fused."""
    light = scene.light
    packed = torch.stack((scene.eye_mm, light.position_mm, light.colour, light.ambient), -2)
    # Every row of an image has its own copy: threads that add to one gradient wait for each other.
    rows = packed.unsqueeze(1).expand(-1, pixels.shape[1], -1, -1)
    inputs = (pixels.contiguous(), vertices_mm.contiguous(), normals.contiguous(), texture.contiguous())
    return _Shade.apply(*inputs, rows.contiguous(), topology, material)  # pyright: ignore[reportReturnType]


class _Transform(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, points: Tensor) -> Tensor:
        ctx.save_for_backward(matrix, points)
        return _OPS.transform_points(matrix, points)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        matrix, points = ctx.saved_tensors
        matrix_grad = None
        if ctx.needs_input_grad[0]:
            matrix_grad = torch.cat((grad.mT @ points, grad.sum(1).unsqueeze(-1)), -1)
        return matrix_grad, _OPS.transform_points_backward(matrix, grad.contiguous())


class _VertexNormals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, triangles: Tensor) -> Tensor:
        normals, lengths = _OPS.vertex_normals(vertices, triangles)
        ctx.save_for_backward(vertices, triangles, normals, lengths)
        return normals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _OPS.vertex_normals_backward(*ctx.saved_tensors, grad.contiguous()), None


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, clip: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
        pixels = _OPS.rasterize(clip, triangles, height, width)
        ctx.save_for_backward(clip, triangles, pixels)
        return pixels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _OPS.rasterize_backward(*ctx.saved_tensors, grad.contiguous()), None, None, None


class _Shade(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pixels: Tensor,
        vertices: Tensor,
        normals: Tensor,
        texture: Tensor,
        scene: Tensor,
        topology: Topology,
        material: PhongMaterial,
    ) -> Tensor:
        mesh = (topology.triangles, topology.uv_triangles, topology.uv)
        inputs = (pixels, vertices, normals, texture, scene, *mesh)
        shaded = _OPS.shade(*inputs, material.specular, material.shininess)
        ctx.save_for_backward(*inputs, shaded)
        ctx.material = material
        return shaded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *inputs, shaded = ctx.saved_tensors
        material = ctx.material
        grads = _OPS.shade_backward(*inputs, material.specular, material.shininess, shaded, grad.contiguous())
        return (*grads, None, None)
