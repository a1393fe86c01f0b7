"""A triangle mesh as two arrays, and reading one from OBJ, PLY or GLB.

A reader never reorders, merges or splits vertices: what carries a topology keeps it. Coordinates keep the unit of
the file (OBJ and PLY declare none), except GLB, whose unit is the metre and which is returned in millimetres.
"""

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Num

from ops.errors import UnreadableInputError, UnsupportedInputError

MESH_SUFFIXES = (".obj", ".ply", ".glb")
MM_PER_GLTF_UNIT = 1000.0
_VERTEX_LINE = re.compile(rb"^[ \t]*v[ \t]+(.*)$", re.MULTILINE)
_FACE_LINE = re.compile(rb"^[ \t]*f[ \t]+(.*)$", re.MULTILINE)
_TEXTURE_AND_NORMAL = re.compile(rb"/[^ \t\r\n]*")


class Mesh(NamedTuple):
    """Vertices and counter-clockwise triangles; the unit and frame are the owner's."""

    vertices: Float[np.ndarray, "vertex 3"]
    triangles: Int32[np.ndarray, "triangle 3"]


def read_mesh(path: Path) -> Mesh:
    """Read the triangles of an OBJ, PLY or GLB file, float64, polygons cut into fans.

    Raises:
        UnreadableInputError: the file cannot be parsed, is empty, or names vertices it does not have.
        UnsupportedInputError: another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise UnsupportedInputError(f"{path}: expected a mesh file ({', '.join(MESH_SUFFIXES)}), got {suffix!r}")
    try:
        mesh = _read_obj(path.read_bytes()) if suffix == ".obj" else _read_with_trimesh(path)
    except (OSError, ValueError, KeyError, IndexError, AttributeError, DeprecationWarning) as error:
        raise UnreadableInputError(f"{path}: not a readable {suffix[1:].upper()} mesh ({error})") from error
    if len(mesh.triangles) == 0:
        raise UnreadableInputError(f"{path}: holds no triangles")
    if mesh.triangles.min() < 0 or mesh.triangles.max() >= len(mesh.vertices):
        raise UnreadableInputError(
            f"{path}: a triangle names vertex {mesh.triangles.max() + 1} of {len(mesh.vertices)} vertices"
        )
    return mesh


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write a binary PLY with double-precision vertices."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty double x\nproperty double y\nproperty double z\n"
        f"element face {len(mesh.triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.triangles), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"] = 3
    faces["corners"] = mesh.triangles
    path.write_bytes(header.encode() + mesh.vertices.astype("<f8").tobytes() + faces.tobytes())


def write_obj(path: Path, mesh: Mesh) -> None:
    """Write a plain OBJ (positions and triangles), six decimals."""
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.triangles + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")


def submesh(mesh: Mesh, keep: Bool[np.ndarray, " vertex"]) -> tuple[Mesh, Int[np.ndarray, " kept"]]:
    """The triangles whose three corners are kept, in order, with the indices of the kept vertices."""
    index = np.flatnonzero(keep)
    new_from_old = np.full(len(keep), -1, dtype=np.int32)
    new_from_old[index] = np.arange(len(index), dtype=np.int32)
    triangles = new_from_old[mesh.triangles[keep[mesh.triangles].all(1)]]
    return Mesh(mesh.vertices[index], triangles), index


def _read_obj(content: bytes) -> Mesh:
    vertex_lines, face_lines = _VERTEX_LINE.findall(content), _FACE_LINE.findall(content)
    if not vertex_lines:
        raise ValueError("no vertices")
    values = _numbers(b" ".join(vertex_lines), float)
    if len(values) % len(vertex_lines) or len(values) < 3 * len(vertex_lines):
        raise ValueError("vertices with differing numbers of coordinates")
    vertices = np.ascontiguousarray(values.reshape(len(vertex_lines), -1)[:, :3])
    return Mesh(vertices, _fans(face_lines))


def _fans(face_lines: list[bytes]) -> Int32[np.ndarray, "triangle 3"]:
    joined = b" ".join(face_lines)
    if b"-" in joined:
        raise ValueError("relative (negative) vertex indices are not supported")
    if b"/" in joined:
        joined = _TEXTURE_AND_NORMAL.sub(b"", joined)
    corners = _numbers(joined, int) - 1
    sizes = np.array([len(line.split()) for line in face_lines], dtype=np.int64)
    if sizes.sum() != len(corners) or bool((sizes < 3).any()):
        raise ValueError("faces with fewer than three corners")
    if bool((sizes == 3).all()):
        return corners.reshape(-1, 3).astype(np.int32)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    fans = [
        (corners[start], corners[start + k], corners[start + k + 1])
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
        for k in range(1, size - 1)
    ]
    return np.array(fans, dtype=np.int32).reshape(-1, 3)


def _numbers(text: bytes, kind: type[float] | type[int]) -> Num[np.ndarray, " number"]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        return np.fromstring(text, dtype=kind, sep=" ")


def _read_with_trimesh(path: Path) -> Mesh:
    import trimesh

    loaded = trimesh.load(path, process=False, maintain_order=True)
    if isinstance(loaded, trimesh.Scene):
        loaded = loaded.to_mesh()
    if not isinstance(loaded, trimesh.Trimesh):
        raise ValueError("no triangle mesh inside")
    scale = MM_PER_GLTF_UNIT if path.suffix.lower() == ".glb" else 1.0
    vertices = np.asarray(loaded.vertices, dtype=np.float64) * scale
    return Mesh(vertices, np.asarray(loaded.faces, dtype=np.int32))
