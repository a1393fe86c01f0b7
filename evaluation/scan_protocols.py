"""Protocols in real millimetres of the scan, for reconstructions of any topology: `paper`, `deng`, `now`.

Each is a crop of the ground truth, a start from landmarks, an ICP of the cropped ground truth onto the reconstruction
(one alignment, used for both directions), a distance and a reduction:

=======  ==============================  ===================  ==========================  ==================  =========
         crop                            start                ICP                         distance            reduction
=======  ==============================  ===================  ==========================  ==================  =========
paper    95 mm around the nose tip       68 points, rigid     rigid, to the plane         plane, both ways    mean
deng     the same without the forehead   68 points, scaled    with scale, to the plane    plane, one way      RMSE
now      0.7 (eyes + nose), mid nose     7 points, scaled     with scale, to the point    surface, one way    mean
=======  ==============================  ===================  ==========================  ==================  =========

Averages are weighted by area, so that the tessellation of the scan does not matter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from evaluation.parts import (
    DistanceKind,
    Distances,
    Reduction,
    Samples,
    below_forehead,
    distances_to_surface,
    facing_distances,
    quantile,
    reduce_distances,
    sample_surface,
    sphere_crop,
)
from evaluation.result import PairResult
from ops.errors import DegeneratePointsError, GeometryError, UnitsError, UnsupportedInputError
from ops.face.landmark_parts import INNER_EYES, LEFT_OUTER_EYE, NOSE_BASE, NOSE_TIP, RIGHT_OUTER_EYE, SEVEN_POINTS
from ops.geometry.mesh import Mesh
from ops.registration.alignment import Alignment, ScaleRule, align_points, fit_alignment, invert_alignment
from ops.registration.icp import Icp, IcpState, Metric
from ops.registration.solver import Solution, Status, solve
from ops.registration.surface import Rejection, Surface

CROP_RADIUS_MM = 95.0
NOW_CROP_FACTOR = 0.7
NOW_CROP_HEIGHT = 0.3
"""Where the crop's centre lies between the base of the nose and the inner eyes."""
FOREHEAD_MARGIN_MM = 10.0
PLAUSIBLE_SIZE = (0.6, 1.6)
MIN_COMMON_LANDMARKS = 5


class AnnotatedMesh(NamedTuple):
    """A mesh in millimetres with its 68 landmarks; unknown ones NaN."""

    mesh: Mesh
    landmarks_mm: Float[np.ndarray, "68 3"]


class Crop(NamedTuple):
    """A sphere, and the vertices of the ground truth that count."""

    centre_mm: Float[np.ndarray, "3"]
    radius_mm: float
    inside: Bool[np.ndarray, " vertex"]


@dataclass(frozen=True, kw_only=True)
class ScanProtocol:
    """The named parts of one protocol."""

    crop: Callable[[AnnotatedMesh], Crop]
    start_landmarks: tuple[int, ...]
    start_scale: ScaleRule
    icp_metric: Metric
    icp_scale: ScaleRule
    distance: DistanceKind
    symmetric: bool
    reduction: Reduction


def nose_tip_crop(truth: AnnotatedMesh) -> Crop:
    """Within 95 mm of the annotated nose tip."""
    centre = _annotated(truth, NOSE_TIP)
    return Crop(centre, CROP_RADIUS_MM, sphere_crop(truth.mesh.vertices, centre, CROP_RADIUS_MM))


def nose_tip_crop_without_forehead(truth: AnnotatedMesh) -> Crop:
    """The same, and no further than 10 mm above the brows."""
    crop = nose_tip_crop(truth)
    low = below_forehead(truth.mesh.vertices, truth.landmarks_mm, FOREHEAD_MARGIN_MM)
    return crop._replace(inside=crop.inside & low)


def nose_crop(truth: AnnotatedMesh) -> Crop:
    """Within 0.7 (outer-eye distance + length of the nose) of a point 0.3 up the nose.

    The nose goes from landmark 33 to the middle of the inner eyes.
    """
    base = _annotated(truth, NOSE_BASE)
    eyes = _annotated(truth, RIGHT_OUTER_EYE) - _annotated(truth, LEFT_OUTER_EYE)
    nose = (_annotated(truth, INNER_EYES[0]) + _annotated(truth, INNER_EYES[1])) / 2 - base
    radius = NOW_CROP_FACTOR * float(np.linalg.norm(eyes) + np.linalg.norm(nose))
    centre = base + NOW_CROP_HEIGHT * nose
    return Crop(centre, radius, sphere_crop(truth.mesh.vertices, centre, radius))


