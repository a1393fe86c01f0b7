"""Distance of a scan's face to a mesh of any topology, signed and point by point.

Samples of the scan's surface that face forward, lie inside the NoW challenge's sphere and below the hairline, to the
closest points of the mesh, after a similarity from seven landmarks and similarity ICP of the nearest 92 %. Everything
is in millimetres of a face whose outer eye corners are `EYE_DISTANCE_MM` apart, as many scans have no unit.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from evaluation.scan_protocols import AnnotatedMesh
from ops.errors import DegeneratePointsError, UnsupportedInputError
from ops.face.landmark_parts import (
    BROWS,
    INNER_EYES,
    LEFT_OUTER_EYE,
    MOUTH_CORNERS,
    NASION,
    NOSE_BASE,
    OUTER_EYES,
    RIGHT_OUTER_EYE,
    SEVEN_POINTS,
    outer_eye_distance,
)
from ops.geometry.mesh import Mesh
from ops.registration.alignment import ScaleRule, align_points, compose_alignments, fit_alignment, invert_alignment
from ops.registration.surface import Rejection, Surface, area_normals

EYE_DISTANCE_MM = 90.0
SAMPLES, CANDIDATES = 12_000, 60_000
MIN_FACING = 0.15
"""Least cosine between a sample's normal and the direction in which the face looks."""
CROP_FACTOR, CROP_HEIGHT = 0.7, 0.3
"""The NoW challenge's sphere: radius in (outer-eye distance + length of the nose), centre up the nose."""
HAIRLINE_MM = 30.0
"""Above the brows."""
BEARD_MM = 2.0
"""A bearded face counts from so far below the base of the nose upwards."""
KEPT_SHARE = 0.92
"""Of the samples, the nearest, that an ICP step follows."""
ICP_STEPS = 60
FAR_MM = 15.0
"""Samples farther away have no counterpart, as in holes and hair, and are left out."""


class FaceSamples(NamedTuple):
    """Points of a scan's face, and the frame of the face."""

    points_mm: Float[np.ndarray, "sample 3"]
    landmarks_mm: Float[np.ndarray, "68 3"]
    frame: Float[np.ndarray, "3 3"]
    """Rows: to the face's left, up, and forward."""


class ScanDistances(NamedTuple):
    """Signed distances, positive where the scan lies outside the mesh, and which of them count."""

    signed_mm: Float[np.ndarray, " sample"]
    counted: Bool[np.ndarray, " sample"]
    mesh: Mesh
    """Where the mesh came to lie, in the scan's frame."""

    @property
    def mean_mm(self) -> float:
        """Mean distance of the samples that count."""
        return float(np.abs(self.signed_mm[self.counted]).mean())

    @property
    def median_mm(self) -> float:
        """Their median."""
        return float(np.median(np.abs(self.signed_mm[self.counted])))


def at_face_size(scan: AnnotatedMesh) -> AnnotatedMesh:
    """A scan of any unit, scaled so that its outer eye corners are 90 mm apart.

    Raises:
        UnsupportedInputError: one of the seven landmarks is not known.
    """
    if not np.isfinite(scan.landmarks_mm[list(SEVEN_POINTS)]).all():
        raise UnsupportedInputError(f"a scan needs at least the landmarks {', '.join(map(str, SEVEN_POINTS))}")
    size = outer_eye_distance(scan.landmarks_mm)
    if size <= 0:
        raise UnsupportedInputError("the outer eye corners of the scan coincide")
    factor = EYE_DISTANCE_MM / size
    return AnnotatedMesh(Mesh(scan.mesh.vertices * factor, scan.mesh.triangles), scan.landmarks_mm * factor)


def face_frame(landmarks: Float[np.ndarray, "68 3"]) -> Float[np.ndarray, "3 3"]:
    """Directions to the face's left, up and forward, by its eyes and mouth."""
    eyes, mouth = (landmarks[list(pair)].mean(0) for pair in (OUTER_EYES, MOUTH_CORNERS))
    x = landmarks[LEFT_OUTER_EYE] - landmarks[RIGHT_OUTER_EYE]
    x = x / np.linalg.norm(x)
    y = eyes - mouth
    y = y - (y @ x) * x
    y = y / np.linalg.norm(y)
    return np.stack((x, y, np.cross(x, y)))


