"""The face world's morphable model: heads on a grid, principal modes of their measurements and of facial actions.

Identity. A head is a smooth function h of independent standard-normal causes c (each measurement, sex, body weight)
plus smooth displacement fields for what the measurements leave out. Linearised about the average,
h(c) = h(0) + J c, so the modes are the leading left singular vectors of [J, fields] times their singular values:
no sampling, and standard deviations by construction. Expression. The same of the 29 facial actions, each with the
standard deviation `ACTION_DEVIATION`.
"""

from functools import cache

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ops.face.morphable_model import ModelMetadata, MorphableModel
from ops.faceworld.anthropometry import AVERAGE, Measurements, independent_directions
from ops.faceworld.canonical import CanonicalMap, canonical_landmarks
from ops.faceworld.expressions import Actions, expression_offset
from ops.faceworld.head import SIDE, head_grid, head_surface

UV_LAYOUT = "faceworld-grid-v1"
IDENTITY_MODES, EXPRESSION_MODES = 158, 29
ACTION_DEVIATION = 0.30
"""Standard deviation of a facial action's activation."""
FIELDS = ((45.0, 0.9, 96), (22.0, 0.35, 96))
"""Smooth fields: wavelength scale in millimetres, root-mean-square displacement in millimetres, number."""
FIELD_SEED = 20190616
ALIKE = 1 - 1e-6
"""Causes of a mode that differ by less than this factor count alike."""
GRID_MM = 2.0**-12
"""Lengths of the model are multiples of this."""
FACE_ANGLE = np.deg2rad(80.0)
"""Columns up to here belong to the face."""
FACE_TOP_MM, FACE_BOTTOM_MM = 62.0, -120.0
"""Highest and lowest row of the face and of its landmarks, along the midline: the rows below are the underside of the
jaw and the neck, which seen from the front overlap the jaw."""
LANDMARK_ANGLE = np.deg2rad(84.0)
JAW_CANDIDATE_ANGLE = np.deg2rad(18.0)
"""Jaw candidates run along their row from the landmark to this angle."""
JAW_CANDIDATES = 8
METADATA = ModelMetadata(
    name="faceworld",
    licence="Apache-2.0",
    source="built by ops.faceworld.shape",
    uv_layout=UV_LAYOUT,
    expression_kind="gaussian",
)


@cache
def faceworld_model() -> MorphableModel:
    """Build the model (two CPU-seconds, once a process); deterministic. Treat the result as read-only."""
    average = head_surface(AVERAGE)
    identity = _modes(np.concatenate([_measurement_columns(), _field_columns()]), IDENTITY_MODES)
    expression = _modes(_action_columns(), EXPRESSION_MODES)
    triangles = _triangles()
    landmarks = _landmark_vertices()
    grid = head_grid()
    on_face = (np.abs(grid.angle) <= FACE_ANGLE) & (grid.row_mm <= FACE_TOP_MM) & (grid.row_mm >= FACE_BOTTOM_MM)
    face = torch.from_numpy(on_face.ravel())
    return MorphableModel(
        mean_mm=_lengths(average.reshape(-1, 3)),
        identity_basis_mm=_lengths(identity.reshape(IDENTITY_MODES, -1, 3)),
        expression_basis_mm=_lengths(expression.reshape(EXPRESSION_MODES, -1, 3)),
        triangles=triangles,
        uv=_float(_grid_uv()),
        uv_triangles=triangles.clone(),
        landmarks=torch.from_numpy(landmarks),
        jaw_candidates=torch.from_numpy(_jaw_candidates(landmarks[:17])),
        regions={"face": face, "skin": face.clone()},
        metadata=METADATA,
        triangle_regions=torch.zeros(len(triangles), dtype=torch.int32),
        region_names=("head",),
    )


def faceworld_canonical_map(side: int) -> CanonicalMap:
    """Canonical coordinates of every texel of the grid's layout; eyes and mouth are painted on the skin."""
    grid = head_grid()
    at = np.clip((np.arange(side) + 0.5) / side * (SIDE - 1), 0, SIDE - 1 - 1e-9)
    lower = at.astype(np.int64)
    share = at - lower

    def enlarged(values: Float64[np.ndarray, "row column"]) -> np.ndarray:
        rows = values[lower] * (1 - share)[:, None] + values[lower + 1] * share[:, None]
        # Indexing columns gives them in the order of columns, and every texel's sum would stride through the others.
        return np.ascontiguousarray(rows[:, lower] * (1 - share) + rows[:, lower + 1] * share, np.float32)

    return CanonicalMap(
        x_mm=enlarged(grid.x_mm),
        y_mm=enlarged(grid.y_mm),
        angle=enlarged(grid.angle),
        part=np.zeros((side, side), np.uint8),
        open_holes=False,
    )


