"""Shape, texture, camera and light to an image: project, rasterise, shade."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from ops.geometry.camera import Camera
from ops.geometry.projection import clip_from_world
from ops.geometry.topology import Topology
from ops.render.backend import Backend, select_backend
from ops.render.lighting import Light
from ops.render.rasterize import RasterizerName
from ops.render.shading import PhongMaterial, Scene

__all__ = ["PhongMaterial", "Render", "SurfaceView", "Topology", "join_views", "render", "view_surface"]

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
    view = view_surface(
        topology, vertices_mm, camera, resolution, image_from_normalised=image_from_normalised, rasterizer=rasterizer
    )
    return view.shade(texture, light, material)


class SurfaceView(NamedTuple):
    """Surfaces as cameras see them, to be shaded with any textures and lights."""

    backend: Backend
    topology: Topology
    vertices_mm: Float[Tensor, "image vertex 3"]
    normals: Float[Tensor, "image vertex 3"]
    pixels: Float[Tensor, "image height width 4"]
    eye_mm: Float[Tensor, "image 3"]

    def shade(
        self,
        texture: Float[Tensor, "image 3 texture_height texture_width"],
        light: Light,
        material: PhongMaterial = _SKIN,
    ) -> Render:
        """The images with a texture and a light each."""
        scene = Scene(self.eye_mm, light)
        image = self.backend.shade(self.pixels, self.topology, self.vertices_mm, self.normals, texture, scene, material)
        triangle = self.pixels[..., 3].detach().int() - 1
        return Render(image, triangle >= 0, triangle)


def view_surface(
    topology: Topology,
    vertices_mm: Float[Tensor, "image vertex 3"],
    camera: Camera,
    resolution: int,
    *,
    image_from_normalised: Float[Tensor, "image 2 3"] | None = None,
    rasterizer: RasterizerName = "warp",
) -> SurfaceView:
    """What `render` shades: project and rasterise once, for pictures that differ in texture and light alone."""
    backend = select_backend(vertices_mm.device, vertices_mm.dtype, rasterizer)
    clip = backend.transform(clip_from_world(camera, image_from_normalised), vertices_mm)
    pixels = backend.rasterize(clip, topology.triangles, resolution, resolution)
    normals = backend.normals(vertices_mm, topology.triangles)
    return SurfaceView(backend, topology, vertices_mm, normals, pixels, camera.eye_mm)


def join_views(views: Sequence[SurfaceView]) -> SurfaceView:
    """Views of one topology as those of one batch."""
    first = views[0]
    columns = zip(*((view.vertices_mm, view.normals, view.pixels, view.eye_mm) for view in views), strict=True)
    return SurfaceView(first.backend, first.topology, *(torch.cat(column) for column in columns))
