from pathlib import Path

import numpy as np
import pytest

from ops.errors import UnreadableInputError, UnsupportedInputError
from ops.geometry.mesh import Mesh, read_mesh, submesh, write_obj, write_ply

SQUARE = Mesh(
    np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0.125], [0, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
)


@pytest.mark.parametrize(("name", "write"), [("a.obj", write_obj), ("a.ply", write_ply)])
def test_what_is_written_is_read_back_in_order(tmp_path: Path, name: str, write: object) -> None:
    assert callable(write)
    write(tmp_path / name, SQUARE)
    found = read_mesh(tmp_path / name)
    np.testing.assert_array_equal(found.vertices, SQUARE.vertices)
    np.testing.assert_array_equal(found.triangles, SQUARE.triangles)


def test_obj_dialects(tmp_path: Path) -> None:
    path = tmp_path / "Ein Gesicht é.obj"
    path.write_text(
        "# a comment\nmtllib x.mtl\nv 0 0 0 0.5 0.5 0.5\r\nv 1 0 0 1 1 1\nv 1 1 1.25e-1 0 0 0\nv\t0 1 0 1 0 1\n"
        "vt 0 0\nvn 0 0 1\nusemtl skin\nf 1/1/1 2/1/1 3/1/1 4/1/1\ns off\n"
    )
    found = read_mesh(path)
    np.testing.assert_array_equal(found.vertices, SQUARE.vertices)
    np.testing.assert_array_equal(found.triangles, SQUARE.triangles)


def test_mixed_polygons_become_fans(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    path.write_text("".join(f"v {k} {k * k} 0\n" for k in range(5)) + "f 1 2 3\nf 1//1 2//1 3//1 4//1 5//1\n")
    assert read_mesh(path).triangles.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 3, 4]]


def test_glb_metres_become_millimetres(tmp_path: Path) -> None:
    import trimesh

    trimesh.Trimesh(SQUARE.vertices / 1000, SQUARE.triangles, process=False).export(tmp_path / "a.glb")
    found = read_mesh(tmp_path / "a.glb")
    np.testing.assert_allclose(found.vertices, SQUARE.vertices, atol=1e-6)
    np.testing.assert_array_equal(found.triangles, SQUARE.triangles)


def test_a_submesh_keeps_order_and_whole_triangles() -> None:
    part, index = submesh(SQUARE, np.array([True, False, True, True]))
    assert index.tolist() == [0, 2, 3]
    assert part.triangles.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.obj", "", "no vertices"),
        ("words.obj", "v a b c\nf 1 2 3\n", "not a readable OBJ"),
        ("points.obj", "v 0 0 0\nv 1 0 0\n", "no triangles"),
        ("beyond.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", "names vertex 4 of 3"),
        ("ragged.obj", "v 0 0 0\nv 1 0 0 1\nv 0 1 0\nf 1 2 3\n", "differing"),
        ("relative.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -1 -2 -3\n", "relative"),
        ("line.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n", "fewer than three"),
        ("text.ply", "hello", "not a readable PLY"),
        ("text.glb", "hello", "not a readable GLB"),
    ],
)
def test_broken_files_are_unreadable(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UnreadableInputError, match=words):
        read_mesh(tmp_path / name)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInputError, match=r"gone\.obj"):
        read_mesh(tmp_path / "gone.obj")
    with pytest.raises(UnsupportedInputError, match=r"\.stl"):
        read_mesh(tmp_path / "a.stl")
