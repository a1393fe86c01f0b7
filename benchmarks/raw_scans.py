"""Raw scans whose true vertices are known, of any shape model: another tessellation, noise, holes, debris, units.

The person is drawn from the model and then displaced along the normals by a smooth field that the model does not know,
so that no prior made from the model holds the answer. The scanner looks from three sides; what is hidden or turned away
stays open.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import open3d
import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from ops.face.landmark_parts import NOSE_TIP
from ops.face.landmark_points import JAW
from ops.face.morphable_model import MorphableModel
from ops.faceworld.people import EXPRESSION_SCALE, sample_identity
from ops.geometry.mesh import Mesh, submesh
from ops.registration.closest_point import ClosestPointIndex
from ops.registration.surface import vertex_normals

CAMERAS_DEG = (-42.0, 0.0, 42.0)
GRAZING = 0.25
"""Least cosine between a normal and the direction to a camera that still gives points."""
HIDDEN_MM = 1.5
"""A point this far behind what a camera sees first is hidden."""
CAMERA_DISTANCE_MM = 900.0
WAVES = 24
UNITS_IN_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


class RawScan(NamedTuple):
    """What a registration gets, and the truth; the landmarks and the truth are in `mm_per_unit` millimetres."""

    mesh: Mesh
    landmarks: Float[np.ndarray, "68 3"]
    """NaN where nobody annotated."""
    truth_mm: Float[np.ndarray, "vertex 3"]
    """Every vertex of the whole model where it is on the scanned person, in the scanner's frame."""
    seen: str
    """What is difficult about it."""


@dataclass(frozen=True, kw_only=True)
class Difficulty:
    """From what a scan is drawn, uniformly where a range is given."""

    off_model_mm: float = 0.5
    """Root mean square of the displacement along the normals."""
    wavelength_mm: tuple[float, float] = (35.0, 130.0)
    size: tuple[float, float] = (0.93, 1.07)
    expression: float = 0.3
    """Of the expressions that are usual in photos: scans are meant to be neutral."""
    turn_deg: float = 25.0
    reach_mm: tuple[float, float] = (105.0, 135.0)
    spacing_mm: tuple[float, float] = (1.2, 2.2)
    noise_mm: tuple[float, float] = (0.1, 0.35)
    landmark_mm: tuple[float, float] = (0.7, 2.0)
    """Standard deviation along each axis; twice that on the jaw."""
    missing_landmarks: int = 6
    holes: int = 6
    hole_radius_mm: tuple[float, float] = (3.0, 10.0)
    debris: int = 40


def make_raw_scan(model: MorphableModel, seed: tuple[int, ...], difficulty: Difficulty | None = None) -> RawScan:
    """The scan of a seed."""
    drawn = difficulty or Difficulty()
    rng = np.random.default_rng(seed)
    person = _person(model, seed, rng, drawn)
    triangles = model.triangles.numpy()
    landmark_vertices = model.landmarks.numpy()
    person = person * rng.uniform(*drawn.size)
    turn = Rotation.from_rotvec(np.deg2rad(rng.normal(0, drawn.turn_deg, 3))).as_matrix()
    shift = rng.normal(0, 200.0, 3)
    surface, spacing = _scanned_surface(rng, Mesh(person, triangles), person[landmark_vertices[NOSE_TIP]], turn, drawn)
    noise = rng.uniform(*drawn.noise_mm)
    noisy = surface.vertices + vertex_normals(surface) * rng.normal(0, noise, (len(surface.vertices), 1))
    points = person[landmark_vertices]
    deviation = np.full((len(points), 1), rng.uniform(*drawn.landmark_mm))
    deviation[:JAW] *= 2
    annotated = points + rng.normal(0, 1, points.shape) * deviation
    annotated = noisy[KDTree(noisy).query(annotated)[1]]
    missing = int(rng.integers(0, drawn.missing_landmarks + 1))
    # Crops of the face need the nose tip: annotators do not forget it.
    annotated[rng.choice(np.delete(np.arange(len(points)), NOSE_TIP), missing, replace=False)] = np.nan
    mesh, pieces = _with_debris(rng, Mesh(noisy, surface.triangles), points[NOSE_TIP], drawn)
    unit = str(rng.choice(list(UNITS_IN_MM)))
    scan_unit = str(rng.choice(list(UNITS_IN_MM))) if rng.random() < 0.25 else unit
    turned = rng.random() < 0.15
    faces = np.ascontiguousarray(mesh.triangles[:, ::-1]) if turned else mesh.triangles
    placed = Mesh((mesh.vertices @ turn.T + shift) / UNITS_IN_MM[scan_unit], faces)
    return RawScan(
        placed,
        (annotated @ turn.T + shift) / UNITS_IN_MM[unit],
        person @ turn.T + shift,
        f"{len(faces)} triangles of {spacing:.1f} mm, noise {noise:.2f}, landmarks {deviation[-1, 0]:.1f} mm less "
        f"{missing}, {pieces} loose, in {scan_unit}" + (", inside out" if turned else ""),
    )


