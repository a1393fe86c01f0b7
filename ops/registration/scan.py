"""Making a raw scan fit for registration: one unit, one orientation, no debris; every repair is named."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ops.errors import DegeneratePointsError, GeometryError, UnitsError
from ops.geometry.mesh import Mesh, submesh
from ops.registration.alignment import Alignment, ScaleRule, align_points, fit_alignment
from ops.registration.closest_point import ClosestPointIndex
from ops.registration.surface import Rejection, Surface, area_normals, vertex_normals, vertex_pieces

UNITS_IN_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
PLAUSIBLE_SIZE = (0.7, 1.4)
"""A face's landmarks against the template's: people differ by about 15 %, units by ten or more."""
MIN_LANDMARKS = 6
DEBRIS_SHARE = 0.05
"""Pieces with less area than this share of the largest are dropped."""
MAX_LANDMARK_DISTANCE_MM = 15.0
"""Median distance of the landmarks from the surface beyond which they belong to something else."""
MAX_ARRANGEMENT_MM = 12.0
"""Median misfit of the landmarks to the template's beyond which they are in another order."""
MIN_TRIANGLES = 100
ORIENTATION_REACH_MM = 15.0


class Scan(NamedTuple):
    """A cleaned scan with its landmarks, millimetres, in the frame the landmarks were given in."""

    mesh: Mesh
    landmarks_mm: Float[np.ndarray, "68 3"]
    visible: Bool[np.ndarray, "68"]
    """Landmarks that were annotated; the others are NaN."""
    landmark_unit: str
    repairs: tuple[str, ...]


def prepare_scan(
    mesh: Mesh, landmarks: Float[np.ndarray, "68 3"], template: Mesh, template_landmarks: Float[np.ndarray, "68 3"]
) -> tuple[Scan, Alignment]:
    """Clean a scan against a template in millimetres; returns it with the template's landmark alignment onto it.

    Landmarks with a coordinate that is not finite count as missing.

    Raises:
        DegeneratePointsError: too few landmarks.
        UnitsError: landmarks of a size that no unit explains, or a scan in another unit than its landmarks' with no
            unit that joins them.
        GeometryError: too little surface, or landmarks that lie off it.
    """
    visible = np.isfinite(landmarks.sum(1))
    if np.count_nonzero(visible) < MIN_LANDMARKS:
        raise DegeneratePointsError(
            f"registration needs at least {MIN_LANDMARKS} annotated landmarks, found {np.count_nonzero(visible)} of 68"
        )
    unit = _landmark_unit(landmarks[visible], template_landmarks[visible])
    landmarks_mm = landmarks * UNITS_IN_MM[unit]
    mesh, repairs = clean_mesh(Mesh(mesh.vertices * UNITS_IN_MM[unit], mesh.triangles))
    if unit != "mm":
        repairs.insert(0, f"converted from {unit} to mm")
    mesh = _join_units(mesh, unit, landmarks_mm[visible], repairs)
    start = _landmark_start(template_landmarks[visible], landmarks_mm[visible])
    mesh = _orient(mesh, Mesh(align_points(start, template.vertices), template.triangles), repairs)
    if not visible.all():
        repairs.append(f"{np.count_nonzero(~visible)} landmarks missing")
    return Scan(mesh, landmarks_mm, visible, unit, tuple(repairs)), start


def clean_mesh(mesh: Mesh) -> tuple[Mesh, list[str]]:
    """Merge coincident vertices, drop broken and degenerate triangles and debris; the repairs in words.

    Raises:
        GeometryError: fewer than a hundred triangles remain.
    """
    repairs: list[str] = []
    finite = np.isfinite(mesh.vertices.sum(1))
    if not finite.all():
        repairs.append(f"dropped {np.count_nonzero(~finite)} vertices without finite coordinates")
        mesh, _ = submesh(mesh, finite)
    vertices, new_from_old = np.unique(mesh.vertices, axis=0, return_inverse=True)
    triangles = new_from_old.reshape(-1)[mesh.triangles].astype(np.int32)
    if len(vertices) < len(mesh.vertices):
        repairs.append(f"merged {len(mesh.vertices) - len(vertices)} coincident vertices")
    a, b, c = triangles.T
    sound = (a != b) & (b != c) & (c != a)
    if not sound.all():
        repairs.append(f"dropped {np.count_nonzero(~sound)} degenerate triangles")
    mesh = _without_debris(Mesh(vertices, np.ascontiguousarray(triangles[sound])), repairs)
    if len(mesh.triangles) < MIN_TRIANGLES:
        raise GeometryError(
            f"a scan needs at least {MIN_TRIANGLES} triangles, found {len(mesh.triangles)}"
            + (f" after repair ({', '.join(repairs)})" if repairs else "")
        )
    return mesh, repairs