PAPER = ScanProtocol(
    crop=nose_tip_crop,
    start_landmarks=tuple(range(68)),
    start_scale=ScaleRule.RIGID,
    icp_metric=Metric.PLANE,
    icp_scale=ScaleRule.RIGID,
    distance=DistanceKind.PLANE,
    symmetric=True,
    reduction=Reduction.MEAN,
)
DENG = ScanProtocol(
    crop=nose_tip_crop_without_forehead,
    start_landmarks=tuple(range(68)),
    start_scale=ScaleRule.LEAST_SQUARES,
    icp_metric=Metric.PLANE,
    icp_scale=ScaleRule.LEAST_SQUARES,
    distance=DistanceKind.PLANE,
    symmetric=False,
    reduction=Reduction.RMSE,
)
NOW = ScanProtocol(
    crop=nose_crop,
    start_landmarks=SEVEN_POINTS,
    start_scale=ScaleRule.LEAST_SQUARES,
    icp_metric=Metric.POINT,
    icp_scale=ScaleRule.LEAST_SQUARES,
    distance=DistanceKind.SURFACE,
    symmetric=False,
    reduction=Reduction.MEAN,
)


def evaluate_scan(protocol: ScanProtocol, truth: AnnotatedMesh, reconstruction: AnnotatedMesh) -> PairResult:
    """The distance of one pair.

    Raises:
        UnitsError: a reconstruction that is not of face size in millimetres.
        UnsupportedInputError: a landmark the crop needs is not annotated.
        DegeneratePointsError: too few common landmarks, or an empty crop.
        GeometryError: the alignment lost the reconstruction.
    """
    crop = protocol.crop(truth)
    samples = sample_surface(truth.mesh, crop.inside)
    start = _start(protocol, truth, reconstruction)
    rebuilt = Mesh(align_points(start, reconstruction.mesh.vertices), reconstruction.mesh.triangles)
    solution = _align(protocol, samples, Surface(rebuilt))
    # The ICP moves the ground truth; its inverse moves the reconstruction, once, for both directions.
    onto_truth = invert_alignment(solution.state.alignment)
    moved = Mesh(align_points(onto_truth, rebuilt.vertices), rebuilt.triangles)
    forward = distances_to_surface(samples, Surface(moved), protocol.distance)
    first = reduce_distances(forward, protocol.reduction)
    second, backward, masked2 = None, None, 0
    if protocol.symmetric:
        near = sample_surface(moved, sphere_crop(moved.vertices, crop.centre_mm, crop.radius_mm))
        backward = facing_distances(near, Surface(truth.mesh), protocol.distance)
        second = reduce_distances(backward, protocol.reduction)
        masked2 = len(backward.values_mm)
    spread = forward if backward is None else _both(forward, backward)
    return PairResult(
        distance_mm=first if second is None else (first + second) / 2,
        pass1_mm=first,
        pass2_mm=second,
        median_mm=quantile(spread, 0.5),
        p95_mm=quantile(spread, 0.95),
        iterations1=solution.steps,
        iterations2=0,
        masked1=len(samples.points),
        masked2=masked2,
        scale=start.scale * onto_truth.scale,
        crop_radius_mm=crop.radius_mm,
    )


def _start(protocol: ScanProtocol, truth: AnnotatedMesh, reconstruction: AnnotatedMesh) -> Alignment:
    chosen = np.array(protocol.start_landmarks)
    source, target = reconstruction.landmarks_mm[chosen], truth.landmarks_mm[chosen]
    common = np.isfinite(source.sum(1)) & np.isfinite(target.sum(1))
    if np.count_nonzero(common) < MIN_COMMON_LANDMARKS:
        raise DegeneratePointsError(
            f"the starting alignment needs at least {MIN_COMMON_LANDMARKS} landmarks known on both meshes, "
            f"found {np.count_nonzero(common)} of {len(chosen)}"
        )
    size = fit_alignment(source[common], target[common], scale=ScaleRule.NORM_RATIO).scale
    if not PLAUSIBLE_SIZE[0] <= size <= PLAUSIBLE_SIZE[1]:
        raise UnitsError(
            f"expected a reconstruction in millimetres, got one {1 / size:.4g} times as large as the scan: declare its "
            "unit"
        )
    return fit_alignment(source[common], target[common], scale=protocol.start_scale)


def _align(protocol: ScanProtocol, samples: Samples, rebuilt: Surface) -> Solution[IcpState]:
    solution = solve(
        Icp(
            points=samples.points,
            normals=samples.normals,
            weights=samples.areas,
            surface=rebuilt,
            metric=protocol.icp_metric,
            scale=protocol.icp_scale,
            rejection=Rejection(border=True, min_normal_cosine=0.0),
            tolerance_mm=1e-4 if protocol.icp_metric is Metric.PLANE else 1e-3,
            max_steps=100,
        )
    )
    if solution.status in (Status.LOST, Status.DIVERGED):
        raise GeometryError(f"the alignment of scan and reconstruction failed: {solution.status.value}")
    return solution


def _annotated(truth: AnnotatedMesh, landmark: int) -> Float[np.ndarray, "3"]:
    point = truth.landmarks_mm[landmark]
    if not np.isfinite(point).all():
        raise UnsupportedInputError(f"this protocol crops around landmark {landmark}, which is not annotated")
    return point


def _both(forward: Distances, backward: Distances) -> Distances:
    """Both directions with the same total weight."""
    weights = np.concatenate((forward.weights / forward.weights.sum(), backward.weights / backward.weights.sum()))
    return Distances(np.concatenate((forward.values_mm, backward.values_mm)), weights)
