"""Arrays of published models in the one shape used here, with every mismatch named."""

from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float, Int, Int64
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ops.errors import MissingModelFileError, ModelFormatError


def read_mat(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named arrays of a MATLAB file (format 5 to 7.2; nothing in it is executed).

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it is no such file, or lacks an array.
    """
    existing(path)
    try:
        content = cast(dict[str, object], loadmat(path, variable_names=names))
    except (ValueError, TypeError, NotImplementedError, OSError, EOFError, MatReadError) as error:
        raise ModelFormatError(f"{path} is not a readable MATLAB file: {error}") from error
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        value = content.get(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise ModelFormatError(f"{path} lacks the numeric array {name}")
        arrays[name] = value
    return arrays


def existing(path: Path) -> Path:
    """The path itself.

    Raises:
        MissingModelFileError: there is no such file.
    """
    if not path.is_file():
        raise MissingModelFileError(f"no model file at {path}")
    return path


def as_points(values: np.ndarray, name: str) -> Float[np.ndarray, "vertex 3"]:
    """A vector (x1, y1, z1, x2, ...) as points."""
    if values.size == 0 or values.size % 3:
        raise ModelFormatError(f"expected a multiple of three numbers in {name}, got shape {values.shape}")
    return values.reshape(-1, 3).astype(np.float64)


def as_modes(
    components: np.ndarray, deviations: np.ndarray, vertices: int, name: str
) -> Float[np.ndarray, "mode vertex 3"]:
    """Components in columns (3 V x n), each times its standard deviation, as n modes of V points."""
    deviations = deviations.ravel().astype(np.float64)
    if components.shape != (3 * vertices, len(deviations)):
        raise ModelFormatError(
            f"expected {name} with shape {(3 * vertices, len(deviations))}: three rows per vertex, one column per "
            f"standard deviation; got {components.shape}"
        )
    return (components * deviations).T.reshape(len(deviations), vertices, 3).astype(np.float32)


def as_triangles(values: np.ndarray, first: int, name: str) -> Int[np.ndarray, "triangle 3"]:
    """Triangles in rows or columns, counted from `first`, as rows counted from 0."""
    if values.ndim == 2 and values.shape[1] != 3 and values.shape[0] == 3:
        values = values.T
    if values.ndim != 2 or values.shape[1] != 3:
        raise ModelFormatError(f"expected three indices a triangle in {name}, got shape {values.shape}")
    return values.astype(np.int64) - first


def restrict_triangles(
    triangles: Int[np.ndarray, "triangle 3"], kept: Int64[np.ndarray, " kept"], vertices: int
) -> Int[np.ndarray, "inner 3"]:
    """The triangles all of whose corners are kept, in the numbering of the kept vertices."""
    new = np.full(vertices, -1, np.int64)
    new[kept] = np.arange(len(kept))
    renumbered = new[triangles]
    return renumbered[(renumbered >= 0).all(1)]
