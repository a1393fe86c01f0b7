"""What every importer shares: orientation and unit checks, a generated UV layout, regions, the finished model.

The layout `cylindrical-v1` is for models without texture coordinates. With D the outer eye distance of the mean face,
the cylinder's vertical axis lies D behind the middle of the outer eye corners; with the angle a = atan2(x, z) about it
and the height h = (y - y of landmark 28) / (1.25 D):

    u = 0.5 + 0.4 f(a / 90 degrees)     f(t) = t for |t| <= 1, sign(t) (1 + 0.25 (|t| - 1)) beyond
    v = 0.5 + 0.4 g(h)                  g(h) = h for |h| <= 1, sign(h) (1 + 0.25 (1 - 1 / |h|)) beyond

So the front half turn and 1.25 D above and below the nose bridge share 80 % of the square's width and height, and a
whole head fits into the rest. Triangles across the seam at the back end at u = 1. Surface that hides behind other
surface as seen from the axis (lid rims, nostrils, inner lips) shares its texels with it.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ops.errors import ModelFormatError, UnitsError
from ops.face.landmark_parts import CHIN, NOSE_TIP, OUTER_EYES, UPPER_BRIDGE, outer_eye_distance
from ops.face.morphable_model import OUTER_EYE_DISTANCE_MM, ModelMetadata, MorphableModel
from ops.importers.landmark_file import LandmarkVertices

CYLINDRICAL_LAYOUT = "cylindrical-v1"
FACE_RADIUS_MM = 110.0
"""Vertices of the mean within this distance of the nose tip count as face where a model does not say itself."""
IDENTITY_SPREAD_MM = (0.3, 30.0)


@dataclass(frozen=True, kw_only=True)
class RawModel:
    """The arrays of a model in millimetres, before checks and completion."""

    mean_mm: Float[np.ndarray, "vertex 3"]
    identity_basis_mm: Float[np.ndarray, "identity vertex 3"]
    expression_basis_mm: Float[np.ndarray, "expression vertex 3"]
    triangles: Int[np.ndarray, "triangle 3"]
    landmarks: LandmarkVertices


def assemble_model(raw: RawModel, metadata: ModelMetadata) -> MorphableModel:
    """Complete a model without texture coordinates and regions: layout `cylindrical-v1`, face around the nose.

    Raises:
        ModelFormatError: indices out of range, a mean face that is not upright and frontal.
        UnitsError: a mean face or identity modes of impossible size.
    """
    check_indices(raw.triangles, len(raw.mean_mm), "triangles")
    check_indices(raw.landmarks.landmarks, len(raw.mean_mm), "landmarks")
    check_frame(raw.mean_mm, raw.landmarks.landmarks)
    check_identity_spread(raw.identity_basis_mm)
    triangles = outward_triangles(raw.mean_mm, raw.triangles, int(raw.landmarks.landmarks[NOSE_TIP]))
    uv, uv_triangles = cylindrical_layout(raw.mean_mm, triangles, raw.landmarks.landmarks)
    body = largest_component(triangles, len(raw.mean_mm))
    from_nose = np.linalg.norm(raw.mean_mm - raw.mean_mm[raw.landmarks.landmarks[NOSE_TIP]], axis=1)
    face = from_nose <= FACE_RADIUS_MM
    return MorphableModel(
        mean_mm=_float(raw.mean_mm),
        identity_basis_mm=_float(raw.identity_basis_mm),
        expression_basis_mm=_float(raw.expression_basis_mm),
        triangles=torch.from_numpy(np.ascontiguousarray(triangles, np.int32)),
        uv=_float(uv),
        uv_triangles=torch.from_numpy(np.ascontiguousarray(uv_triangles, np.int32)),
        landmarks=torch.from_numpy(raw.landmarks.landmarks),
        jaw_candidates=torch.from_numpy(raw.landmarks.jaw_candidates),
        regions={"face": torch.from_numpy(face), "skin": torch.from_numpy(face & body)},
        metadata=metadata,
        triangle_regions=torch.from_numpy(np.where(body[triangles[:, 0]], 0, 1).astype(np.int32)),
        region_names=("skin", "other"),
    )


def check_indices(indices: Integer[np.ndarray, "..."], count: int, name: str) -> None:
    """Refuse indices outside 0 to count - 1."""
    if indices.size == 0 or indices.min() < 0 or indices.max() >= count:
        found = f"{indices.min()} to {indices.max()}" if indices.size else "none"
        raise ModelFormatError(f"expected {name} within 0 to {count - 1}, got {found}")


def check_frame(mean_mm: Float[np.ndarray, "vertex 3"], landmarks: Int[np.ndarray, "68"]) -> None:
    """Refuse a mean face that does not look along +z, upright, with the subject's left at +x."""
    points = mean_mm[landmarks]
    eyes = points[list(OUTER_EYES)]
    wrong: list[str] = []
    if eyes[1, 0] <= eyes[0, 0]:
        wrong.append("its left outer eye corner (landmark 45) is not at larger x than the right one (36)")
    if points[CHIN, 1] >= eyes[:, 1].min():
        wrong.append("its chin (landmark 8) is not below the eyes")
    if points[NOSE_TIP, 2] <= eyes[:, 2].max():
        wrong.append("its nose tip (landmark 30) is not in front of the eyes")
    if wrong:
        raise ModelFormatError(
            f"the mean face is not upright and frontal: {'; '.join(wrong)}. Are the 68 landmarks vertex indices of "
            "this model in iBUG order, counted from the right number (0 in text and JSON, 1 in .mat)?"
        )


