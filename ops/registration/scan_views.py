"""Pictures of meshes with colours or textures: posed, lit, from a pinhole camera; on the CPU by ray casting."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from ops.geometry.mesh import Mesh
from ops.registration.annotation import RayScene
from ops.registration.surface import vertex_normals

SUPERSAMPLING = 2
"""Rays along each edge of a pixel."""
BACKGROUND = 0.5
FIELD = 1.25
"""Side of the picture over the extent of the mesh at its centre's distance."""

ColourAt = Callable[
    [Int[np.ndarray, " point"], Float[np.ndarray, "point 3"]],
    Float[np.ndarray, "point 3"],
]
"""Colours in [0, 1] at places of a mesh: triangles and barycentric weights of their corners."""


@dataclass(frozen=True, kw_only=True)
class ViewSettings:
    """One picture: how the head is turned, how far the camera is, and where the light comes from."""

    yaw_deg: float = 0.0
    """The camera goes so far towards the mesh's +x."""
    pitch_deg: float = 0.0
    """Upwards."""
    focal: float = 4.0
    """Focal length over the width of the picture; shorter ones come nearer and distort more."""
    light_yaw_deg: float = 0.0
    light_pitch_deg: float = 30.0
    ambient: float = 1.0
    """Share of the light that comes from everywhere; 1 shows the colours alone."""
    side_px: int = 512


def draw_view(
    mesh: Mesh, colour_at: ColourAt, settings: ViewSettings, extent: float, centre: Float[np.ndarray, "3"]
) -> UInt8[np.ndarray, "side side 3"]:
    """Draw a mesh that stands upright (y up) and looks along +z.

    The picture spans `FIELD` times the extent at the distance of the centre; both are in the unit of the mesh.
    """
    yaw, pitch = np.deg2rad((settings.yaw_deg, settings.pitch_deg))
    backward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    up = np.cross(backward, right)
    fine = settings.side_px * SUPERSAMPLING
    grid = ((np.arange(fine) + 0.5) / fine - 0.5) / settings.focal
    x, y = np.meshgrid(grid, -grid)
    directions = x[..., None] * right + y[..., None] * up - backward
    eye = centre + settings.focal * FIELD * extent * backward
    rays = np.concatenate((np.broadcast_to(eye, directions.shape), directions), -1).astype(np.float32)
    hit = RayScene(mesh).cast(rays)
    colours = colour_at(hit.triangle, hit.barycentric)
    if settings.ambient < 1:
        corners = mesh.triangles[hit.triangle]
        normals = (vertex_normals(mesh)[corners] * hit.barycentric[..., None]).sum(1)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        side, height = np.deg2rad((settings.light_yaw_deg, settings.light_pitch_deg))
        light = np.array([np.sin(side) * np.cos(height), np.sin(height), np.cos(side) * np.cos(height)])
        shade = settings.ambient + (1 - settings.ambient) * np.maximum(normals @ light, 0.0)
        colours = colours * shade[:, None]
    image = np.full((fine, fine, 3), BACKGROUND)
    image[hit.seen] = colours
    small = image.reshape(settings.side_px, SUPERSAMPLING, settings.side_px, SUPERSAMPLING, 3).mean((1, 3))
    return (small.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def texture_colours(
    triangles: Int[np.ndarray, "triangle 3"],
    uv: Float[np.ndarray, "vertex 2"],
    texture_rgb: UInt8[np.ndarray, "row column 3"],
) -> ColourAt:
    """Bilinear colours of a texture; coordinates have their origin bottom left."""
    rows, columns = texture_rgb.shape[:2]

    def at(triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
        place = (uv[triangles[triangle]] * weights[..., None]).sum(1)
        row = np.clip((1 - place[:, 1]) * rows - 0.5, 0, rows - 1)
        column = np.clip(place[:, 0] * columns - 0.5, 0, columns - 1)
        top, left = np.floor(row).astype(int), np.floor(column).astype(int)
        down, across = (row - top)[:, None], (column - left)[:, None]
        bottom, right = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
        upper = texture_rgb[top, left] * (1 - across) + texture_rgb[top, right] * across
        lower = texture_rgb[bottom, left] * (1 - across) + texture_rgb[bottom, right] * across
        return (upper * (1 - down) + lower * down) / 255

    return at


def vertex_colours(triangles: Int[np.ndarray, "triangle 3"], colours: Float[np.ndarray, "vertex 3"]) -> ColourAt:
    """Colours of the vertices, linear between them."""

    def at(triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return (colours[triangles[triangle]] * weights[..., None]).sum(1)

    return at
