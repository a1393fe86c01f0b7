"""Maximum a posteriori fit of a template's statistical modes to a surface, the start of the non-rigid registration.

The template's vertices move as x = s R (m + sum_k c_k b_k) + t with independent c_k ~ N(0, 1). Beside the modes of a
shape model there are smooth fields of displacement along the normals, random plane waves, which stand for what the
model leaves out: without them the modes would explain that too, and slide along the surface to do so. One Gauss-Newton
step minimises

    sum_i a_i (n_i . (x_i - y_i))^2 / (l^2 f^2)  +  sum_j r_j |x_j - landmark_j|^2 / g^2  +  |c|^2

over rotation, translation, scale and c, with closest points y, normals n, vertex areas a, and l the length over which
the rest of the misfit is correlated: so many vertices count as one. f falls from step to step. The landmarks' deviation
g comes from their scatter, and r_j = (v + 1) / (v + |miss_j|^2 / g^2), as of a Student distribution, lets go of those
far outside it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from ops.geometry.mesh import Mesh
from ops.registration.alignment import Alignment, ScaleRule, align_points, compose_alignments
from ops.registration.icp import MOTIONS, small_alignment, small_motions
from ops.registration.nonrigid_icp import Landmarks
from ops.registration.surface import Rejection, Surface, vertex_areas, vertex_normals

MIN_CORRESPONDENCES = 100
DEGREES_OF_FREEDOM = 1.0
"""Of the landmarks' distribution, v."""
MEDIAN_SQUARED = 2.366
"""Median of a chi-squared distribution with three degrees of freedom."""
FIELD_SEED = 0


@dataclass(frozen=True, kw_only=True)
class ModelFitConfig:
    """How closely modes and fields follow the surface."""

    misfits_mm: tuple[float, ...] = (4.0, 4.0, 3.0, 3.0, 2.0, 2.0, 1.4, 1.4, 1.0, 1.0, 0.7, 0.5, 0.5)
    """The deviation f of every step."""
    distances_mm: tuple[float, float] = (15.0, 4.0)
    """Farthest closest point accepted, in the first and in the last step."""
    correlation_mm: float = 3.0
    """The length l."""
    fields: int = 200
    field_mm: float = 0.6
    """Standard deviation of what all fields together add at a vertex."""
    wavelengths_mm: tuple[float, float] = (30.0, 150.0)
    """Of the fields, drawn uniformly."""
    min_normal_cosine: float = 0.6
    landmark_floor_mm: float = 1.0
    """Landmarks are never trusted to better than this."""
    vertices: int = 3000
    """At most so many vertices look for the surface."""


class ModelFit(NamedTuple):
    """The template in the shape that was found, in its own frame, and where that lies on the surface."""

    coefficients: Float[np.ndarray, " mode"]
    """Of the modes, in standard deviations."""
    model_mm: Float[np.ndarray, "vertex 3"]
    """What the modes alone make of the template."""
    vertices_mm: Float[np.ndarray, "vertex 3"]
    """The same with the fields."""
    alignment: Alignment