def check_identity_spread(identity_basis_mm: Float[np.ndarray, "identity vertex 3"]) -> None:
    """Refuse identity modes whose joint standard deviation at a vertex is far from a human one (a few mm)."""
    spread = math.sqrt(float(np.square(identity_basis_mm).sum((0, 2), dtype=np.float64).mean()))
    low, high = IDENTITY_SPREAD_MM
    if not low <= spread <= high:
        raise UnitsError(
            f"expected identity modes that move a vertex by {low:g} to {high:g} mm (root mean square), got "
            f"{spread:.3g}: another unit, or modes that are not scaled to standard deviations"
        )


def millimetres_per_unit(mean: Float[np.ndarray, "vertex 3"], landmarks: Int[np.ndarray, "68"]) -> float:
    """The decimal unit (micrometre to metre) in which the mean face has a human outer eye distance.

    Raises:
        UnitsError: none does.
    """
    distance = outer_eye_distance(mean[landmarks])
    for unit in (1e-3, 1.0, 10.0, 100.0, 1e3):
        if OUTER_EYE_DISTANCE_MM[0] <= distance * unit <= OUTER_EYE_DISTANCE_MM[1]:
            return unit
    raise UnitsError(f"the outer eye corners of the mean face are {distance:.4g} units apart: no metric unit fits")


def outward_triangles(
    mean_mm: Float[np.ndarray, "vertex 3"], triangles: Int[np.ndarray, "triangle 3"], nose_tip: int
) -> Int[np.ndarray, "triangle 3"]:
    """The triangles in the winding whose normals at the nose tip point to +z.

    Raises:
        ModelFormatError: no triangle touches the nose tip.
    """
    corners = mean_mm[triangles[(triangles == nose_tip).any(1)]]
    if len(corners) == 0:
        raise ModelFormatError(f"no triangle touches the nose tip, vertex {nose_tip}: are the landmarks this model's?")
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).sum(0)
    return triangles if normal[2] > 0 else triangles[:, ::-1]


def largest_component(triangles: Int[np.ndarray, "triangle 3"], count: int) -> Bool[np.ndarray, " vertex"]:
    """The vertices of the largest connected surface: the skin, without eyeballs or teeth that are separate."""
    start, end = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    return labels == np.bincount(labels).argmax()


def cylindrical_layout(
    mean_mm: Float[np.ndarray, "vertex 3"],
    triangles: Int[np.ndarray, "triangle 3"],
    landmarks: Int[np.ndarray, "68"],
) -> tuple[Float[np.ndarray, "uv 2"], Int[np.ndarray, "triangle 3"]]:
    """Texture coordinates of the layout `cylindrical-v1` and their corner indices."""
    eyes = mean_mm[landmarks[list(OUTER_EYES)]]
    size = float(np.linalg.norm(eyes[1] - eyes[0]))
    centre = eyes.mean(0)
    angle = np.arctan2(mean_mm[:, 0] - centre[0], mean_mm[:, 2] - (centre[2] - size)) / (math.pi / 2)
    height = (mean_mm[:, 1] - mean_mm[landmarks[UPPER_BRIDGE], 1]) / (1.25 * size)
    beyond_angle = np.sign(angle) * (1 + 0.25 * (np.abs(angle) - 1))
    beyond_height = np.sign(height) * (1 + 0.25 * (1 - 1 / np.abs(height).clip(1)))
    u = 0.5 + 0.4 * np.where(np.abs(angle) <= 1, angle, beyond_angle)
    v = 0.5 + 0.4 * np.where(np.abs(height) <= 1, height, beyond_height)
    corners = angle[triangles]
    over_seam = (np.ptp(corners, axis=1, keepdims=True) > 2) & (corners < 0)
    moved, new = np.unique(triangles[over_seam], return_inverse=True)
    uv_triangles = triangles.copy()
    uv_triangles[over_seam] = len(mean_mm) + new
    at_seam = np.stack((np.ones(len(moved)), v[moved]), -1)
    return np.concatenate((np.stack((u, v), -1), at_seam)), uv_triangles


def _float(array: Float[np.ndarray, "..."]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
