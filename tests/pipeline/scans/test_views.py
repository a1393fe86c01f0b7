from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ops.errors import ConfigurationError, UnsupportedInputError
from ops.faceworld.shape import faceworld_model
from ops.geometry.mesh import Mesh, write_obj
from pipeline.scans.scan_folder import ScanFolder
from pipeline.scans.views import ViewRange, gather_photos, upright
from tests.pipeline.scans.conftest import ScannedPerson

VIEWS = ViewRange(count=3, side_px=96)


def landmarks(scanned: ScannedPerson) -> np.ndarray:
    return scanned.vertices_mm[faceworld_model().landmarks.numpy()]


def test_views_follow_from_name_and_seed(scanned: ScannedPerson, tmp_path: Path) -> None:
    scan = ScanFolder(name="person_5", mesh_path=scanned.folder / "scan.obj")
    first = gather_photos(scan, landmarks(scanned), VIEWS, tmp_path / "a", draw=False)
    again = gather_photos(scan, landmarks(scanned), VIEWS, tmp_path / "b", draw=False)
    assert [path.name for path in first] == ["view_0.png", "view_1.png", "view_2.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    settings = VIEWS.draw("person_5")
    assert [view.yaw_deg for view in settings] == [-30, 0, 30]
    assert len({view.focal for view in settings}) == 3
    assert replace(VIEWS, seed=1).draw("person_5") != settings != VIEWS.draw("another")
    with Image.open(first[1]) as picture:
        pixels = np.asarray(picture).astype(int)
    face = pixels[30:66, 30:66].reshape(-1, 3).mean(0)
    assert face[0] > face[2] + 10, "skin in the middle"
    assert (pixels[:4, :4] == 128).all()


def test_a_turned_scan_is_put_upright(scanned: ScannedPerson) -> None:
    turn = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    points = landmarks(scanned)
    mesh = Mesh(scanned.vertices_mm, faceworld_model().triangles.numpy())
    expected, extent, centre = upright(mesh, points)
    found, same, again = upright(Mesh(mesh.vertices @ turn.T, mesh.triangles), points @ turn.T)
    np.testing.assert_allclose(found.vertices, expected.vertices, atol=1e-9)
    np.testing.assert_allclose(again, centre, atol=1e-9)
    assert same == pytest.approx(extent)
    nose, eyes, chin = (found.vertices[faceworld_model().landmarks[n]] for n in (30, 39, 8))
    assert nose[2] > eyes[2]
    assert eyes[1] > nose[1] > chin[1]


def test_photos_of_the_person_come_before_drawn_ones(scanned: ScannedPerson, tmp_path: Path) -> None:
    photo = tmp_path / "me.jpg"
    Image.new("RGB", (8, 8)).save(photo)
    scan = ScanFolder(name="person_5", mesh_path=scanned.folder / "scan.obj", photos=(photo,))
    own = gather_photos(scan, landmarks(scanned), VIEWS, tmp_path / "own", draw=False)
    assert [path.read_bytes() for path in own] == [photo.read_bytes()]
    assert len(gather_photos(scan, landmarks(scanned), VIEWS, tmp_path / "drawn", draw=True)) == 3


def test_without_photos_and_texture_there_is_nothing_to_see(tmp_path: Path, scanned: ScannedPerson) -> None:
    write_obj(tmp_path / "bare.obj", Mesh(scanned.vertices_mm, faceworld_model().triangles.numpy()))
    scan = ScanFolder(name="bare", mesh_path=tmp_path / "bare.obj")
    with pytest.raises(UnsupportedInputError, match="textured mesh"):
        gather_photos(scan, landmarks(scanned), VIEWS, tmp_path / "out", draw=False)
    with pytest.raises(ConfigurationError, match="at least 1 view"):
        ViewRange(count=0)