def fit_modes(
    template: Mesh,
    modes_mm: Float32[np.ndarray, "mode vertex 3"],
    surface: Surface,
    landmarks: Landmarks,
    start: Alignment,
    config: ModelFitConfig,
) -> ModelFit:
    """Fit the modes of a template that is already aligned to a surface.

    Where too few vertices meet the surface, the fit ends with what it has.
    """
    stride = -(-len(template.vertices) // config.vertices)
    chosen = np.arange(stride // 2, len(template.vertices), stride)
    used = np.concatenate((chosen, landmarks.vertices))
    area = vertex_areas(template)[chosen] * stride
    columns = np.concatenate((modes_mm, smooth_fields(template, config)))
    basis = np.ascontiguousarray(columns[:, used].transpose(1, 2, 0), dtype=np.float64)
    coefficients, alignment, hint = np.zeros(len(columns)), start, None

    def shape(count: int) -> Float[np.ndarray, "vertex 3"]:
        return template.vertices + np.tensordot(coefficients[:count].astype(np.float32), columns[:count], 1)

    reaches = np.geomspace(*config.distances_mm, len(config.misfits_mm))
    for misfit, reach in zip(config.misfits_mm, reaches, strict=True):
        moved = align_points(alignment, shape(len(columns)))
        normals = vertex_normals(Mesh(moved, template.triangles))[chosen]
        rejection = Rejection(max_distance_mm=float(reach), min_normal_cosine=config.min_normal_cosine, border=True)
        found = surface.correspond(moved[chosen], normals, rejection, hint)
        keep, hint = found.accepted, found.triangle
        if np.count_nonzero(keep) < MIN_CORRESPONDENCES:
            break
        turned = alignment.scale * np.einsum("ab,vbm->vam", alignment.rotation, basis)
        points, held = moved[chosen][keep], moved[landmarks.vertices]
        centre = points.mean(0)
        size = float(np.sqrt(np.square(points - centre).sum(1).mean()))
        rows = _movements(points, found.normals[keep], turned[: len(chosen)][keep], centre, size)
        gap = np.einsum("pc,pc->p", found.points[keep] - points, found.normals[keep])
        weighted = rows * (alignment.scale**2 * area[keep] / (config.correlation_mm * misfit) ** 2)[:, None]
        matrix, right = weighted.T @ rows, weighted.T @ gap
        miss = landmarks.points_mm - held
        trust = _trust(miss, config.landmark_floor_mm)
        for axis, unit in enumerate(np.eye(3)):
            rows = _movements(held, np.broadcast_to(unit, held.shape), turned[len(chosen) :], centre, size)
            matrix += (rows * trust[:, None]).T @ rows
            right += (rows * trust[:, None]).T @ miss[:, axis]
        matrix[MOTIONS:, MOTIONS:] += np.eye(len(coefficients))
        right[MOTIONS:] -= coefficients
        step = np.linalg.solve(matrix, right)
        coefficients = coefficients + step[MOTIONS:]
        alignment = compose_alignments(small_alignment(step[:MOTIONS], centre, size), alignment)
    return ModelFit(coefficients[: len(modes_mm)], shape(len(modes_mm)), shape(len(columns)), alignment)


def smooth_fields(template: Mesh, config: ModelFitConfig) -> Float32[np.ndarray, "field vertex 3"]:
    """Plane waves of random direction and phase, along the template's normals, one standard deviation each."""
    rng = np.random.default_rng(FIELD_SEED)
    wave = rng.normal(size=(config.fields, 3))
    length = rng.uniform(*config.wavelengths_mm, (config.fields, 1))
    wave *= 2 * np.pi / length / np.linalg.norm(wave, axis=1, keepdims=True)
    height = np.cos(wave @ template.vertices.T + rng.uniform(0, 2 * np.pi, (config.fields, 1)))
    height *= config.field_mm * np.sqrt(2 / max(config.fields, 1))
    return (height[..., None] * vertex_normals(template)).astype(np.float32)


def _trust(miss: Float[np.ndarray, "landmark 3"], floor_mm: float) -> Float[np.ndarray, " landmark"]:
    """Weight of every landmark, from its distance and the scatter of all."""
    if len(miss) == 0:
        return np.zeros(0)
    squared = np.square(miss).sum(1)
    variance = max(float(np.median(squared)) / MEDIAN_SQUARED, floor_mm**2)
    return (DEGREES_OF_FREEDOM + 1) / (DEGREES_OF_FREEDOM + squared / variance) / variance


def _movements(
    points: Float[np.ndarray, "point 3"],
    direction: Float[np.ndarray, "point 3"],
    basis: Float[np.ndarray, "point 3 column"],
    centre: Float[np.ndarray, "3"],
    size: float,
) -> Float[np.ndarray, "point unknown"]:
    """Movement along a direction by each of the seven motions of a similarity and by each column of the basis."""
    motions = small_motions((points - centre) / size, direction, ScaleRule.LEAST_SQUARES)
    return np.concatenate((motions, np.einsum("pc,pcm->pm", direction, basis)), 1)
