from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ops.errors import ModelFormatError, UnitsError
from ops.importers.assembly import RawModel
from ops.importers.expression_basis import ExpressionFiles
from ops.importers.lsfm import import_lsfm


@pytest.fixture
def landmarks(toy_face: RawModel, tmp_path: Path) -> Path:
    savemat(tmp_path / "landmarks.mat", {"keypoints": toy_face.landmarks.landmarks[None] + 1})
    return tmp_path / "landmarks.mat"


def content(face: RawModel, unit_mm: float) -> dict[str, np.ndarray]:
    columns = (face.identity_basis_mm / unit_mm).reshape(len(face.identity_basis_mm), -1).T
    lengths = np.linalg.norm(columns, axis=0)
    return {
        "mean": (face.mean_mm / unit_mm).reshape(1, -1),
        "components": columns / lengths,
        "eigenvalues": lengths**2,
        "trilist": face.triangles.astype(np.uint32),
        "n_training_samples": np.array([[5]]),
    }


@pytest.mark.parametrize("unit_mm", [1e-3, 1.0, 1e3])
def test_any_metric_unit_ends_in_millimetres(
    toy_face: RawModel, landmarks: Path, tmp_path: Path, unit_mm: float
) -> None:
    savemat(tmp_path / "all_all_all.mat", content(toy_face, unit_mm))
    model = import_lsfm(tmp_path / "all_all_all.mat", landmarks)
    torch.testing.assert_close(model.mean_mm.double(), torch.from_numpy(toy_face.mean_mm), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        model.identity_basis_mm.double(), torch.from_numpy(toy_face.identity_basis_mm), rtol=0, atol=1e-4
    )
    assert model.triangles.tolist() == toy_face.triangles.tolist()
    assert model.metadata.name == "lsfm"


def test_expressions_keep_their_own_unit(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    savemat(tmp_path / "lsfm.mat", content(toy_face, 1e3))
    modes = (toy_face.expression_basis_mm * 1000).reshape(3, -1).T
    mean = np.zeros(len(modes))
    savemat(tmp_path / "Model_Exp.mat", {"mu_exp": mean, "w_exp": modes, "sigma_exp": np.ones(3)})
    model = import_lsfm(tmp_path / "lsfm.mat", landmarks, ExpressionFiles(basis=tmp_path / "Model_Exp.mat"))
    torch.testing.assert_close(
        model.expression_basis_mm.double(), torch.from_numpy(toy_face.expression_basis_mm), rtol=0, atol=1e-5
    )


def test_no_metric_unit(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    savemat(tmp_path / "lsfm.mat", content(toy_face, 0.3))
    with pytest.raises(UnitsError, match="no metric unit"):
        import_lsfm(tmp_path / "lsfm.mat", landmarks)


def test_another_file_is_refused(landmarks: Path, tmp_path: Path) -> None:
    savemat(tmp_path / "lsfm.mat", {"mean": np.zeros(9)})
    with pytest.raises(ModelFormatError, match="lacks the numeric array components"):
        import_lsfm(tmp_path / "lsfm.mat", landmarks)


def test_landmarks_are_needed(toy_face: RawModel, tmp_path: Path) -> None:
    savemat(tmp_path / "lsfm.mat", content(toy_face, 1.0))
    with pytest.raises(ModelFormatError, match="LSFM files do not say"):
        import_lsfm(tmp_path / "lsfm.mat", None)