def sample_face(scan: AnnotatedMesh, *, bearded: bool = False) -> FaceSamples:
    """Points of the surface of a scan at face size, drawn by area with a fixed seed.

    Without landmarks of brows and nasion the inner eyes and the outer ones stand for them.

    Raises:
        DegeneratePointsError: no surface where the face should be.
    """
    mesh, landmarks = scan
    normals = area_normals(mesh)
    area = np.linalg.norm(normals, axis=1)
    if not area.sum() > 0:
        raise DegeneratePointsError("the scan has no surface")
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(area), CANDIDATES, p=area / area.sum())
    share = rng.random((CANDIDATES, 2))
    outside = share.sum(1) > 1
    share[outside] = 1 - share[outside]
    a, b, c = (mesh.vertices[mesh.triangles[chosen, corner]] for corner in range(3))
    points = a + share[:, :1] * (b - a) + share[:, 1:] * (c - a)
    frame = face_frame(landmarks)
    up, forward = frame[1], frame[2]
    base = landmarks[NOSE_BASE]
    nasion = landmarks[NASION]
    if not np.isfinite(nasion).all():
        nasion = landmarks[list(INNER_EYES)].mean(0)
    centre = base + CROP_HEIGHT * (nasion - base)
    size = float(outer_eye_distance(landmarks) + np.linalg.norm(nasion - base))
    brows = landmarks[BROWS]
    known = np.isfinite(brows).all(1)
    top = float((brows[known] @ up).mean()) if known.any() else float(landmarks[list(OUTER_EYES)].mean(0) @ up) + 15.0
    height = points @ up
    inside = np.linalg.norm(points - centre, axis=1) < CROP_FACTOR * size
    inside &= (normals[chosen] / area[chosen, None]) @ forward > MIN_FACING
    inside &= height < top + HAIRLINE_MM
    if bearded:
        inside &= height > base @ up - BEARD_MM
    points = points[inside]
    if len(points) < CANDIDATES // 200:
        raise DegeneratePointsError("the scan has hardly any surface where its landmarks put the face")
    kept = np.random.default_rng(1).choice(len(points), min(SAMPLES, len(points)), replace=False)
    return FaceSamples(points[kept], landmarks, frame)


def measure_distances(samples: FaceSamples, mesh: AnnotatedMesh) -> ScanDistances:
    """Align a mesh to the samples and measure; its seven landmarks must be known.

    Raises:
        UnsupportedInputError: they are not.
    """
    seven = list(SEVEN_POINTS)
    if not np.isfinite(mesh.landmarks_mm[seven]).all():
        raise UnsupportedInputError(f"a mesh needs the landmarks {', '.join(map(str, seven))}")
    onto_scan = fit_alignment(mesh.landmarks_mm[seven], samples.landmarks_mm[seven], scale=ScaleRule.LEAST_SQUARES)
    surface, look, hint = Surface(mesh.mesh), Rejection(border=False), None
    for _ in range(ICP_STEPS):
        # The samples go to the mesh and not the mesh to them, so that it is indexed once.
        back = align_points(invert_alignment(onto_scan), samples.points_mm)
        found = surface.correspond(back, None, look, hint)
        hint = found.triangle
        near = found.distance < np.quantile(found.distance, KEPT_SHARE)
        feet = align_points(onto_scan, found.points[near])
        update = fit_alignment(feet, samples.points_mm[near], scale=ScaleRule.LEAST_SQUARES)
        onto_scan = compose_alignments(update, onto_scan)
    back = align_points(invert_alignment(onto_scan), samples.points_mm)
    found = surface.correspond(back, None, look, hint)
    outwards = np.einsum("sc,sc->s", back - found.points, found.normals)
    distance = found.distance * onto_scan.scale
    moved = Mesh(align_points(onto_scan, mesh.mesh.vertices), mesh.mesh.triangles)
    return ScanDistances(np.where(outwards >= 0, distance, -distance), distance < FAR_MM, moved)