def _without_debris(mesh: Mesh, repairs: list[str]) -> Mesh:
    if len(mesh.triangles) == 0:
        return mesh
    count, piece = vertex_pieces(mesh)
    area = np.bincount(piece[mesh.triangles[:, 0]], np.linalg.norm(area_normals(mesh), axis=1), count)
    kept_piece = area >= DEBRIS_SHARE * area.max()
    dropped = int(np.count_nonzero(~kept_piece & (area > 0)))
    if dropped:
        repairs.append(f"dropped {dropped} small loose pieces")
    return submesh(mesh, kept_piece[piece])[0]


def _landmark_unit(landmarks: Float[np.ndarray, "n 3"], template_mm: Float[np.ndarray, "n 3"]) -> str:
    size = fit_alignment(template_mm, landmarks, scale=ScaleRule.NORM_RATIO).scale
    for unit, in_mm in UNITS_IN_MM.items():
        if PLAUSIBLE_SIZE[0] <= size * in_mm <= PLAUSIBLE_SIZE[1]:
            return unit
    raise UnitsError(
        f"the landmarks are {size:.4g} times as large as the template's in mm; expected about 1 (mm), 0.1 (cm) or "
        "0.001 (m): check that they are 3-D points of one face"
    )


def _landmark_start(template_mm: Float[np.ndarray, "n 3"], landmarks_mm: Float[np.ndarray, "n 3"]) -> Alignment:
    """The similarity of the template onto the landmarks."""
    start = fit_alignment(template_mm, landmarks_mm, scale=ScaleRule.LEAST_SQUARES)
    miss = float(np.median(np.linalg.norm(align_points(start, template_mm) - landmarks_mm, axis=1)))
    if miss > MAX_ARRANGEMENT_MM:
        raise GeometryError(
            f"the landmarks stay {miss:.0f} mm (median) from the template's after alignment, more than "
            f"{MAX_ARRANGEMENT_MM:.0f} mm: expected 68 points in iBUG order, the subject's right side first"
        )
    return start


def _join_units(mesh: Mesh, unit: str, landmarks_mm: Float[np.ndarray, "n 3"], repairs: list[str]) -> Mesh:
    """The scan, so far taken to be in the landmarks' unit, in the unit by which they touch its surface."""
    distances: list[float] = []
    for other in sorted(UNITS_IN_MM, key=lambda name: name != unit):
        scaled = Mesh(mesh.vertices * (UNITS_IN_MM[other] / UNITS_IN_MM[unit]), mesh.triangles)
        distances.append(float(np.median(ClosestPointIndex(scaled).query(landmarks_mm).distance)))
        if distances[-1] <= MAX_LANDMARK_DISTANCE_MM:
            if other != unit:
                repairs.append(f"scan converted from {other} to the landmarks' mm")
            return scaled
    extent = np.ptp(mesh.vertices, axis=0).max()
    message = (
        f"the landmarks lie {distances[0]:.0f} mm (median) from the scan's surface, more than "
        f"{MAX_LANDMARK_DISTANCE_MM:.0f} mm: they belong to another scan or frame (the scan spans {extent:.4g} mm)"
    )
    raise UnitsError(message) if extent < 10 else GeometryError(message)


def _orient(mesh: Mesh, aligned: Mesh, repairs: list[str]) -> Mesh:
    """Turn the pieces of the scan whose normals oppose the aligned template's."""
    reference = Surface(aligned)
    normals = vertex_normals(mesh)
    found = reference.correspond(mesh.vertices, None, Rejection(max_distance_mm=ORIENTATION_REACH_MM, border=True))
    vote = found.accepted * np.sign(np.einsum("vc,vc->v", normals, found.normals))
    count, piece = vertex_pieces(mesh)
    turned = np.bincount(piece, vote, count) < 0
    if not turned.any():
        return mesh
    repairs.append("turned triangles that faced inwards")
    flip = turned[piece[mesh.triangles[:, 0]]]
    triangles = mesh.triangles.copy()
    triangles[flip] = triangles[flip][:, ::-1]
    return Mesh(mesh.vertices, triangles)
