"""Non-rigid ICP of a template onto a surface: smooth displacements from the template's rest shape.

For displacements d from the rest shape, one level minimises

    sum_i w_i (n_i . (x_i + d_i - y_i))^2  +  a (|grad d|^2 + l^2 |laplace d|^2)  +  b sum_j |x_j + d_j - landmark_j|^2

over closest points y with normals n, accepted by distance, normal and border tests (w is 0 or 1). The stiffness a acts
on the whole displacement, not on increments, so the template never forgets its shape; parts without a counterpart
follow their surroundings. Landmarks pull to the end: b comes from their own scatter, so careless annotations pull less.
Each system is solved by conjugate gradients; the preconditioner, one sparse factorisation a level shared by the three
coordinates, replaces the normals' projectors by their mean. Its fill-reducing ordering is found once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import splu

from ops.geometry.mesh import Mesh
from ops.registration.solver import Solution, Status, solve
from ops.registration.surface import Rejection, Surface, area_normals, vertex_areas, vertex_normals

NORMAL_SHARE = 0.35
"""Diagonal of the preconditioner: about the mean of n n^T, 1/3."""
COTANGENT_RANGE = (0.02, 20.0)
MIN_AREA_SHARE = 0.05
"""Vertices with less area than this share of the mean count as this much: slivers stay solvable."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One stiffness of the schedule."""

    stiffness: float
    """Weight a against one unit of weight a vertex."""
    max_distance_mm: float
    steps: int = 5


@dataclass(frozen=True, kw_only=True)
class NonrigidConfig:
    """How far, how stiff and how long."""

    levels: tuple[Level, ...] = (
        Level(stiffness=30.0, max_distance_mm=15.0),
        Level(stiffness=10.0, max_distance_mm=10.0),
        Level(stiffness=3.0, max_distance_mm=8.0),
        Level(stiffness=0.7, max_distance_mm=5.0),
        Level(stiffness=0.1, max_distance_mm=5.0, steps=8),
    )
    bending_length_mm: float = 1.8
    """The length l: displacements smoother than this are held by their gradient, rougher ones by their curvature."""
    min_normal_cosine: float = 0.6
    landmark_weight: float = 1.6
    """Weight b times the landmarks' variance in mm^2; times the stiffness too where that is below one."""
    rest_weight: float = 0.0
    """Pull of every vertex towards its place in the rest shape, against one unit of weight a vertex."""
    landmark_floor_mm: float = 1.0
    """Landmarks are never trusted to better than this."""
    solver_steps: int = 6
    """Conjugate-gradient steps within one iteration."""
    tolerance_mm: float = 2e-3
    """A level ends early once vertices move less than this on average."""


def after_model_config() -> NonrigidConfig:
    """For a template that a statistical model has already brought close: little is left to deform."""
    return NonrigidConfig(
        levels=(
            Level(stiffness=10.0, max_distance_mm=5.0),
            Level(stiffness=1.0, max_distance_mm=5.0),
            Level(stiffness=0.1, max_distance_mm=5.0, steps=8),
        ),
        landmark_weight=0.2,
        rest_weight=0.02,
    )


class Landmarks(NamedTuple):
    """Template vertices and where they were annotated, millimetres in the scan's frame."""

    vertices: Int[np.ndarray, " landmark"]
    points_mm: Float[np.ndarray, "landmark 3"]


class NonrigidState(NamedTuple):
    """Displacements from the rest shape, the last closest triangles, the share accepted, and the last changes."""

    displacement: Float[np.ndarray, "vertex 3"]
    triangle: Int[np.ndarray, " vertex"] | None
    matched_share: float
    residual_mm: float
    movement_mm: float


class RestShape:
    """The template in its starting pose, with the operators that hold its shape."""

    def __init__(self, mesh: Mesh, bending_length_mm: float) -> None:
        self.mesh = mesh
        self.laplacian = cotangent_laplacian(mesh)
        area = vertex_areas(mesh)
        inverse_area = sp.diags(1 / np.maximum(area, MIN_AREA_SHARE * area.mean()))
        bending = bending_length_mm**2 * self.laplacian @ inverse_area @ self.laplacian
        self.smoothness: Any = (self.laplacian + bending).tocsr()
        self._order: Int[np.ndarray, " vertex"] | None = None

    def factorise(
        self, stiffness: float, diagonal: Float[np.ndarray, " vertex"]
    ) -> Callable[[Float[np.ndarray, "vertex 3"]], Float[np.ndarray, "vertex 3"]]:
        """Solver of (stiffness * smoothness + diagonal) x = b; the ordering of the first call serves all later ones."""
        matrix = (stiffness * self.smoothness + sp.diags(diagonal)).tocsc()
        options = {"SymmetricMode": True}
        if self._order is None:
            first = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
            self._order = np.argsort(first.perm_c)
            return first.solve
        order = self._order
        factor = splu(matrix[order][:, order], permc_spec="NATURAL", diag_pivot_thresh=0.0, options=options)

        def apply(right: Float[np.ndarray, "vertex 3"]) -> Float[np.ndarray, "vertex 3"]:
            result = np.empty_like(right)
            result[order] = factor.solve(np.ascontiguousarray(right[order]))
            return result

        return apply


