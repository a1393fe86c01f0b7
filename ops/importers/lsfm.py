"""The Large Scale Facial Model (Booth et al., CVPR 2016), full or cropped, as .mat.

Its licence forbids redistribution.
"""

from pathlib import Path

import numpy as np

from ops.face.morphable_model import ModelMetadata, MorphableModel
from ops.importers.assembly import CYLINDRICAL_LAYOUT, RawModel, assemble_model, check_indices, millimetres_per_unit
from ops.importers.expression_basis import ExpressionFiles, read_expression_basis
from ops.importers.landmark_file import read_landmarks
from ops.importers.linear_basis import as_modes, as_points, as_triangles, read_mat, restrict_triangles

METADATA = ModelMetadata(
    name="lsfm",
    licence="LSFM licence of Imperial College London: non-commercial research, no redistribution",
    source="https://ibug.doc.ic.ac.uk/resources/lsfm/",
    uv_layout=CYLINDRICAL_LAYOUT,
    expression_kind="gaussian",
)


def import_lsfm(path: Path, landmarks: Path | None, expression: ExpressionFiles | None = None) -> MorphableModel:
    """Read a model such as `all_all_all.mat`: unit eigenvectors, variances, triangles counted from 0.

    The unit is not documented: it is the metric one in which the mean face has a human outer eye distance. The full
    model's mesh is the 53,215-vertex part of BFM 2009, so the expression bases made for that fit it without an index.

    Raises:
        MissingModelFileError: a named file is not there.
        ModelFormatError: a file is something else, or they do not fit each other.
        UnitsError: a face that has a human size in no metric unit.
    """
    content = read_mat(path, ("mean", "components", "eigenvalues", "trilist"))
    mean = as_points(content["mean"], "mean")
    modes = as_modes(content["components"], np.sqrt(content["eigenvalues"].clip(0)), len(mean), "components")
    triangles = as_triangles(content["trilist"], 0, "trilist")
    basis = read_expression_basis(expression, len(mean))
    vertices = read_landmarks(landmarks, "LSFM")
    check_indices(vertices.landmarks, len(basis.kept), "landmarks")
    unit = millimetres_per_unit(mean[basis.kept], vertices.landmarks)
    raw = RawModel(
        mean_mm=mean[basis.kept] * unit + basis.mean_mm,
        identity_basis_mm=modes[:, basis.kept] * np.float32(unit),
        expression_basis_mm=basis.basis_mm,
        triangles=restrict_triangles(triangles, basis.kept, len(mean)),
        landmarks=vertices,
    )
    return assemble_model(raw, METADATA)
