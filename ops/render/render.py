"""Shape, texture, camera and light to an image: project, rasterise, shade."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int32
from torch import Tensor

from ops.geometry.camera import Camera
from ops.geometry.projection import clip_from_world
from ops.geometry.topology import Topology
from ops.render.backend import select_backend
from ops.render.lighting import Light
from ops.render.rasterize import RasterizerName
from ops.render.shading import PhongMaterial, Scene

__all__ = ["PhongMaterial", "Render", "Topology", "render"]

_SKIN = PhongMaterial()


class Render(NamedTuple):
    """An image and what is seen where.

    `image` is RGB, zero where nothing is seen, and not clipped: a bright light may exceed 1. `triangle` is -1 where
    nothing is seen.
    """

    image: Float[Tensor, "image 3 height width"]
    mask: Bool[Tensor, "image height width"]
    triangle: Int32[Tensor, "image height width"]


def render(
    topology: Topology,
    vertices_mm: Float[Tensor, "image vertex 3"],
    texture: Float[Tensor, "image 3 texture_height texture_width"],
    camera: Camera,
    light: Light,
    resolution: int,
    *,
    image_from_normalised: Float[Tensor, "image 2 3"] | None = None,
    material: PhongMaterial = _SKIN,
    rasterizer: RasterizerName = "warp",
) -> Render:
    """Render square images of `resolution` pixels a side, one sample a pixel.

    `image_from_normalised` is an affine map of normalised image coordinates ([0, 1] over the image, y down) applied
    after the projection, so that one renders straight into an aligned crop. Differentiable in vertices, texture,
    camera, light and that map, not through visibility. float32 takes compiled kernels, and on the CPU the result for
    an image does not depend on the rest of the batch; float64 takes the plain and slow way. `rasterizer` decides what
    draws on a CUDA device.

    Raises:
        TypeError: the vertices are float32 on the CPU and another input is not.
        ValueError: shapes do not fit each other or the topology names vertices that do not exist (on the CPU).
        ConfigurationError: on a CUDA device without NVIDIA Warp, or without nvdiffrast where it is asked for.
    """
    backend = select_backend(vertices_mm.device, vertices_mm.dtype, rasterizer)
    clip = backend.transform(clip_from_world(camera, image_from_normalised), vertices_mm)
    pixels = backend.rasterize(clip, topology.triangles, resolution, resolution)
    normals = backend.normals(vertices_mm, topology.triangles)
    scene = Scene(camera.eye_mm, light)
    image = backend.shade(pixels, topology, vertices_mm, normals, texture, scene, material)
    triangle = pixels[..., 3].detach().int() - 1
    return Render(image, triangle >= 0, triangle)
