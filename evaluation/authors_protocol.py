"""Protocol `ganfit-code`: what the authors' public evaluation computes, to the digit.

Everything is in units of 100 mm of the template. The scan's annotated points are aligned to the template's by a
similarity; the template registered to the scan and carried by it is the ground truth. One pair is the mean of two
passes, ground truth to reconstruction and back. A pass masks the moving mesh around its own nose tip, starts from
vertex correspondence, then alternates a similarity (scale from the ratio of norms) with closest points until the mean
distance falls by no more than 0.001 mm, and returns the last distance, even where it rose.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from evaluation.parts import Distances, in_whole_triangles, quantile, sphere_crop
from evaluation.result import PairResult
from ops.errors import DegeneratePointsError, TopologyMismatchError, UnitsError, UnsupportedInputError
from ops.face.landmark_parts import NOSE_TIP
from ops.geometry.mesh import Mesh
from ops.registration.alignment import IDENTITY, Alignment, ScaleRule, align_points, compose_alignments, fit_alignment
from ops.registration.closest_point import ClosestPointIndex
from ops.registration.register import Template
from ops.registration.solver import Solution, Status, solve

MM_PER_UNIT = 100.0
CROP_RADIUS = 0.95
TIGHT_CROP_RADIUS = 0.60
MIN_FALL_MM = 0.001
MAX_STEPS = 10_000
"""Far beyond any pass: the distance must fall by `MIN_FALL_MM` at every step but the last."""
PLAUSIBLE_SIZE = (0.5, 2.0)
MAX_VERTEX_DISTANCE = 0.25
"""Mean vertex distance from the template, in units, beyond which vertices are in another order."""


class TemplateUnits(NamedTuple):
    """A registered scan in the template's frame and units, with its annotated nose tip."""

    vertices: Float[np.ndarray, "vertex 3"]
    nose_tip: Float[np.ndarray, "3"]
    scale: float
    """Units per millimetre of the scan."""


class PassState(NamedTuple):
    """All vertices of the moving mesh, its masked points' counterparts (and triangles), the last two distances."""

    vertices: Float[np.ndarray, "vertex 3"]
    counterparts: Float[np.ndarray, "masked 3"]
    triangle: Int[np.ndarray, " masked"] | None
    alignment: Alignment
    distance_mm: float
    previous_mm: float


@dataclass(frozen=True, kw_only=True)
class AuthorsPass:
    """One direction as a solver."""

    moving: Float[np.ndarray, "vertex 3"]
    target: Float[np.ndarray, "vertex 3"]
    index: ClosestPointIndex
    mask: Bool[np.ndarray, " vertex"]
    max_steps: int = MAX_STEPS

    def init(self) -> PassState:
        """Vertex correspondence."""
        counterparts = self.target[self.mask]
        distance = self._distance(self.moving, counterparts)
        return PassState(self.moving, counterparts, None, IDENTITY, distance, np.inf)

    def step(self, state: PassState) -> PassState:
        """Align to the counterparts, then find new ones."""
        update = fit_alignment(state.vertices[self.mask], state.counterparts, scale=ScaleRule.NORM_RATIO)
        vertices = align_points(update, state.vertices)
        found = self.index.query(vertices[self.mask], state.triangle)
        alignment = compose_alignments(update, state.alignment)
        distance = self._distance(vertices, found.points)
        return PassState(vertices, found.points, found.triangle, alignment, distance, state.distance_mm)

    def terminate(self, state: PassState) -> Status | None:
        """Done once the distance falls by no more than 0.001 mm."""
        return Status.CONVERGED if state.previous_mm - state.distance_mm <= MIN_FALL_MM else None

    def measure(self, state: PassState) -> float:
        """The mean distance in mm."""
        return state.distance_mm

    def _distance(self, vertices: Float[np.ndarray, "vertex 3"], counterparts: Float[np.ndarray, "masked 3"]) -> float:
        return MM_PER_UNIT * float(np.linalg.norm(counterparts - vertices[self.mask], axis=1).mean())


def template_units(
    template: Template, registered_mm: Float[np.ndarray, "vertex 3"], landmarks_mm: Float[np.ndarray, "68 3"]
) -> TemplateUnits:
    """A registered scan carried into template units by the annotated points, rounded to float32 as a file would be.

    Raises:
        UnsupportedInputError: the nose tip is not annotated.
    """
    alignment = landmark_alignment(template, landmarks_mm)
    vertices = align_points(alignment, registered_mm).astype(np.float32).astype(np.float64)
    return TemplateUnits(vertices, align_points(alignment, landmarks_mm[NOSE_TIP]), alignment.scale)


def landmark_alignment(template: Template, landmarks_mm: Float[np.ndarray, "68 3"]) -> Alignment:
    """The similarity (norm-ratio scale) from annotated points in mm to the template's in units.

    Raises:
        UnsupportedInputError: the nose tip is not annotated.
    """
    visible = np.isfinite(landmarks_mm.sum(1))
    if not visible[NOSE_TIP]:
        raise UnsupportedInputError("this protocol crops around the annotated nose tip (landmark 30), which is missing")
    target = template.landmarks_mm[visible] / MM_PER_UNIT
    return fit_alignment(landmarks_mm[visible], target, scale=ScaleRule.NORM_RATIO)


