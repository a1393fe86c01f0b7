"""Scans of heads of the face world: another tessellation, noise, holes, a ragged border, and annotated landmarks.

Before noise every scanned point lies exactly on the head's triangles. The scanner looks from two sides at once, and
sees what is not turned away from both.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial import Delaunay, KDTree

from ops.face.landmark_parts import NOSE_TIP
from ops.face.morphable_model import MorphableModel
from ops.faceworld.head import SIDE
from ops.geometry.mesh import Mesh, submesh
from ops.geometry.rotation import rotation_from_euler
from ops.registration.surface import vertex_normals

CAMERA_DEG = 42.0
"""The two cameras stand at this angle to either side."""
GRAZING = 0.28
"""Least cosine between a normal and the direction to a camera that still gives points."""
RAGGEDNESS = 0.05
"""Standard deviation of that bound from point to point, smoothed over some spacings."""
REACH_MM = 132.0
"""Farthest point from the tip of the nose."""
JITTER = 0.22
"""Standard deviation of the lattice's disorder, in spacings."""
LONGEST_EDGE = 2.2
"""Longer edges of the tessellation, in spacings, are no surface."""


@dataclass(frozen=True, kw_only=True)
class ScannerSettings:
    """How well a scanner works and how carefully its scans are annotated."""

    spacing_mm: float = 1.6
    """Between neighbouring vertices, about."""
    noise_mm: float = 0.2
    """Standard deviation along the normal."""
    holes: int = 4
    hole_radius_mm: tuple[float, float] = (3.0, 7.0)
    annotation_mm: float = 0.8
    """Standard deviation of a landmark along each axis, before it is put onto the scan."""
    turn_deg: float = 6.0
    """Standard deviation of the head's rotation in the scanner, about each axis."""
    shift_mm: float = 30.0
    """Standard deviation of the head's place in the scanner, along each axis."""


class Scan(NamedTuple):
    """A scan in millimetres, in the scanner's frame: scanned = rotation @ head + translation_mm."""

    mesh: Mesh
    landmarks_mm: Float[np.ndarray, "68 3"]
    """As annotated: vertices of the scan near the true landmarks."""
    rotation: Float[np.ndarray, "3 3"]
    translation_mm: Float[np.ndarray, "3"]


def scan_head(
    model: MorphableModel,
    vertices_mm: Float[np.ndarray, "vertex 3"],
    seed: int | tuple[int, ...],
    settings: ScannerSettings | None = None,
) -> Scan:
    """Scan a head of the face world's topology; a function of its arguments."""
    settings = settings or ScannerSettings()
    rng = np.random.default_rng(seed)
    head = Mesh(vertices_mm, model.triangles.numpy())
    grid, triangles = _tessellate(rng, head.vertices, settings.spacing_mm)
    points = on_grid(head.vertices, grid)
    normals = on_grid(vertex_normals(head), grid)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    landmarks = head.vertices[model.landmarks.numpy()]
    seen = _seen(rng, points, normals, landmarks[NOSE_TIP])
    seen &= ~_holes(rng, points, seen, settings)
    noisy = points + normals * rng.normal(0, settings.noise_mm, (len(points), 1))
    scanned = _compact(submesh(Mesh(noisy, triangles), seen)[0])
    annotated = landmarks + rng.normal(0, settings.annotation_mm, landmarks.shape)
    annotated = scanned.vertices[KDTree(scanned.vertices).query(annotated)[1]]
    angles = torch.from_numpy(np.deg2rad(rng.normal(0, settings.turn_deg, 3)))
    rotation = rotation_from_euler(angles[0], angles[1], angles[2]).numpy()
    shift = rng.normal(0, settings.shift_mm, 3)
    moved = Mesh(scanned.vertices @ rotation.T + shift, scanned.triangles)
    return Scan(moved, annotated @ rotation.T + shift, rotation, shift)