def _lengths(values_mm: np.ndarray) -> Tensor:
    """Rounded, as the last bits depend on the number of threads that multiplied the matrices."""
    return _float(np.round(values_mm / GRID_MM) * GRID_MM)


def _float(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _grid_uv() -> Float64[np.ndarray, "vertex 2"]:
    ticks = np.arange(SIDE) / (SIDE - 1)
    u, v = np.meshgrid(ticks, 1 - ticks)
    return np.stack([u.ravel(), v.ravel()], 1)


def _triangles() -> Tensor:
    index = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    corners = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return torch.from_numpy(corners.astype(np.int32))


def _measurement_columns() -> Float64[np.ndarray, "cause number"]:
    """Central differences of the head along every cause, half a standard deviation to either side."""
    columns: list[np.ndarray] = []
    for direction in independent_directions():
        ends = [head_surface(Measurements(*(np.array(AVERAGE) + step * direction))).ravel() for step in (0.5, -0.5)]
        columns.append(ends[0] - ends[1])
    return np.stack(columns)


def _field_columns() -> Float64[np.ndarray, "cause number"]:
    """Plane waves of random direction and phase over the average head; each field displaces along one axis."""
    rng = np.random.default_rng(FIELD_SEED)
    points = head_surface(AVERAGE).reshape(-1, 3)
    columns: list[np.ndarray] = []
    for scale, deviation, count in FIELDS:
        for index in range(count):
            wave = rng.normal(size=3) / scale
            phase = rng.uniform(0, 2 * np.pi)
            column = np.zeros_like(points)
            column[:, index % 3] = np.cos(points @ wave + phase) * deviation * np.sqrt(2 * 3 / count)
            columns.append(column.ravel())
    return np.stack(columns)


def _action_columns() -> Float64[np.ndarray, "cause number"]:
    """Every action's effect at one standard deviation, as a secant through half its range."""
    size = len(Actions._fields)
    halves = [Actions(*(0.5 * np.eye(size)[index])) for index in range(size)]
    return np.stack([expression_offset(actions).ravel() * (ACTION_DEVIATION / 0.5) for actions in halves])


def _modes(columns: Float64[np.ndarray, "cause number"], count: int) -> Float64[np.ndarray, "mode number"]:
    """Principal directions of sum_i c_i columns_i with c_i ~ N(0, 1), each one standard deviation long.

    Each grows with the first of the causes that count most in it: where a cause on the left and its twin on the right
    count alike with opposite signs, which of them is the greatest is a matter of rounding, and so of the processor.
    """
    _, vectors = np.linalg.eigh(columns @ columns.T)
    leading = vectors[:, ::-1][:, :count]
    size = np.abs(leading)
    peak = np.take_along_axis(leading, (size > ALIKE * size.max(0)).argmax(0, keepdims=True), 0)
    return (leading * np.sign(peak)).T @ columns


def _landmark_vertices() -> Int64[np.ndarray, "68"]:
    """The grid vertex of the face's front and sides nearest to each canonical landmark."""
    grid = head_grid()
    places = np.stack([grid.x_mm.ravel(), grid.y_mm.ravel()], 1)
    squared = ((places[None] - canonical_landmarks()[:, None]) ** 2).sum(-1)
    eligible = (np.abs(grid.angle) <= LANDMARK_ANGLE) & (grid.row_mm >= FACE_BOTTOM_MM)
    squared[:, ~eligible.ravel()] = np.inf
    return squared.argmin(1)


def _jaw_candidates(jaw: Int64[np.ndarray, "17"]) -> Int64[np.ndarray, "17 candidate"]:
    """From every jaw landmark along its grid row towards the front; landmarks near the chin have only themselves."""
    angles = head_grid().angle[0]
    candidates = np.repeat(jaw[:, None], JAW_CANDIDATES, 1)
    for index, vertex in enumerate(jaw):
        row, column = divmod(int(vertex), SIDE)
        if abs(angles[column]) <= JAW_CANDIDATE_ANGLE:
            continue
        stop = int(np.abs(angles - np.sign(angles[column]) * JAW_CANDIDATE_ANGLE).argmin())
        candidates[index] = row * SIDE + np.linspace(column, stop, JAW_CANDIDATES).round().astype(np.int64)
    return candidates
