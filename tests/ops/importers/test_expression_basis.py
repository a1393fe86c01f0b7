from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ops.errors import MissingModelFileError, ModelFormatError
from ops.importers.expression_basis import ExpressionFiles, read_expression_basis

VERTICES, MODES = 6, 2


@pytest.fixture
def modes() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(MODES, VERTICES, 3))


def write_bin(path: Path, components: np.ndarray, mean: float = 7.0) -> None:
    body = np.concatenate((np.full(components[0].size, mean), components.ravel())).astype("<f4")
    path.write_bytes(np.int32(len(components)).tobytes() + body.tobytes())


def test_no_files_no_modes() -> None:
    basis = read_expression_basis(None, VERTICES)
    assert basis.basis_mm.shape == (0, VERTICES, 3)
    assert basis.kept.tolist() == list(range(VERTICES))
    assert not basis.mean_mm.any()


def test_a_binary_basis_with_its_deviations(modes: np.ndarray, tmp_path: Path) -> None:
    write_bin(tmp_path / "Exp_Pca.bin", modes)
    (tmp_path / "std_exp.txt").write_text("2000\n3000\n")
    files = ExpressionFiles(basis=tmp_path / "Exp_Pca.bin", deviations=tmp_path / "std_exp.txt")
    basis = read_expression_basis(files, VERTICES)
    np.testing.assert_allclose(basis.basis_mm, modes * np.array([2, 3])[:, None, None], rtol=1e-5)
    assert not basis.mean_mm.any()


def test_covered_vertices_are_counted_from_one(modes: np.ndarray, tmp_path: Path) -> None:
    write_bin(tmp_path / "Exp_Pca.bin", modes)
    (tmp_path / "std.txt").write_text("1000 1000")
    savemat(tmp_path / "idx.mat", {"trimIndex": np.array([[2, 3, 5, 7, 8, 10]])})
    files = ExpressionFiles(
        basis=tmp_path / "Exp_Pca.bin", deviations=tmp_path / "std.txt", vertices=tmp_path / "idx.mat"
    )
    assert read_expression_basis(files, 10).kept.tolist() == [1, 2, 4, 6, 7, 9]
    with pytest.raises(ModelFormatError, match="within 0 to 8"):
        read_expression_basis(files, 9)


def test_files_that_do_not_fit_are_refused(modes: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "Exp_Pca.bin"
    write_bin(path, modes)
    (tmp_path / "three.txt").write_text("1 2 3")
    (tmp_path / "words.txt").write_text("one two")
    with pytest.raises(ModelFormatError, match="holds no standard deviations"):
        read_expression_basis(ExpressionFiles(basis=path), VERTICES)
    with pytest.raises(ModelFormatError, match="one column per standard deviation"):
        read_expression_basis(ExpressionFiles(basis=path, deviations=tmp_path / "three.txt"), VERTICES)
    with pytest.raises(ModelFormatError, match="not a text file of numbers"):
        read_expression_basis(ExpressionFiles(basis=path, deviations=tmp_path / "words.txt"), VERTICES)
    with pytest.raises(MissingModelFileError, match=r"none\.txt"):
        read_expression_basis(ExpressionFiles(basis=path, deviations=tmp_path / "none.txt"), VERTICES)


@pytest.mark.parametrize("content", [b"", b"abc", b"\0\0\0\0", b"\2\0\0\0" + b"\0" * 40])
def test_cut_binary_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "Exp_Pca.bin").write_bytes(content)
    (tmp_path / "std.txt").write_text("1 1")
    files = ExpressionFiles(basis=tmp_path / "Exp_Pca.bin", deviations=tmp_path / "std.txt")
    with pytest.raises(ModelFormatError, match=r"not an Exp_Pca\.bin"):
        read_expression_basis(files, VERTICES)
