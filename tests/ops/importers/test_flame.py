import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import MissingModelFileError, ModelFormatError, UnitsError
from ops.importers.assembly import RawModel
from ops.importers.flame import import_flame


@pytest.fixture
def landmarks(toy_face: RawModel, tmp_path: Path) -> Path:
    path = tmp_path / "landmarks.json"
    path.write_text(str(toy_face.landmarks.landmarks.tolist()))
    return path


def content(face: RawModel) -> dict[str, np.ndarray]:
    modes = np.concatenate((face.identity_basis_mm, face.expression_basis_mm))
    return {
        "v_template": face.mean_mm / 1000,
        "shapedirs": np.moveaxis(modes, 0, 2) / 1000,
        "f": face.triangles.astype(np.uint32),
        "posedirs": np.zeros((len(face.mean_mm), 3, 36)),
    }


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        path.write_bytes(pickle.dumps(arrays, protocol=2))
    return path


@pytest.mark.parametrize("name", ["generic_model.pkl", "flame.npz"])
def test_metres_become_millimetres_and_modes_are_split(
    toy_face: RawModel, landmarks: Path, tmp_path: Path, name: str
) -> None:
    model = import_flame(write(tmp_path / name, content(toy_face)), landmarks, identity_modes=4)
    for found, expected in (
        (model.mean_mm, toy_face.mean_mm),
        (model.identity_basis_mm, toy_face.identity_basis_mm),
        (model.expression_basis_mm, toy_face.expression_basis_mm),
    ):
        torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=0, atol=1e-4)
    assert model.triangles.tolist() == toy_face.triangles.tolist()
    assert not model.regions["skin"][-4:].any()


def test_millimetres_are_noticed(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    arrays = content(toy_face)
    path = write(tmp_path / "a.pkl", arrays | {"v_template": arrays["v_template"] * 1000})
    with pytest.raises(UnitsError, match="not in millimetres"):
        import_flame(path, landmarks, identity_modes=4)


@pytest.mark.parametrize("name", ["a.pkl", "a.npz"])
def test_files_that_lack_an_array_are_refused(toy_face: RawModel, landmarks: Path, tmp_path: Path, name: str) -> None:
    arrays = content(toy_face)
    del arrays["shapedirs"]
    with pytest.raises(ModelFormatError, match=r"lacks .*shapedirs"):
        import_flame(write(tmp_path / name, arrays), landmarks)


def test_arrays_that_do_not_fit_are_refused(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    arrays = content(toy_face)
    with pytest.raises(ModelFormatError, match="at least 300 modes"):
        import_flame(write(tmp_path / "a.pkl", arrays), landmarks)
    arrays["shapedirs"] = arrays["shapedirs"][1:]
    with pytest.raises(ModelFormatError, match=r"expected v_template \[V, 3\]"):
        import_flame(write(tmp_path / "b.pkl", arrays), landmarks, identity_modes=4)


@pytest.mark.parametrize("name", ["a.pkl", "a.npz"])
def test_other_files_are_refused(landmarks: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"neither one nor the other")
    with pytest.raises(ModelFormatError, match="not a sound"):
        import_flame(tmp_path / name, landmarks)


def test_objects_in_an_npz_are_not_unpickled(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    arrays = content(toy_face) | {"f": np.array([{}], dtype=object)}
    with pytest.raises(ModelFormatError, match=r"not a sound \.npz file of plain arrays"):
        import_flame(write(tmp_path / "a.npz", arrays), landmarks)


def test_missing_file_and_missing_landmarks(toy_face: RawModel, landmarks: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=r"none\.pkl"):
        import_flame(tmp_path / "none.pkl", landmarks)
    with pytest.raises(ModelFormatError, match="FLAME files do not say"):
        import_flame(write(tmp_path / "a.pkl", content(toy_face)), None, identity_modes=4)
