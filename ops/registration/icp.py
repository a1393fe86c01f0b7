"""Rigid and similarity ICP of points onto a fixed surface, point-to-point or point-to-plane."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ops.registration.alignment import (
    IDENTITY,
    Alignment,
    ScaleRule,
    align_points,
    compose_alignments,
    fit_alignment,
)
from ops.registration.solver import Status
from ops.registration.surface import Correspondences, Rejection, Surface

MIN_CORRESPONDENCES = 30
MOTIONS = 7
"""Of a similarity: three rotations, three translations, growth."""
DAMPING = 1e-3
"""Against the mean squared movement of a point by one motion."""


class Metric(Enum):
    """What one alignment step minimises."""

    POINT = "point"
    PLANE = "plane"


class Anchors(NamedTuple):
    """Known pairs (landmarks) that pull beside the surface; `share` of the total weight."""

    source: Float[np.ndarray, "anchor 3"]
    target: Float[np.ndarray, "anchor 3"]
    share: float


class IcpState(NamedTuple):
    """The alignment so far, the moved points, their correspondences, the mean distance and the last movement."""

    alignment: Alignment
    points: Float[np.ndarray, "point 3"]
    found: Correspondences
    residual_mm: float
    movement_mm: float


@dataclass(frozen=True, kw_only=True)
class Icp:
    """ICP solver: closest points, tests, alignment, until the points move less than `tolerance_mm` on average."""

    points: Float[np.ndarray, "point 3"]
    surface: Surface
    metric: Metric = Metric.PLANE
    scale: ScaleRule = ScaleRule.RIGID
    start: Alignment = IDENTITY
    normals: Float[np.ndarray, "point 3"] | None = None
    weights: Float[np.ndarray, " point"] | None = None
    anchors: Anchors | None = None
    rejection: Rejection = field(default_factory=Rejection)
    tolerance_mm: float = 1e-4
    max_steps: int = 100

    def init(self) -> IcpState:
        """The points under the starting alignment."""
        return self._look(self.start, np.inf, None)

    def step(self, state: IcpState) -> IcpState:
        """Align to the current correspondences and look again."""
        keep = state.found.accepted
        if np.count_nonzero(keep) < MIN_CORRESPONDENCES:
            return state
        weights = np.ones(len(keep)) if self.weights is None else self.weights
        source, target, weights = state.points[keep], state.found.points[keep], weights[keep]
        normals = state.found.normals[keep]
        if self.anchors is not None:
            moved = align_points(state.alignment, self.anchors.source)
            anchor_weight = weights.sum() * self.anchors.share / (1 - self.anchors.share) / len(moved)
        else:
            moved, anchor_weight = np.zeros((0, 3)), 0.0
        held = np.zeros((0, 3)) if self.anchors is None else self.anchors.target
        if self.metric is Metric.POINT:
            update = fit_alignment(
                np.concatenate((source, moved)),
                np.concatenate((target, held)),
                scale=self.scale,
                weights=np.concatenate((weights, np.full(len(moved), anchor_weight))),
            )
        else:
            update = _plane_step(source, target, normals, weights, (moved, held, anchor_weight), self.scale)
        alignment = compose_alignments(update, state.alignment)
        movement = np.linalg.norm(align_points(update, state.points) - state.points, axis=1)
        return self._look(alignment, float(movement.mean()), state.found.triangle)

    def terminate(self, state: IcpState) -> Status | None:
        """Converged once the points rest."""
        if not np.isfinite(state.points).all():
            return Status.DIVERGED
        if np.count_nonzero(state.found.accepted) < MIN_CORRESPONDENCES:
            return Status.LOST
        return Status.CONVERGED if state.movement_mm < self.tolerance_mm else None

    def measure(self, state: IcpState) -> float:
        """Mean distance of the accepted correspondences."""
        return state.residual_mm

    def _look(self, alignment: Alignment, movement_mm: float, hint: Int[np.ndarray, " point"] | None) -> IcpState:
        points = align_points(alignment, self.points)
        normals = None if self.normals is None else self.normals @ alignment.rotation.T
        found = self.surface.correspond(points, normals, self.rejection, hint)
        distance = found.distance[found.accepted]
        residual = float(distance.mean()) if len(distance) else np.inf
        return IcpState(alignment, points, found, residual, movement_mm)


def _plane_step(
    source: Float[np.ndarray, "point 3"],
    target: Float[np.ndarray, "point 3"],
    normals: Float[np.ndarray, "point 3"],
    weights: Float[np.ndarray, " point"],
    anchors: tuple[Float[np.ndarray, "anchor 3"], Float[np.ndarray, "anchor 3"], float],
    scale: ScaleRule,
) -> Alignment:
    """One damped Gauss-Newton step of sum w (n . (s R (x - c) + c + t - y))^2 plus the anchors' point distances.

    A flat or round patch leaves directions undetermined; the damping does not move along them.
    """
    centre = source.mean(0)
    size = float(np.sqrt(np.square(source - centre).sum(1).mean()))
    jacobian = small_motions((source - centre) / size, normals, scale)
    misfit = np.einsum("pc,pc->p", target - source, normals)
    normal_matrix = (jacobian * weights[:, None]).T @ jacobian
    right = (jacobian * weights[:, None]).T @ misfit
    moved, held, anchor_weight = anchors
    for axis in np.eye(3):
        rows = small_motions((moved - centre) / size, np.broadcast_to(axis, moved.shape), scale)
        normal_matrix += anchor_weight * rows.T @ rows
        right += anchor_weight * rows.T @ ((held - moved) @ axis)
    normal_matrix += DAMPING * weights.sum() * np.eye(len(right))
    return small_alignment(np.linalg.solve(normal_matrix, right), centre, size)


def small_alignment(step: Float[np.ndarray, " motion"], centre: Float[np.ndarray, "3"], size: float) -> Alignment:
    """The alignment of a step in the motions of `small_motions`, about a centre, arms being in units of `size`."""
    rotation = _rotation(step[:3] / size)
    factor = 1 + float(step[6]) / size if len(step) == MOTIONS else 1.0
    return Alignment(rotation, centre + step[3:6] - factor * rotation @ centre, factor)


def small_motions(
    arm: Float[np.ndarray, "point 3"], direction: Float[np.ndarray, "point 3"], scale: ScaleRule
) -> Float[np.ndarray, "point motion"]:
    """Movement along a direction by each of three rotations, three translations and, where asked for, growth."""
    columns = [np.cross(arm, direction), direction]
    if scale is not ScaleRule.RIGID:
        columns.append(np.einsum("pc,pc->p", arm, direction)[:, None])
    return np.concatenate(columns, axis=1)


def _rotation(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation by |v| radians about v (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-15:
        return np.eye(3)
    x, y, z = vector / angle
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
