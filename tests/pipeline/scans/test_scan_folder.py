from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.landmark_files import write_landmarks
from ops.errors import ConfigurationError, UnreadableInputError, UnsupportedInputError
from ops.geometry.mesh import Mesh, write_obj
from pipeline.scans.scan_folder import find_scan_folders
from tests.pipeline.scans.conftest import ScannedPerson

TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
VERTICES = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)


def test_a_textured_obj_with_its_landmarks(scanned: ScannedPerson) -> None:
    (found,) = find_scan_folders(scanned.folder.parent)
    assert found.name == "person_5"
    assert found.photos == ()
    scan = found.read()
    np.testing.assert_allclose(scan.mesh.vertices, scanned.vertices_mm, atol=1e-3)
    textured = found.read_textured()
    assert len(textured.uv) == len(textured.mesh.vertices)


def test_an_archive_with_parts_a_texture_and_photos(tmp_path: Path) -> None:
    place = tmp_path / "anna"
    (place / "frames").mkdir(parents=True)
    points = np.arange(204, dtype=float).reshape(68, 3)
    part = np.array([0, 0, 0, 1])
    np.savez(place / "mesh.npz", V=VERTICES, F=TRIANGLES, UV=VERTICES[:, :2], L68_auto=points, part=part)
    Image.new("RGB", (4, 4), (200, 10, 10)).save(place / "texture.png")
    Image.new("RGB", (4, 4)).save(place / "frames" / "0.png")
    (place / "frames" / "cameras.json").write_text("{}")
    (found,) = find_scan_folders(tmp_path)
    assert [path.name for path in found.photos] == ["0.png"]
    scan = found.read()
    np.testing.assert_array_equal(scan.mesh.triangles, TRIANGLES[:1])
    np.testing.assert_array_equal(scan.landmarks_mm, points)
    textured = found.read_textured()
    assert len(textured.mesh.triangles) == 2
    assert tuple(textured.texture_rgb[0, 0]) == (200, 10, 10)


def test_landmarks_come_from_a_file_beside_the_mesh(tmp_path: Path) -> None:
    place = tmp_path / "bob"
    place.mkdir()
    write_obj(place / "scan.obj", Mesh(VERTICES.astype(float), TRIANGLES))
    (found,) = find_scan_folders(tmp_path)
    with pytest.raises(UnsupportedInputError, match="bob: no landmarks"):
        found.read()
    points = np.full((68, 3), np.nan)
    points[3] = 1.0
    write_landmarks(place / "scan.ljson", points)
    np.testing.assert_array_equal(found.read().landmarks_mm, points)
    with pytest.raises(UnsupportedInputError, match="expected a textured mesh"):
        found.read_textured()


def test_what_is_no_scan_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigurationError, match="a sub-folder per person"):
            find_scan_folders(folder)
    place = tmp_path / "carl"
    place.mkdir()
    np.savez(place / "mesh.npz", V=VERTICES)
    (found,) = find_scan_folders(tmp_path)
    with pytest.raises(UnreadableInputError, match="arrays V and F"):
        found.read()
    np.savez(place / "mesh.npz", V=VERTICES, F=TRIANGLES, landmarks=np.zeros((5, 3)))
    with pytest.raises(UnsupportedInputError, match="expected 68 landmarks"):
        found.read()