def _person(
    model: MorphableModel, seed: tuple[int, ...], rng: np.random.Generator, drawn: Difficulty
) -> Float[np.ndarray, "vertex 3"]:
    kind = model.metadata.expression_kind
    expression = rng.standard_normal(model.expression_size) * EXPRESSION_SCALE[kind] * drawn.expression
    if kind == "blendshape":
        expression = expression.clip(0, 1)
    vertices = model.vertices_mm(sample_identity(model, seed), torch.from_numpy(expression).float()).double().numpy()
    wave = rng.normal(size=(WAVES, 3))
    wave *= 2 * np.pi / rng.uniform(*drawn.wavelength_mm, (WAVES, 1)) / np.linalg.norm(wave, axis=1, keepdims=True)
    heights = np.cos(vertices @ wave.T + rng.uniform(0, 2 * np.pi, WAVES)).sum(1) * np.sqrt(2 / WAVES)
    normals = vertex_normals(Mesh(vertices, model.triangles.numpy()))
    return vertices + drawn.off_model_mm * heights[:, None] * normals


def _scanned_surface(
    rng: np.random.Generator,
    head: Mesh,
    nose_tip: Float[np.ndarray, "3"],
    turn: Float[np.ndarray, "3 3"],
    drawn: Difficulty,
) -> tuple[Mesh, float]:
    """What the cameras see of a head, in a tessellation of its own; its vertices lie on the head's triangles."""
    near = np.linalg.norm(head.vertices - nose_tip, axis=1) < rng.uniform(*drawn.reach_mm)
    fine, _ = submesh(head, near)
    spacing = rng.uniform(*drawn.spacing_mm)
    legacy = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(fine.vertices @ turn.T), open3d.utility.Vector3iVector(fine.triangles)
    )
    legacy = legacy.subdivide_midpoint(number_of_iterations=3)
    legacy = legacy.simplify_vertex_clustering(spacing, open3d.geometry.SimplificationContraction.Average)
    clustered = np.asarray(legacy.vertices) @ turn
    on_head = ClosestPointIndex(head).query(clustered).points
    mesh = Mesh(on_head, np.asarray(legacy.triangles, dtype=np.int32))
    seen = _seen(mesh, head, nose_tip)
    for centre in rng.choice(on_head[seen], int(rng.integers(0, drawn.holes + 1))):
        seen &= np.linalg.norm(on_head - centre, axis=1) > rng.uniform(*drawn.hole_radius_mm)
    return submesh(mesh, seen)[0], spacing


def _seen(mesh: Mesh, head: Mesh, nose_tip: Float[np.ndarray, "3"]) -> np.ndarray:
    """Vertices that face a camera with nothing in between."""
    tensor: Any = open3d.core.Tensor
    scene: Any = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(tensor(head.vertices.astype(np.float32)), tensor(head.triangles.astype(np.uint32)))
    normals = vertex_normals(mesh)
    seen = np.zeros(len(mesh.vertices), bool)
    for angle in np.deg2rad(CAMERAS_DEG):
        camera = nose_tip + CAMERA_DISTANCE_MM * np.array([np.sin(angle), 0.0, np.cos(angle)])
        away = mesh.vertices - camera
        distance = np.linalg.norm(away, axis=1, keepdims=True)
        rays = np.concatenate((np.broadcast_to(camera, away.shape), away / distance), 1).astype(np.float32)
        depth = scene.cast_rays(tensor(rays), nthreads=1)["t_hit"].numpy()
        facing = -(normals * away / distance).sum(1) > GRAZING
        seen |= facing & (depth > distance[:, 0] - HIDDEN_MM)
    return seen


def _with_debris(
    rng: np.random.Generator, mesh: Mesh, nose_tip: Float[np.ndarray, "3"], drawn: Difficulty
) -> tuple[Mesh, int]:
    pieces = int(rng.integers(0, drawn.debris + 1))
    corners = [nose_tip + rng.normal(0, 60, 3) + rng.normal(0, 2, (3, 3)) for _ in range(pieces)]
    loose = np.arange(3 * pieces, dtype=np.int32).reshape(-1, 3) + len(mesh.vertices)
    return Mesh(np.concatenate((mesh.vertices, *corners)), np.concatenate((mesh.triangles, loose))), pieces
