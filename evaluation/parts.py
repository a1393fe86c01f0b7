"""The named parts protocols are built from: crops, distances, reductions."""

from enum import Enum
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32

from ops.errors import DegeneratePointsError
from ops.face.landmark_parts import BROWS, CHIN, NASION
from ops.geometry.mesh import Mesh
from ops.registration.surface import Rejection, Surface, vertex_areas, vertex_normals

_LOOK = Rejection(border=True, min_normal_cosine=0.0)


class DistanceKind(Enum):
    """How far a point lies from a surface."""

    SURFACE = "surface"
    """To the closest point."""
    PLANE = "plane"
    """To the tangent plane at the closest point."""


class Reduction(Enum):
    """How the distances of one direction become one number."""

    MEAN = "mean"
    RMSE = "rmse"


class Samples(NamedTuple):
    """Points of a surface with their unit normals and the area each stands for."""

    points: Float[np.ndarray, "point 3"]
    normals: Float[np.ndarray, "point 3"]
    areas: Float[np.ndarray, " point"]


class Distances(NamedTuple):
    """Distances of points with the weights of their average."""

    values_mm: Float[np.ndarray, " point"]
    weights: Float[np.ndarray, " point"]


def sphere_crop(
    points: Float[np.ndarray, "point 3"], centre: Float[np.ndarray, "3"], radius: float
) -> Bool[np.ndarray, " point"]:
    """Points closer to the centre than the radius."""
    return np.linalg.norm(points - centre, axis=1) < radius


def in_whole_triangles(
    inside: Bool[np.ndarray, " vertex"], triangles: Int32[np.ndarray, "triangle 3"]
) -> Bool[np.ndarray, " vertex"]:
    """Vertices of triangles whose three corners are inside."""
    kept = np.zeros_like(inside)
    kept[triangles[inside[triangles].all(1)].ravel()] = True
    return kept


def below_forehead(
    points: Float[np.ndarray, "point 3"], landmarks: Float[np.ndarray, "68 3"], margin_mm: float
) -> Bool[np.ndarray, " point"]:
    """Points no further than the margin above the highest brow landmark, up being from chin to nasion."""
    up = landmarks[NASION] - landmarks[CHIN]
    up = up / np.linalg.norm(up)
    limit = np.nanmax(landmarks[BROWS] @ up) + margin_mm
    return points @ up <= limit


def sample_surface(mesh: Mesh, inside: Bool[np.ndarray, " vertex"]) -> Samples:
    """The vertices inside a crop, each standing for a third of the area around it.

    Triangles across the rim count in part, so that a coarse mesh loses no more of the rim than a fine one.

    Raises:
        DegeneratePointsError: nothing is inside.
    """
    area = vertex_areas(mesh)
    keep = inside & (area > 0)
    if not keep.any():
        raise DegeneratePointsError("the crop holds no surface: check the landmarks and the unit")
    return Samples(mesh.vertices[keep], vertex_normals(mesh)[keep], area[keep])


def distances_to_surface(samples: Samples, surface: Surface, kind: DistanceKind) -> Distances:
    """Distance of every sample, with its area as weight."""
    found = surface.correspond(samples.points, None, Rejection(border=False))
    return Distances(_measure(samples.points, found.points, found.normals, kind), samples.areas)


def facing_distances(samples: Samples, surface: Surface, kind: DistanceKind) -> Distances:
    """The same over samples that meet the surface inside its border and face the same way.

    What a scan does not show (the mouth's inside, eyeballs behind lids, holes) has no counterpart to be far from.
    """
    found = surface.correspond(samples.points, samples.normals, _LOOK)
    keep = found.accepted
    values = _measure(samples.points[keep], found.points[keep], found.normals[keep], kind)
    return Distances(values, samples.areas[keep])


def reduce_distances(distances: Distances, reduction: Reduction) -> float:
    """The weighted mean or root mean square.

    Raises:
        DegeneratePointsError: there are no distances.
    """
    if len(distances.values_mm) == 0 or distances.weights.sum() <= 0:
        raise DegeneratePointsError("no point of one mesh has a counterpart on the other: check the alignment")
    values = distances.values_mm if reduction is Reduction.MEAN else np.square(distances.values_mm)
    mean = float(np.average(values, weights=distances.weights))
    return mean if reduction is Reduction.MEAN else mean**0.5


def quantile(distances: Distances, share: float) -> float:
    """The weighted quantile: the smallest distance that at least this share of the weight does not exceed."""
    order = np.argsort(distances.values_mm, kind="stable")
    cumulative = np.cumsum(distances.weights[order])
    position = int(np.searchsorted(cumulative, share * cumulative[-1]))
    return float(distances.values_mm[order][min(position, len(order) - 1)])


def _measure(
    points: Float[np.ndarray, "point 3"],
    feet: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"],
    kind: DistanceKind,
) -> Float[np.ndarray, " point"]:
    if kind is DistanceKind.SURFACE:
        return np.linalg.norm(points - feet, axis=1)
    return np.abs(np.einsum("pc,pc->p", points - feet, normals))
