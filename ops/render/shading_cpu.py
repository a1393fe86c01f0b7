"""`ops.render.shading` for float32 on the CPU: one compiled pass over the pixels forward, one backward.

The pass backward computes each pixel anew instead of storing what the pass forward knew, and adds into vertices, texels
and light in the order of the pixels, so sums do not depend on threads.
"""

from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from ops.geometry.per_image import check_shape, check_triangles, float32_array, for_each_image, int32_array
from ops.geometry.topology import Topology
from ops.render.shading import PhongMaterial, Scene
from ops.render.shading_kernels import shade_image, shade_image_backward


def shade_cpu(
    pixels: Float[Tensor, "image height width 4"],
    topology: Topology,
    vertices_mm: Float[Tensor, "image vertex 3"],
    normals: Float[Tensor, "image vertex 3"],
    texture: Float[Tensor, "image 3 texture_height texture_width"],
    scene: Scene,
    material: PhongMaterial,
) -> Float[Tensor, "image 3 height width"]:
    """The same as `shade_plain`, fused.

    Raises:
        TypeError: a tensor is not float32 on the CPU.
        ValueError: the shapes do not fit each other, or a triangle names a vertex that does not exist.
    """
    images, vertices = len(pixels), vertices_mm.shape[1]
    check_shape("pixels", pixels, None, None, None, 4)
    check_shape("vertices", vertices_mm, images, None, 3)
    check_shape("normals", normals, images, vertices, 3)
    check_shape("texture", texture, images, 3, None, None)
    check_triangles(topology.triangles, vertices)
    light = scene.light
    packed = torch.stack((scene.eye_mm, light.position_mm, light.colour, light.ambient), -2)
    check_shape("eye and light", packed, images, 4, 3)
    return _Shade.apply(pixels, vertices_mm, normals, texture, packed, topology, material)  # pyright: ignore[reportReturnType]


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
        images, height, width, _ = pixels.shape
        shaded = pixels.new_zeros(images, 3, height, width)
        inputs = (pixels, vertices, normals, texture, scene)
        arrays = [float32_array(tensor) for tensor in inputs]
        for_each_image(shade_image, (*arrays, shaded.numpy()), _shared(topology, material))
        ctx.save_for_backward(*inputs)
        ctx.topology, ctx.material = topology, material
        return shaded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        inputs = ctx.saved_tensors
        grads = [torch.zeros_like(tensor, memory_format=torch.contiguous_format) for tensor in inputs]
        arrays = [float32_array(tensor) for tensor in (*inputs, grad, *grads)]
        for_each_image(shade_image_backward, arrays, _shared(ctx.topology, ctx.material))
        return (*grads, None, None)


def _shared(topology: Topology, material: PhongMaterial) -> tuple[NDArray[Any] | float, ...]:
    return (
        int32_array(topology.triangles),
        int32_array(topology.uv_triangles),
        float32_array(topology.uv),
        float(material.specular),
        float(material.shininess),
    )
