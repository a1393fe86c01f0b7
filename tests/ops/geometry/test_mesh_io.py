import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from ops.geometry.mesh import read_mesh
from ops.geometry.mesh_io import TexturedMesh, unweld, vertex_colours, write_glb, write_obj, write_ply


@pytest.fixture
def square() -> TexturedMesh:
    """Two triangles that share an edge in space and not in the texture; vertex 4 is unused."""
    vertices = np.array([[0, 0, 0], [100, 0, 0], [100, 100, 0], [0, 100, 5], [7, 7, 7]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    uv = np.array([[0.1, 0.1], [0.4, 0.1], [0.4, 0.4], [0.6, 0.6], [0.9, 0.9], [0.6, 0.9]], np.float32)
    uv_triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[4:, :4] = (250, 0, 0)  # u < 0.5, v < 0.5
    texture[:4, 4:] = (0, 0, 250)  # u > 0.5, v > 0.5
    return TexturedMesh(vertices, triangles, uv, uv_triangles, texture)


def test_unwelding_keeps_the_vertices_and_repeats_those_on_seams(square: TexturedMesh) -> None:
    flat = unweld(square)
    assert flat.source.tolist() == [0, 1, 2, 3, 4, 0, 2]
    np.testing.assert_array_equal(flat.source[flat.triangles], square.triangles)
    np.testing.assert_array_equal(flat.uv[flat.triangles], square.uv[square.uv_triangles])


def test_meshes_of_one_topology_keep_their_own_texture_coordinates(square: TexturedMesh) -> None:
    other = square._replace(uv=1 - square.uv)
    for mesh in (square, other):
        flat = unweld(mesh)
        np.testing.assert_array_equal(flat.uv[flat.triangles], mesh.uv[mesh.uv_triangles])


def test_glb_is_in_metres_with_its_texture_inside(tmp_path: Path, square: TexturedMesh) -> None:
    path = tmp_path / "face.glb"
    write_glb(path, square)
    mesh = next(iter(trimesh.load(path, process=False).geometry.values()))
    np.testing.assert_allclose(mesh.vertices[:5], square.vertices_mm * 1e-3, atol=1e-6)
    np.testing.assert_array_equal(unweld(square).source[mesh.faces], square.triangles)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")), square.texture_rgb)
    assert len(list(tmp_path.iterdir())) == 1


def test_glb_texture_coordinates_follow_gltf(tmp_path: Path, square: TexturedMesh) -> None:
    """Read the file by its specification: row 0 of the picture is at v = 0."""
    path = tmp_path / "face.glb"
    write_glb(path, square)
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    gltf = json.loads(data[20 : 20 + length])
    blob = data[28 + length :]

    def array(index: int, width: int) -> np.ndarray:
        accessor = gltf["accessors"][index]
        dtype = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[accessor["componentType"]]
        view = gltf["bufferViews"][accessor["bufferView"]]
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        return np.frombuffer(blob, dtype, accessor["count"] * width, start).reshape(-1, width)

    primitive = gltf["meshes"][0]["primitives"][0]
    uv = array(primitive["attributes"]["TEXCOORD_0"], 2)
    faces = array(primitive["indices"], 1).reshape(-1, 3)
    image = gltf["images"][0]
    view = gltf["bufferViews"][image["bufferView"]]
    start = view.get("byteOffset", 0)
    picture = np.asarray(Image.open(io.BytesIO(blob[start : start + view["byteLength"]])).convert("RGB"))
    colours = [picture[tuple((uv[face].mean(0)[::-1] * 8).astype(int))].tolist() for face in faces]
    assert colours == [[250, 0, 0], [0, 0, 250]]
    material = gltf["materials"][0]["pbrMetallicRoughness"]
    assert material["metallicFactor"] == 0
    normals = array(primitive["attributes"]["NORMAL"], 3)
    assert normals[1, 2] > 0.99


def test_obj_keeps_the_topology(tmp_path: Path, square: TexturedMesh) -> None:
    path = tmp_path / "face.obj"
    write_obj(path, square)
    mesh = read_mesh(path)
    np.testing.assert_allclose(mesh.vertices, square.vertices_mm, atol=1e-5)
    np.testing.assert_array_equal(mesh.triangles, square.triangles)
    textured = trimesh.load(path, process=False)
    centres = textured.visual.uv[textured.faces].mean(1)
    colours = textured.visual.material.to_color(centres)[:, :3].tolist()
    assert colours == [[250, 0, 0], [0, 0, 250]]


def test_ply_keeps_the_topology_and_has_colours(tmp_path: Path, square: TexturedMesh) -> None:
    path = tmp_path / "face.ply"
    write_ply(path, square)
    mesh = trimesh.load(path, process=False)
    np.testing.assert_allclose(mesh.vertices, square.vertices_mm, atol=1e-4)
    np.testing.assert_array_equal(mesh.faces, square.triangles)
    assert mesh.visual.vertex_colors[1, :3].tolist() == [250, 0, 0]
    assert vertex_colours(square)[3].tolist() == [0, 0, 250]
