"""Expression bases made for the mesh of BFM 2009 and LSFM, in micrometres, and how they meet a model's vertices.

Understood are the two that circulate with BFM 2009, both on 53,215 of its 53,490 vertices:

- `Exp_Pca.bin` (Guo et al.): int32 count n, then float32 mean [3 V] and components [n, 3 V]; its standard deviations
  are a text file of n numbers (`std_exp.txt`). Its mean is not added, as is the custom.
- `Model_Exp.mat` (Zhu et al., 29 FaceWarehouse modes): `w_exp` [3 V, n], `sigma_exp` [n], `mu_exp` [3 V]; its mean is
  added to the model's.

A .mat with `trimIndex` (V numbers from 1, such as BFM_exp_idx.mat) says which vertices of the model the basis covers;
the imported model then consists of these alone. It may be left out where the basis covers the whole model.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from ops.errors import ModelFormatError
from ops.importers.assembly import check_indices
from ops.importers.linear_basis import as_modes, as_points, existing, read_mat

MILLIMETRES_PER_MICROMETRE = 1e-3


@dataclass(frozen=True, kw_only=True)
class ExpressionFiles:
    """Where an expression basis and its companions lie."""

    basis: Path
    """`.bin` or `.mat`, see the module's description."""
    deviations: Path | None = None
    """Text file of standard deviations, for `.bin`."""
    vertices: Path | None = None
    """`.mat` with `trimIndex`, where the basis covers a part of the model."""


class ExpressionBasis(NamedTuple):
    """Modes of expression, and the vertices of the model they cover, in order."""

    mean_mm: Float[np.ndarray, "kept 3"]
    """Added to the mean face."""
    basis_mm: Float[np.ndarray, "mode kept 3"]
    kept: Int64[np.ndarray, " kept"]


def read_expression_basis(files: ExpressionFiles | None, vertices: int) -> ExpressionBasis:
    """Read a basis for a model of so many vertices; without files, no modes.

    Raises:
        MissingModelFileError: a named file is not there.
        ModelFormatError: the files do not fit each other or the model.
    """
    if files is None:
        return ExpressionBasis(np.zeros((vertices, 3)), np.zeros((0, vertices, 3), np.float32), np.arange(vertices))
    mean, basis = _read_mat_basis(files.basis) if files.basis.suffix.lower() == ".mat" else _read_bin_basis(files)
    if files.vertices is not None:
        kept = read_mat(files.vertices, ("trimIndex",))["trimIndex"].ravel().astype(np.int64) - 1
        check_indices(kept, vertices, f"trimIndex of {files.vertices} (counted from 0)")
    else:
        kept = np.arange(vertices)
    if basis.shape[1] != len(kept):
        raise ModelFormatError(
            f"the expression basis {files.basis} covers {basis.shape[1]} vertices, the model has {len(kept)} to cover: "
            "give the file that says which ones it covers (a .mat with trimIndex)"
        )
    return ExpressionBasis(mean * MILLIMETRES_PER_MICROMETRE, basis * np.float32(MILLIMETRES_PER_MICROMETRE), kept)


def read_mode_deviations(path: Path, modes: int) -> Float[np.ndarray, " mode"]:
    """The standard deviations `sigma_exp` of so many expression modes.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it holds something else.
    """
    sigma = read_mat(path, ("sigma_exp",))["sigma_exp"].ravel().astype(np.float64)
    if len(sigma) != modes or not (sigma > 0).all():
        raise ModelFormatError(f"expected {modes} positive numbers in sigma_exp of {path}, got {sigma}")
    return sigma


def _read_mat_basis(path: Path) -> tuple[Float[np.ndarray, "kept 3"], Float[np.ndarray, "mode kept 3"]]:
    content = read_mat(path, ("mu_exp", "w_exp", "sigma_exp"))
    mean = as_points(content["mu_exp"], "mu_exp")
    return mean, as_modes(content["w_exp"], content["sigma_exp"], len(mean), "w_exp")


def _read_bin_basis(files: ExpressionFiles) -> tuple[Float[np.ndarray, "kept 3"], Float[np.ndarray, "mode kept 3"]]:
    if files.deviations is None:
        raise ModelFormatError(f"{files.basis} holds no standard deviations: give its text file of them (std_exp.txt)")
    content = existing(files.basis).read_bytes()
    modes = int.from_bytes(content[:4], "little", signed=True)
    numbers = len(content) // 4 - 1
    if modes <= 0 or len(content) % 4 or numbers % (3 * (modes + 1)):
        raise ModelFormatError(
            f"{files.basis} is not an Exp_Pca.bin: {len(content)} bytes do not hold a mean and {modes} components"
        )
    try:
        deviations = np.array(existing(files.deviations).read_text(encoding="utf-8").split(), np.float64)
    except ValueError as error:
        raise ModelFormatError(f"{files.deviations} is not a text file of numbers: {error}") from error
    values = np.frombuffer(content, np.dtype("<f4"), offset=4).reshape(modes + 1, -1)
    vertices = values.shape[1] // 3
    return np.zeros((vertices, 3)), as_modes(values[1:].T, deviations, vertices, str(files.basis))
