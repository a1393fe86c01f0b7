import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat

from ops.errors import MissingModelFileError, ModelFormatError, UnitsError
from ops.importers.assembly import RawModel
from ops.importers.bfm import import_bfm2009, import_bfm2017
from ops.importers.expression_basis import ExpressionFiles


@pytest.fixture
def landmarks(toy_face: RawModel, tmp_path: Path) -> Path:
    path = tmp_path / "landmarks.txt"
    path.write_text(" ".join(map(str, toy_face.landmarks.landmarks.tolist())))
    return path


def unit_columns(modes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Modes [n, V, 3] as unit columns [3 V, n] and their lengths."""
    columns = modes.reshape(len(modes), -1).T
    lengths = np.linalg.norm(columns, axis=0)
    return columns / lengths, lengths


def content_2009(face: RawModel) -> dict[str, np.ndarray]:
    components, deviations = unit_columns(face.identity_basis_mm * 1000)
    return {
        "shapeMU": (face.mean_mm * 1000).reshape(-1, 1).astype(np.float32),
        "shapePC": components.astype(np.float32),
        "shapeEV": deviations[:, None].astype(np.float32),
        "tl": (face.triangles[:, ::-1] + 1).astype(np.float64),
        "texMU": np.zeros((face.mean_mm.size, 1), np.float32),
    }


def assert_millimetres(found: torch.Tensor, expected: np.ndarray, tolerance: float = 2e-4) -> None:
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=0, atol=tolerance)


def test_2009_micrometres_and_deviations(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    savemat(tmp_path / "01_MorphableModel.mat", content_2009(toy_face))
    model = import_bfm2009(tmp_path / "01_MorphableModel.mat", landmarks)
    assert_millimetres(model.mean_mm, toy_face.mean_mm)
    assert_millimetres(model.identity_basis_mm, toy_face.identity_basis_mm)
    assert model.expression_size == 0
    assert model.triangles.tolist() == toy_face.triangles.tolist()
    assert model.landmarks.tolist() == toy_face.landmarks.landmarks.tolist()
    assert model.metadata.uv_layout == "cylindrical-v1"


def test_2009_with_a_facewarehouse_basis_on_a_part_of_the_mesh(
    toy_face: RawModel, landmarks: Path, tmp_path: Path
) -> None:
    """The last four vertices, the separate square, are not covered and disappear."""
    savemat(tmp_path / "model.mat", content_2009(toy_face))
    covered = len(toy_face.mean_mm) - 4
    components, deviations = unit_columns(toy_face.expression_basis_mm[:, :covered] * 1000)
    offset = np.full((3 * covered, 1), 250.0)
    savemat(tmp_path / "exp.mat", {"mu_exp": offset, "w_exp": components, "sigma_exp": deviations})
    savemat(tmp_path / "idx.mat", {"trimIndex": np.arange(covered)[:, None] + 1})
    files = ExpressionFiles(basis=tmp_path / "exp.mat", vertices=tmp_path / "idx.mat")
    model = import_bfm2009(tmp_path / "model.mat", landmarks, files)
    assert_millimetres(model.mean_mm, toy_face.mean_mm[:covered] + 0.25)
    assert_millimetres(model.identity_basis_mm, toy_face.identity_basis_mm[:, :covered])
    assert_millimetres(model.expression_basis_mm, toy_face.expression_basis_mm[:, :covered])
    assert model.triangles.tolist() == toy_face.triangles[:-2].tolist()
    with pytest.raises(ModelFormatError, match="which ones it covers"):
        import_bfm2009(tmp_path / "model.mat", landmarks, dataclasses.replace(files, vertices=None))


def test_2009_variances_in_place_of_deviations_are_noticed(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    content = content_2009(toy_face)
    savemat(tmp_path / "model.mat", content | {"shapeEV": content["shapeEV"] ** 2})
    with pytest.raises(UnitsError, match="not scaled to standard deviations"):
        import_bfm2009(tmp_path / "model.mat", landmarks)


@pytest.mark.parametrize("missing", ["shapeMU", "shapePC", "shapeEV", "tl"])
def test_2009_files_that_lack_an_array_are_refused(
    toy_face: RawModel, landmarks: Path, tmp_path: Path, missing: str
) -> None:
    content = content_2009(toy_face)
    del content[missing]
    savemat(tmp_path / "model.mat", content)
    with pytest.raises(ModelFormatError, match=f"lacks the numeric array {missing}"):
        import_bfm2009(tmp_path / "model.mat", landmarks)


def test_2009_arrays_of_other_sizes_are_refused(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    content = content_2009(toy_face)
    savemat(tmp_path / "model.mat", content | {"shapeEV": content["shapeEV"][1:]})
    with pytest.raises(ModelFormatError, match="one column per standard deviation"):
        import_bfm2009(tmp_path / "model.mat", landmarks)


def test_2009_needs_landmarks(toy_face: RawModel, tmp_path: Path) -> None:
    savemat(tmp_path / "model.mat", content_2009(toy_face))
    with pytest.raises(ModelFormatError, match="BFM 2009 files do not say"):
        import_bfm2009(tmp_path / "model.mat", None)


def test_2009_landmarks_of_another_mesh_are_refused(toy_face: RawModel, tmp_path: Path) -> None:
    savemat(tmp_path / "model.mat", content_2009(toy_face))
    (tmp_path / "lm.txt").write_text(" ".join(map(str, range(50_000, 50_068))))
    with pytest.raises(ModelFormatError, match="expected landmarks within 0 to"):
        import_bfm2009(tmp_path / "model.mat", tmp_path / "lm.txt")


@pytest.mark.parametrize("content", [b"", b"text", b"MATLAB 7.3 MAT-file" + b" " * 105 + b"\x00\x02IM" + b"\0" * 500])
def test_2009_other_files_are_refused(landmarks: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.mat").write_bytes(content)
    with pytest.raises(ModelFormatError, match="not a readable MATLAB file"):
        import_bfm2009(tmp_path / "model.mat", landmarks)


def test_missing_files_are_named(landmarks: Path, tmp_path: Path) -> None:
    for importer in (import_bfm2009, import_bfm2017):
        with pytest.raises(MissingModelFileError, match=r"nowhere\.mat"):
            importer(tmp_path / "nowhere.mat", landmarks)


def write_2017(face: RawModel, path: Path) -> None:
    with h5py.File(path, "w") as file:
        for part, mean, modes in (
            ("shape", face.mean_mm - 0.5, face.identity_basis_mm),
            ("expression", np.full_like(face.mean_mm, 0.5), face.expression_basis_mm),
        ):
            components, deviations = unit_columns(modes)
            file[f"{part}/model/mean"] = mean.ravel().astype(np.float32)
            file[f"{part}/model/pcaBasis"] = components.astype(np.float32)
            file[f"{part}/model/pcaVariance"] = (deviations**2).astype(np.float32)
        file["shape/representer/cells"] = face.triangles.T.astype(np.uint32)


def test_2017_millimetres_variances_and_own_expressions(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    write_2017(toy_face, tmp_path / "model.h5")
    model = import_bfm2017(tmp_path / "model.h5", landmarks)
    assert_millimetres(model.mean_mm, toy_face.mean_mm)
    assert_millimetres(model.identity_basis_mm, toy_face.identity_basis_mm)
    assert_millimetres(model.expression_basis_mm, toy_face.expression_basis_mm)
    assert model.triangles.tolist() == toy_face.triangles.tolist()
    assert model.metadata.expression_kind == "gaussian"


def test_2017_files_that_lack_an_array_are_refused(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    write_2017(toy_face, tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "a") as file:
        del file["expression/model/pcaVariance"]
    with pytest.raises(ModelFormatError, match="lacks the numeric array expression/model/pcaVariance"):
        import_bfm2017(tmp_path / "model.h5", landmarks)


def test_2017_other_files_are_refused(landmarks: Path, tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"no HDF5 at all")
    with pytest.raises(ModelFormatError, match="not a readable HDF5 file"):
        import_bfm2017(tmp_path / "model.h5", landmarks)
