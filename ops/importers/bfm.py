"""The Basel Face Models of 2009 (Paysan et al.) and 2017 (Gerig et al.). Both forbid redistribution."""

from pathlib import Path

import numpy as np

from ops.errors import ModelFormatError
from ops.face.morphable_model import ModelMetadata, MorphableModel
from ops.importers.assembly import CYLINDRICAL_LAYOUT, RawModel, assemble_model
from ops.importers.expression_basis import MILLIMETRES_PER_MICROMETRE, ExpressionFiles, read_expression_basis
from ops.importers.landmark_file import read_landmarks
from ops.importers.linear_basis import as_modes, as_points, as_triangles, existing, read_mat, restrict_triangles

LICENCE = "Basel Face Model licence of the University of Basel: non-commercial, no redistribution"
SOURCE = "https://faces.dmi.unibas.ch/bfm/"


def import_bfm2009(path: Path, landmarks: Path | None, expression: ExpressionFiles | None = None) -> MorphableModel:
    """Read `01_MorphableModel.mat`: micrometres, triangles counted from 1.

    `shapeEV` holds standard deviations, not variances: a face is shapeMU + shapePC (alpha * shapeEV), alpha ~ N(0, 1).
    The model has no expressions of its own. Landmark indices count the vertices of the imported model, that is, those
    the expression basis covers.

    Raises:
        MissingModelFileError: a named file is not there.
        ModelFormatError: a file is something else, or they do not fit each other.
        UnitsError: a face of impossible size.
    """
    content = read_mat(path, ("shapeMU", "shapePC", "shapeEV", "tl"))
    mean = as_points(content["shapeMU"], "shapeMU")
    modes = as_modes(content["shapePC"], content["shapeEV"], len(mean), "shapePC")
    triangles = as_triangles(content["tl"], 1, "tl")
    basis = read_expression_basis(expression, len(mean))
    raw = RawModel(
        mean_mm=mean[basis.kept] * MILLIMETRES_PER_MICROMETRE + basis.mean_mm,
        identity_basis_mm=modes[:, basis.kept] * np.float32(MILLIMETRES_PER_MICROMETRE),
        expression_basis_mm=basis.basis_mm,
        triangles=restrict_triangles(triangles, basis.kept, len(mean)),
        landmarks=read_landmarks(landmarks, "BFM 2009"),
    )
    return assemble_model(raw, _metadata("bfm-2009"))


def import_bfm2017(path: Path, landmarks: Path | None) -> MorphableModel:
    """Read `model2017-1_*.h5`: millimetres, orthonormal components and their variances, with its own expressions.

    The mean of the expression model is added to the mean face, as its authors do.

    Raises:
        MissingModelFileError: a named file is not there.
        ModelFormatError: a file is something else, or they do not fit each other.
        UnitsError: a face of impossible size.
    """
    names = tuple(f"{part}/model/{name}" for part in ("shape", "expression") for name in _MODEL_ARRAYS)
    content = _read_hdf5(path, (*names, "shape/representer/cells"))
    mean = as_points(content["shape/model/mean"], "shape/model/mean")
    expression_mean = as_points(content["expression/model/mean"], "expression/model/mean")
    if expression_mean.shape != mean.shape:
        raise ModelFormatError(f"{path}: its shape has {len(mean)} vertices, its expressions {len(expression_mean)}")
    identity, expression = (
        as_modes(
            content[f"{part}/model/pcaBasis"],
            np.sqrt(content[f"{part}/model/pcaVariance"].clip(0)),
            len(mean),
            f"{part}/model/pcaBasis",
        )
        for part in ("shape", "expression")
    )
    raw = RawModel(
        mean_mm=mean + expression_mean,
        identity_basis_mm=identity,
        expression_basis_mm=expression,
        triangles=as_triangles(content["shape/representer/cells"], 0, "cells"),
        landmarks=read_landmarks(landmarks, "BFM 2017"),
    )
    return assemble_model(raw, _metadata("bfm-2017"))


_MODEL_ARRAYS = ("mean", "pcaBasis", "pcaVariance")


def _metadata(name: str) -> ModelMetadata:
    return ModelMetadata(
        name=name, licence=LICENCE, source=SOURCE, uv_layout=CYLINDRICAL_LAYOUT, expression_kind="gaussian"
    )


def _read_hdf5(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import h5py

    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(existing(path), "r") as file:
            for name in names:
                item = file.get(name)
                if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiu":
                    raise ModelFormatError(f"{path} lacks the numeric array {name}")
                arrays[name] = np.asarray(item[()])
    except OSError as error:
        raise ModelFormatError(f"{path} is not a readable HDF5 file: {error}") from error
    return arrays
