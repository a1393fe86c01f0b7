"""68 landmarks of a textured scan without annotations: found in rendered views, lifted to the surface."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from ops.errors import GeometryError
from ops.geometry.mesh import Mesh

YAWS_DEG = (-20.0, -10.0, 0.0, 10.0, 20.0)
VIEW_SIDE_PX = 768
FOCAL = 3.6
DISTANCE = 2.2
"""Of the camera from the centre of the scan, against the scan's largest extent."""
JAW_POINTS = 17
"""The first landmarks follow the outline of the view, which is no fixed place on a surface: they stay unknown."""
MIN_VIEWS = 2

FindLandmarks = Callable[[UInt8[np.ndarray, "height width 3"]], Float[np.ndarray, "68 2"] | None]
"""Pixel positions (x right, y down, pixel centres at +0.5) of the best face of an RGB image; None without a face."""


class TexturedScan(NamedTuple):
    """A mesh with a texture coordinate a vertex (origin bottom left) and its picture (row 0 on top)."""

    mesh: Mesh
    uv: Float[np.ndarray, "vertex 2"]
    texture_rgb: UInt8[np.ndarray, "row column 3"]


class View(NamedTuple):
    """A picture of a scan, and the surface point behind every pixel (NaN where there is none)."""

    image: UInt8[np.ndarray, "height width 3"]
    points: Float[np.ndarray, "height width 3"]


def annotate_scan(
    scan: TexturedScan, find_landmarks: FindLandmarks, yaws_deg: Sequence[float] = YAWS_DEG
) -> Float[np.ndarray, "68 3"]:
    """Median over views of the landmarks lifted to the surface, in the scan's unit; jaw points are NaN.

    The scan must be upright, y up, and look along +z.

    Raises:
        GeometryError: a face is found in fewer than two views.
    """
    scene = RayScene(scan.mesh)
    lifted: list[Float[np.ndarray, "68 3"]] = []
    for yaw in yaws_deg:
        view = render_view(scan, yaw, scene)
        pixels = find_landmarks(view.image)
        if pixels is not None:
            lifted.append(_lift(view, pixels))
    if len(lifted) < MIN_VIEWS:
        raise GeometryError(
            f"a face was found in {len(lifted)} of {len(yaws_deg)} rendered views, expected at least {MIN_VIEWS}: is "
            "the scan upright, facing +z, and textured?"
        )
    stack = np.stack(lifted)
    known = np.isfinite(stack.sum(-1)).sum(0) >= MIN_VIEWS
    known[:JAW_POINTS] = False
    result = np.full((stack.shape[1], 3), np.nan)
    result[known] = np.nanmedian(stack[:, known], axis=0)
    return result


def render_view(scan: TexturedScan, yaw_deg: float, scene: "RayScene | None" = None) -> View:
    """The scan by its texture alone, from the front turned by `yaw_deg` towards +x, before mid grey."""
    scene = RayScene(scan.mesh) if scene is None else scene
    vertices = scan.mesh.vertices
    low, high = vertices.min(0), vertices.max(0)
    angle = np.radians(yaw_deg)
    backward, up = np.array([np.sin(angle), 0.0, np.cos(angle)]), np.array([0.0, 1.0, 0.0])
    eye = (low + high) / 2 + DISTANCE * (high - low).max() * backward
    grid = (np.arange(VIEW_SIDE_PX) + 0.5) / VIEW_SIDE_PX * 2 - 1
    x, y = np.meshgrid(grid, -grid)
    directions = (x[..., None] * np.cross(up, backward) + y[..., None] * up) / FOCAL - backward
    rays = np.concatenate((np.broadcast_to(eye, directions.shape), directions), -1).astype(np.float32)
    hit = scene.cast(rays)
    corners = scan.mesh.triangles[hit.triangle]
    image = np.full((*hit.seen.shape, 3), 128, dtype=np.uint8)
    image[hit.seen] = _sample(scan.texture_rgb, np.einsum("pk,pkc->pc", hit.barycentric, scan.uv[corners]))
    points = np.full((*hit.seen.shape, 3), np.nan)
    points[hit.seen] = np.einsum("pk,pkc->pc", hit.barycentric, vertices[corners])
    return View(image, points)


class Hits(NamedTuple):
    """Which rays meet the mesh first, and where: triangles and weights of their corners, in the order of the rays."""

    seen: Bool[np.ndarray, "height width"]
    triangle: Int[np.ndarray, " hit"]
    barycentric: Float[np.ndarray, "hit 3"]


class RayScene:
    """Embree's ray casting over one mesh."""

    def __init__(self, mesh: Mesh) -> None:
        import open3d

        tensor: Any = open3d.core.Tensor
        scene: Any = open3d.t.geometry.RaycastingScene(nthreads=1)
        scene.add_triangles(tensor(mesh.vertices.astype(np.float32)), tensor(mesh.triangles.astype(np.uint32)))
        self._tensor, self._scene = tensor, scene

    def cast(self, rays: Float[np.ndarray, "height width 6"]) -> Hits:
        """The first hit of every ray (origin, direction)."""
        cast = self._scene.cast_rays(self._tensor(rays), nthreads=1)
        seen = np.isfinite(cast["t_hit"].numpy())
        second = cast["primitive_uvs"].numpy()[seen].astype(np.float64)
        weights = np.concatenate((1 - second.sum(1, keepdims=True), second), 1)
        return Hits(seen, cast["primitive_ids"].numpy()[seen].astype(np.int64), weights)


def _sample(texture: UInt8[np.ndarray, "row column 3"], uv: Float[np.ndarray, "n 2"]) -> UInt8[np.ndarray, "n 3"]:
    rows, columns = texture.shape[:2]
    row = np.clip(((1 - uv[:, 1]) * rows).astype(np.int64), 0, rows - 1)
    column = np.clip((uv[:, 0] * columns).astype(np.int64), 0, columns - 1)
    return texture[row, column]


def _lift(view: View, pixels: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, "68 3"]:
    side = len(view.points)
    column, row = np.clip(np.floor(pixels), 0, side - 1).astype(np.int64).T
    return view.points[row, column]
