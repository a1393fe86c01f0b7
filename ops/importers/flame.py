"""FLAME (Li et al., 2017) from its pickle or an .npz of the same arrays. Its licence forbids redistribution.

Identity and expression modes alone are kept, in standard deviations as published; the jaw, neck and eye joints and
the corrective shapes are left out, so the mouth opens as far as the expression modes open it.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ops.errors import ModelFormatError
from ops.face.morphable_model import ModelMetadata, MorphableModel
from ops.importers.assembly import CYLINDRICAL_LAYOUT, RawModel, assemble_model
from ops.importers.landmark_file import read_landmarks
from ops.importers.linear_basis import as_triangles, existing
from ops.importers.safe_pickle import read_pickled_arrays

MILLIMETRES_PER_METRE = 1e3
IDENTITY_MODES = 300
ARRAYS = ("v_template", "shapedirs", "f")
METADATA = ModelMetadata(
    name="flame",
    licence="FLAME licence of the Max Planck Society; see the terms of the file's version",
    source="https://flame.is.tue.mpg.de/",
    uv_layout=CYLINDRICAL_LAYOUT,
    expression_kind="gaussian",
)


def import_flame(path: Path, landmarks: Path | None, *, identity_modes: int = IDENTITY_MODES) -> MorphableModel:
    """Read `generic_model.pkl` (nothing in it is executed) or an .npz with v_template, shapedirs and f.

    The first `identity_modes` of `shapedirs` [V, 3, n] are identity, the rest expression.

    Raises:
        MissingModelFileError: a named file is not there.
        ModelFormatError: a file is something else, refers to anything but arrays, or does not fit.
        UnitsError: a face of impossible size.
    """
    existing(path)
    content = _read_npz(path) if path.suffix.lower() == ".npz" else read_pickled_arrays(path, ARRAYS)
    mean, modes = content["v_template"].astype(np.float64), content["shapedirs"]
    if mean.ndim != 2 or mean.shape[1] != 3 or modes.ndim != 3 or modes.shape[:2] != mean.shape:
        raise ModelFormatError(
            f"expected v_template [V, 3] and shapedirs [V, 3, n] in {path}, got {mean.shape} and {modes.shape}"
        )
    if not 0 < identity_modes <= modes.shape[2]:
        raise ModelFormatError(f"expected at least {identity_modes} modes in {path}, got {modes.shape[2]}")
    modes_mm = np.moveaxis(modes, 2, 0).astype(np.float32) * np.float32(MILLIMETRES_PER_METRE)
    raw = RawModel(
        mean_mm=mean * MILLIMETRES_PER_METRE,
        identity_basis_mm=modes_mm[:identity_modes],
        expression_basis_mm=modes_mm[identity_modes:],
        triangles=as_triangles(content["f"], 0, "f"),
        landmarks=read_landmarks(landmarks, "FLAME"),
    )
    return assemble_model(raw, METADATA)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if missing := [name for name in ARRAYS if name not in file.files]:
                raise ModelFormatError(f"{path} lacks {', '.join(missing)}")
            return {name: file[name] for name in ARRAYS}
    except (ValueError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelFormatError(f"{path} is not a sound .npz file of plain arrays: {error}") from error