class _LevelSolver:
    """The iteration at one stiffness."""

    def __init__(
        self,
        rest: RestShape,
        surface: Surface,
        landmarks: Landmarks,
        config: NonrigidConfig,
        level: Level,
        start: NonrigidState,
    ) -> None:
        self.max_steps = level.steps
        self._rest, self._surface, self._landmarks = rest, surface, landmarks
        self._config, self._level, self._start = config, level, start
        self._rejection = Rejection(
            max_distance_mm=level.max_distance_mm, min_normal_cosine=config.min_normal_cosine, border=True
        )
        self._pull = np.zeros(len(rest.mesh.vertices))
        if len(landmarks.vertices):
            miss = landmarks.points_mm - (rest.mesh.vertices + start.displacement)[landmarks.vertices]
            variance = max(float(np.square(miss).sum(1).mean()) / 3, config.landmark_floor_mm**2)
            np.add.at(self._pull, landmarks.vertices, config.landmark_weight * min(1.0, level.stiffness) / variance)
        self._precondition = rest.factorise(level.stiffness, NORMAL_SHARE + self._pull + config.rest_weight)

    def init(self) -> NonrigidState:
        return self._start

    def step(self, state: NonrigidState) -> NonrigidState:
        points = self._rest.mesh.vertices + state.displacement
        normals = vertex_normals(Mesh(points, self._rest.mesh.triangles))
        found = self._surface.correspond(points, normals, self._rejection, state.triangle)
        weight = found.accepted.astype(np.float64)
        gap = np.einsum("vc,vc->v", found.points - points, found.normals)
        residual = float((weight * np.abs(gap)).sum() / max(weight.sum(), 1))
        stiffness, smoothness, pull = self._level.stiffness, self._rest.smoothness, self._pull[:, None]
        right = (weight * gap)[:, None] * found.normals - stiffness * (smoothness @ state.displacement)
        right -= self._config.rest_weight * state.displacement
        miss = self._landmarks.points_mm - points[self._landmarks.vertices]
        right[self._landmarks.vertices] += pull[self._landmarks.vertices] * miss

        def apply(x: Float[np.ndarray, "vertex 3"]) -> Float[np.ndarray, "vertex 3"]:
            along = weight * np.einsum("vc,vc->v", found.normals, x)
            held = (pull + self._config.rest_weight) * x
            return stiffness * (smoothness @ x) + along[:, None] * found.normals + held

        change = conjugate_gradients(apply, right, self._precondition, self._config.solver_steps)
        movement = float(np.linalg.norm(change, axis=1).mean())
        return NonrigidState(state.displacement + change, found.triangle, float(weight.mean()), residual, movement)

    def terminate(self, state: NonrigidState) -> Status | None:
        if not np.isfinite(state.displacement).all():
            return Status.DIVERGED
        if state.matched_share == 0:
            return Status.LOST
        return Status.CONVERGED if state.movement_mm < self._config.tolerance_mm else None

    def measure(self, state: NonrigidState) -> float:
        return state.residual_mm


def nonrigid_icp(
    template: Mesh, surface: Surface, landmarks: Landmarks, config: NonrigidConfig
) -> Solution[NonrigidState]:
    """Deform a template, already aligned to the surface, coarse to fine.

    Reaching a level's step limit is the normal end of a level; the last level's is reported as converged when the
    vertices then move less than ten times the tolerance.
    """
    rest = RestShape(template, config.bending_length_mm)
    state = NonrigidState(np.zeros_like(template.vertices), None, 1.0, np.inf, np.inf)
    history: list[float] = []
    status, steps = Status.EXHAUSTED, 0
    for level in config.levels:
        solution = solve(_LevelSolver(rest, surface, landmarks, config, level, state))
        state, status = solution.state, solution.status
        steps += solution.steps
        history.extend(solution.history[1:])
        if status in (Status.DIVERGED, Status.LOST):
            break
    if status is Status.EXHAUSTED and state.movement_mm < 10 * config.tolerance_mm:
        status = Status.CONVERGED
    return Solution(state=state, status=status, steps=steps, history=tuple(history))


def conjugate_gradients(
    apply: Callable[[Float[np.ndarray, "vertex 3"]], Float[np.ndarray, "vertex 3"]],
    right: Float[np.ndarray, "vertex 3"],
    precondition: Callable[[Float[np.ndarray, "vertex 3"]], Float[np.ndarray, "vertex 3"]],
    steps: int,
) -> Float[np.ndarray, "vertex 3"]:
    """Preconditioned conjugate gradients from zero, at most `steps` steps or until the residual fell a millionfold."""
    x = np.zeros_like(right)
    residual = right.copy()
    z = precondition(residual)
    direction = z
    power = float(np.vdot(residual, z))
    first = power
    for _ in range(steps):
        if power <= 1e-12 * first:
            break
        image = apply(direction)
        length = power / float(np.vdot(direction, image))
        x += length * direction
        residual -= length * image
        z = precondition(residual)
        new_power = float(np.vdot(residual, z))
        direction = z + (new_power / power) * direction
        power = new_power
    return x


def cotangent_laplacian(mesh: Mesh) -> Any:
    """The positive semi-definite cotangent Laplacian (sparse), cotangents clamped so that slivers do no harm."""
    count = len(mesh.vertices)
    double_area = np.maximum(np.linalg.norm(area_normals(mesh), axis=1), 1e-12)
    rows, columns, values = [], [], []
    for corner in range(3):
        a, b, c = (mesh.triangles[:, (corner + k) % 3] for k in range(3))
        dot = np.einsum("tc,tc->t", mesh.vertices[b] - mesh.vertices[a], mesh.vertices[c] - mesh.vertices[a])
        half = np.clip(dot / double_area, *COTANGENT_RANGE) / 2
        rows += [b, c]
        columns += [c, b]
        values += [half, half]
    weights = sp.csr_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)
    )
    return (sp.diags(np.asarray(weights.sum(1)).ravel()) - weights).tocsr()
