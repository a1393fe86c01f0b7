"""Writing textured meshes: GLB, OBJ with MTL and PNG, PLY with vertex colours.

OBJ and PLY keep the vertices of the model, in millimetres and in order, so that every file has its topology. glTF
allows one texture coordinate a vertex: the first vertices of a GLB are the model's, in metres, and vertices on texture
seams are repeated after them.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32, UInt8
from PIL import Image

from ops.errors import UnsupportedInputError

METRES_PER_MM = 1e-3


class TexturedMesh(NamedTuple):
    """A mesh in millimetres with a texture; texture coordinates have their origin bottom left."""

    vertices_mm: Float[np.ndarray, "vertex 3"]
    triangles: Int32[np.ndarray, "triangle 3"]
    uv: Float[np.ndarray, "uv 2"]
    uv_triangles: Int32[np.ndarray, "triangle 3"]
    texture_rgb: UInt8[np.ndarray, "row column 3"]
    """Row 0 lies at v = 1."""

    def write(self, path: str | Path) -> None:
        """Write a .glb, .obj or .ply file.

        Raises:
            UnsupportedInputError: another suffix.
        """
        name = Path(path).suffix.lower().removeprefix(".")
        if name not in MESH_WRITERS:
            raise UnsupportedInputError(f"{path}: expected a mesh file ({', '.join(MESH_WRITERS)}), got {name!r}")
        MESH_WRITERS[name](Path(path), self)


class UnweldedMesh(NamedTuple):
    """The same surface with exactly one texture coordinate a vertex."""

    source: Int[np.ndarray, " corner"]
    """The original vertex of each; the first ones are all original vertices in order."""
    uv: Float[np.ndarray, "corner 2"]
    triangles: Int[np.ndarray, "triangle 3"]


class _Seams(NamedTuple):
    """How the corners of a topology are numbered by vertex and texture coordinate; not to be written to."""

    coordinates: Int[np.ndarray, " pair"]
    """The texture coordinate of every pair of a vertex and one that a corner has."""
    position: Int[np.ndarray, " pair"]
    """Of every pair among the vertices that have one each."""
    source: Int[np.ndarray, " corner"]
    triangles: Int[np.ndarray, "triangle 3"]


def unweld(mesh: TexturedMesh) -> UnweldedMesh:
    """Repeat the vertices that have several texture coordinates, after the original ones."""
    indices = (np.ascontiguousarray(part, np.int64).tobytes() for part in (mesh.triangles, mesh.uv_triangles))
    seams = _seams(*indices, len(mesh.vertices_mm))
    uv = np.zeros((len(seams.source), 2), mesh.uv.dtype)
    uv[seams.position] = mesh.uv[seams.coordinates]
    return UnweldedMesh(seams.source, uv, seams.triangles)


@lru_cache(maxsize=2)
def _seams(triangles: bytes, uv_triangles: bytes, count: int) -> _Seams:
    """Those of a topology of `count` vertices, found once for all meshes that share it."""
    vertices, coordinates = (np.frombuffer(indices, np.int64) for indices in (triangles, uv_triangles))
    pairs, inverse = np.unique(np.stack((vertices, coordinates), -1), axis=0, return_inverse=True)
    first = np.ones(len(pairs), bool)
    first[1:] = pairs[1:, 0] != pairs[:-1, 0]
    position = np.empty(len(pairs), np.int64)
    position[first] = pairs[first, 0]
    position[~first] = count + np.arange(np.count_nonzero(~first))
    source = np.concatenate((np.arange(count), pairs[~first, 0]))
    return _Seams(pairs[:, 1], position, source, position[inverse.reshape(-1)].reshape(-1, 3))


def write_glb(path: Path, mesh: TexturedMesh) -> None:
    """Write a binary glTF with the texture inside, in metres."""
    from ops.geometry.gltf import encode_glb

    path.write_bytes(encode_glb(mesh))


def write_obj(path: Path, mesh: TexturedMesh) -> None:
    """Write PATH.obj, and beside it PATH.mtl and PATH.png, in millimetres."""
    name = path.stem
    Image.fromarray(mesh.texture_rgb).save(path.with_suffix(".png"))
    path.with_suffix(".mtl").write_text(f"newmtl {name}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nmap_Kd {name}.png\n")
    lines = [f"mtllib {name}.mtl", f"usemtl {name}"]
    lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.vertices_mm.tolist()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in mesh.uv.tolist()]
    corners = np.stack((mesh.triangles + 1, mesh.uv_triangles + 1), -1).reshape(-1, 6).tolist()
    lines += [f"f {a}/{i} {b}/{j} {c}/{k}" for a, i, b, j, c, k in corners]
    path.write_text("\n".join(lines) + "\n")


def write_ply(path: Path, mesh: TexturedMesh) -> None:
    """Write a binary PLY in millimetres, each vertex in the colour the texture has there."""
    from trimesh import Trimesh

    surface = Trimesh(mesh.vertices_mm, mesh.triangles, vertex_colors=vertex_colours(mesh), process=False)
    _write_export(path, surface.export(file_type="ply"))


MESH_WRITERS: dict[str, Callable[[Path, TexturedMesh], None]] = {"glb": write_glb, "obj": write_obj, "ply": write_ply}
"""By the suffix of the file."""


def vertex_colours(mesh: TexturedMesh) -> UInt8[np.ndarray, "vertex 3"]:
    """The colour of the nearest texel at the first texture coordinate of every vertex."""
    uv = unweld(mesh).uv[: len(mesh.vertices_mm)]
    rows, columns = mesh.texture_rgb.shape[:2]
    column = np.clip((uv[:, 0] * columns).astype(np.int64), 0, columns - 1)
    row = np.clip(((1 - uv[:, 1]) * rows).astype(np.int64), 0, rows - 1)
    return mesh.texture_rgb[row, column]


def _write_export(path: Path, content: object) -> None:
    assert isinstance(content, bytes)
    path.write_bytes(content)