def evaluate_authors(template: Template, truth: TemplateUnits, reconstruction: Mesh, *, tight: bool) -> PairResult:
    """The distance of one pair; the reconstruction in the template's topology and units.

    Raises:
        TopologyMismatchError: another number or order of vertices, or other triangles.
        UnitsError: a reconstruction in millimetres, metres or another unit.
        DegeneratePointsError: nothing inside the crop.
    """
    check_topology(template, reconstruction)
    check_units(template, reconstruction)
    radius = TIGHT_CROP_RADIUS if tight else CROP_RADIUS
    rebuilt = reconstruction.vertices.astype(np.float32).astype(np.float64)
    triangles = template.mesh.triangles
    rebuilt_nose = rebuilt[template.landmarks[NOSE_TIP]]
    masks = (
        _mask(template, truth.vertices, truth.nose_tip, radius),
        _mask(template, rebuilt, rebuilt_nose, radius),
    )
    first = _run(truth.vertices, Mesh(rebuilt, triangles), masks[0])
    second = _run(rebuilt, Mesh(truth.vertices, triangles), masks[1])
    both = np.concatenate([_final_distances(s, m) for s, m in ((first, masks[0]), (second, masks[1]))])
    spread = Distances(both, np.ones(len(both)))
    return PairResult(
        distance_mm=(first.state.distance_mm + second.state.distance_mm) / 2,
        pass1_mm=first.state.distance_mm,
        pass2_mm=second.state.distance_mm,
        median_mm=quantile(spread, 0.5),
        p95_mm=quantile(spread, 0.95),
        iterations1=first.steps,
        iterations2=second.steps,
        masked1=int(np.count_nonzero(masks[0])),
        masked2=int(np.count_nonzero(masks[1])),
        scale=1 / first.state.alignment.scale,
        crop_radius_mm=radius / truth.scale,
    )


def check_topology(template: Template, reconstruction: Mesh) -> None:
    """Same vertices in the same order, same triangles up to the order of corners.

    Raises:
        TopologyMismatchError: otherwise.
    """
    expected, got = len(template.mesh.vertices), len(reconstruction.vertices)
    if expected != got:
        raise TopologyMismatchError(
            f"expected the template's {expected} vertices, got {got}: this protocol needs reconstructions in the "
            "template's topology (use protocol paper for any other)"
        )
    own, other = (np.sort(triangles, axis=1) for triangles in (template.mesh.triangles, reconstruction.triangles))
    if own.shape != other.shape or not np.array_equal(own[np.lexsort(own.T)], other[np.lexsort(other.T)]):
        raise TopologyMismatchError(
            f"expected the template's {len(own)} triangles, got {len(other)} triangles that are not the same"
        )


def check_units(template: Template, reconstruction: Mesh) -> None:
    """A face of about the template's size in units of 100 mm, vertices in the template's order.

    Raises:
        UnitsError: another size.
        TopologyMismatchError: vertices far from where the template has them.
    """
    expected = template.mesh.vertices / MM_PER_UNIT
    alignment = fit_alignment(expected, reconstruction.vertices, scale=ScaleRule.NORM_RATIO)
    size = alignment.scale
    if not PLAUSIBLE_SIZE[0] <= size <= PLAUSIBLE_SIZE[1]:
        guess = {"millimetres": 100.0, "centimetres": 10.0, "metres": 0.1}
        likely = [name for name, factor in guess.items() if PLAUSIBLE_SIZE[0] <= size / factor <= PLAUSIBLE_SIZE[1]]
        raise UnitsError(
            f"expected a reconstruction in the template's unit of 100 mm, got one {size:.4g} times as large as the "
            f"template{': it is in ' + likely[0] if likely else ''}; divide it by {size:.3g} or declare its unit"
        )
    gap = np.linalg.norm(align_points(alignment, expected) - reconstruction.vertices, axis=1).mean() / size
    if gap > MAX_VERTEX_DISTANCE:
        raise TopologyMismatchError(
            f"the vertices lie {gap * MM_PER_UNIT:.0f} mm (mean) from the template's after alignment: as many, but in "
            "another order"
        )


def _mask(
    template: Template, vertices: Float[np.ndarray, "vertex 3"], nose_tip: Float[np.ndarray, "3"], radius: float
) -> Bool[np.ndarray, " vertex"]:
    mask = in_whole_triangles(sphere_crop(vertices, nose_tip, radius), template.mesh.triangles)
    if not mask.any():
        raise DegeneratePointsError("no triangle lies inside the crop around the nose tip: check landmarks and unit")
    return mask


def _run(moving: Float[np.ndarray, "vertex 3"], target: Mesh, mask: Bool[np.ndarray, " vertex"]) -> Solution[PassState]:
    return solve(AuthorsPass(moving=moving, target=target.vertices, index=ClosestPointIndex(target), mask=mask))


def _final_distances(solution: Solution[PassState], mask: Bool[np.ndarray, " vertex"]) -> Float[np.ndarray, " masked"]:
    return MM_PER_UNIT * np.linalg.norm(solution.state.counterparts - solution.state.vertices[mask], axis=1)