def on_grid(values: Float[np.ndarray, "vertex 3"], grid: Float[np.ndarray, "point 2"]) -> Float[np.ndarray, "point 3"]:
    """Values at (row, column) places between the head's vertices, linear on each of its triangles."""
    cell = np.clip(np.floor(grid).astype(np.int64), 0, SIDE - 2)
    down, right = (grid - cell).T[..., None]
    corner = values.reshape(SIDE, SIDE, 3)
    row, column = cell.T
    a, c = corner[row, column], corner[row + 1, column + 1]
    lower = a * (1 - down) + corner[row + 1, column] * (down - right) + c * right
    upper = a * (1 - right) + corner[row, column + 1] * (right - down) + c * down
    return np.where(down >= right, lower, upper)


def _tessellate(
    rng: np.random.Generator, vertices: Float[np.ndarray, "vertex 3"], spacing: float
) -> tuple[Float[np.ndarray, "point 2"], np.ndarray]:
    """A disordered, turned hexagonal lattice over the unrolled head: (row, column) places and triangles."""
    corner = vertices.reshape(SIDE, SIDE, 3)
    middle = slice(SIDE // 4, 3 * SIDE // 4)
    across = np.linalg.norm(np.diff(corner, axis=1), axis=-1)[middle].mean(0)
    down = np.linalg.norm(np.diff(corner, axis=0), axis=-1)[:, middle].mean(1)
    column_mm, row_mm = (np.concatenate(([0.0], np.cumsum(steps))) for steps in (across, down))
    size = np.array([row_mm[-1], column_mm[-1]])
    count = int(np.hypot(*size) / spacing) + 2
    i, j = np.meshgrid(np.arange(-count, count), np.arange(-count, count))
    lattice = np.stack([(i + 0.5 * j).ravel(), (np.sqrt(0.75) * j).ravel()], 1) * spacing
    lattice += rng.normal(0, JITTER * spacing, lattice.shape)
    angle = rng.uniform(0, np.pi / 3)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    places = lattice @ turn.T + size / 2
    places = places[((places > 0) & (places < size)).all(1)]
    corners = Delaunay(places).simplices
    edges = np.linalg.norm(places[corners] - places[np.roll(corners, 1, axis=1)], axis=-1)
    # Delaunay triangles turn anticlockwise in (row, column), as the head's own do.
    triangles = corners[edges.max(1) < LONGEST_EDGE * spacing].astype(np.int32)
    rows = np.interp(places[:, 0], row_mm, np.arange(SIDE))
    return np.stack([rows, np.interp(places[:, 1], column_mm, np.arange(SIDE))], 1), triangles


def _seen(
    rng: np.random.Generator,
    points: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"],
    nose_tip: Float[np.ndarray, "3"],
) -> Bool[np.ndarray, " point"]:
    side = np.deg2rad(CAMERA_DEG)
    cameras = np.array([[np.sin(side), 0, np.cos(side)], [-np.sin(side), 0, np.cos(side)]])
    wave, phase = rng.normal(0, 1 / 6.0, (12, 3)), rng.uniform(0, 2 * np.pi, 12)
    ragged = np.cos(points @ wave.T + phase).mean(1) * RAGGEDNESS * np.sqrt(24)
    near = np.linalg.norm(points - nose_tip, axis=1) < REACH_MM * (1 + ragged)
    return ((normals @ cameras.T).max(1) > GRAZING + ragged) & near


def _holes(
    rng: np.random.Generator,
    points: Float[np.ndarray, "point 3"],
    seen: Bool[np.ndarray, " point"],
    settings: ScannerSettings,
) -> Bool[np.ndarray, " point"]:
    inside = np.zeros(len(points), bool)
    for centre in rng.choice(points[seen], settings.holes):
        inside |= np.linalg.norm(points - centre, axis=1) < rng.uniform(*settings.hole_radius_mm)
    return inside


def _compact(mesh: Mesh) -> Mesh:
    """Without vertices that no triangle names."""
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.triangles] = True
    return submesh(mesh, used)[0]
