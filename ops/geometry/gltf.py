"""Binary glTF 2.0 with what other programs want of a face: texture, morph targets, motion, and the camera of a photo.

Lengths are in metres, axes as in `ops.geometry.camera` (glTF's own: y up, the face looks along z). Vertices are the
model's in order, those on texture seams are repeated after them.

The material is the glTF counterpart of the fit's Phong one. Base colour textures are sRGB by the standard, and so are
ours: albedo in the values of the photo, as it looks in white light of strength one. A Phong highlight of exponent m
(on r.v) is about as wide as a Blinn-Phong one of 4 m (on n.h), and that as a microfacet one of alpha^2 = 2 / (4 m + 2)
(Walter et al. 2007), where glTF's roughness is the root of alpha. Its peak is F0 / (4 alpha^2) for a Phong factor of s,
so that F0 = 4 alpha^2 s; KHR_materials_specular counts in parts of a dielectric's F0 = 0.04.
"""

import io
import json
import math
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from ops.geometry.mesh_io import METRES_PER_MM, TexturedMesh, unweld

_FLOAT, _UINT = 5126, 5125
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963


DIELECTRIC = 0.04
"""Reflectance of glTF's non-metals seen from straight ahead."""


class SkinMaterial(NamedTuple):
    """How the surface mirrors light, in Phong's terms: those of the fit by default."""

    specular: float = 0.08
    shininess: float = 16.0

    @property
    def roughness(self) -> float:
        """Of glTF, in [0, 1]."""
        return self._alpha_squared**0.25

    @property
    def specular_factor(self) -> float:
        """Of KHR_materials_specular, in [0, 1]."""
        return min(1.0, 4 * self._alpha_squared * self.specular / DIELECTRIC)

    @property
    def _alpha_squared(self) -> float:
        return 2 / (4 * self.shininess + 2)


_SKIN = SkinMaterial()


class MorphTargets(NamedTuple):
    """Displacements that a viewer adds to the vertices, each times its weight."""

    names: tuple[str, ...]
    offsets_mm: Float[np.ndarray, "target vertex 3"]
    weights: tuple[float, ...]
    """With which the file opens."""
    extras: Mapping[str, Any]
    """Said of the mesh: what the weights mean."""


class Motion(NamedTuple):
    """How the mesh's node moves, and the weights of its morph targets; linear between the times."""

    times_s: Float[np.ndarray, " time"]
    """Ascending, >= 0, no two the same in single precision."""
    rotations_xyzw: Float[np.ndarray, "time 4"]
    """Unit quaternions."""
    translations_mm: Float[np.ndarray, "time 3"]
    weights: Float[np.ndarray, "time target"]


class PerspectiveCamera(NamedTuple):
    """A camera as a node of the scene; glTF's looks along -z of the node, its principal point is the centre."""

    world_from_camera: Float[np.ndarray, "4 4"]
    """A rigid motion, millimetres."""
    width_px: float
    height_px: float
    focal_px: float
    extras: Mapping[str, Any]


def encode_glb(
    mesh: TexturedMesh,
    *,
    morphs: MorphTargets | None = None,
    motion: Motion | None = None,
    camera: PerspectiveCamera | None = None,
    material: SkinMaterial = _SKIN,
    extras: Mapping[str, Any] | None = None,
) -> bytes:
    """The mesh with its texture as PNG, and, where given, morph targets, an animation and a camera.

    Args:
        mesh: in millimetres.
        morphs: of its vertices.
        motion: of its node and of the targets.
        camera: a second node of the scene.
        material: how the surface mirrors light.
        extras: said of the mesh's node.
    """
    flat = unweld(mesh)
    normals = vertex_normals(mesh.vertices_mm, mesh.triangles)
    buffer = _Buffer()
    attributes = {
        "POSITION": buffer.vectors(mesh.vertices_mm[flat.source] * METRES_PER_MM, bounds=True),
        "NORMAL": buffer.vectors(normals[flat.source]),
        "TEXCOORD_0": buffer.vectors(np.stack((flat.uv[:, 0], 1 - flat.uv[:, 1]), -1)),
    }
    primitive: dict[str, Any] = {"attributes": attributes, "indices": buffer.indices(flat.triangles), "material": 0}
    surface: dict[str, Any] = {"name": "face", "primitives": [primitive]}
    if morphs is not None and len(morphs.names):
        offsets = morphs.offsets_mm[:, flat.source] * METRES_PER_MM
        primitive["targets"] = [{"POSITION": buffer.vectors(each, bounds=True)} for each in offsets]
        surface["weights"] = list(morphs.weights)
        surface["extras"] = {"targetNames": list(morphs.names), **morphs.extras}
    node: dict[str, Any] = {"name": "face", "mesh": 0}
    if extras:
        node["extras"] = dict(extras)
    texture = buffer.view(_png(mesh.texture_rgb))
    content: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "ganfit"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [surface],
        "materials": [
            {
                "name": "skin",
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": 0.0,
                    "roughnessFactor": material.roughness,
                },
                "extensions": {"KHR_materials_specular": {"specularFactor": material.specular_factor}},
            }
        ],
        "extensionsUsed": ["KHR_materials_specular"],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "images": [{"bufferView": texture, "mimeType": "image/png"}],
    }
    if motion is not None:
        _add_motion(content, buffer, motion)
    if camera is not None:
        _add_camera(content, camera)
    return buffer.file(content)


def vertex_normals(vertices: Float[np.ndarray, "vertex 3"], triangles: Any) -> Float[np.ndarray, "vertex 3"]:
    """Unit normals, weighted by the areas of the triangles around; (0, 0, 1) where there is none."""
    corners = vertices[triangles].astype(np.float64)
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    around = np.asarray(triangles).T.reshape(-1)
    sums = [np.bincount(around, np.tile(facing[:, axis], 3), len(vertices)) for axis in range(3)]
    normals = np.stack(sums, 1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.where(length > 0, length, 1), (0.0, 0.0, 1.0))


def _add_motion(content: dict[str, Any], buffer: "_Buffer", motion: Motion) -> None:
    times = buffer.samples(motion.times_s[:, None], bounds=True)
    values = {"rotation": motion.rotations_xyzw, "translation": motion.translations_mm * METRES_PER_MM}
    content["nodes"][0] |= {path: frames[0].tolist() for path, frames in values.items()}
    if motion.weights.shape[1]:
        values["weights"] = motion.weights.reshape(-1, 1)
    outputs = {path: buffer.samples(frames) for path, frames in values.items()}
    content["animations"] = [
        {
            "name": "clip",
            "samplers": [{"input": times, "output": output, "interpolation": "LINEAR"} for output in outputs.values()],
            "channels": [
                {"sampler": sampler, "target": {"node": 0, "path": path}} for sampler, path in enumerate(outputs)
            ],
        }
    ]


def _add_camera(content: dict[str, Any], camera: PerspectiveCamera) -> None:
    matrix = camera.world_from_camera.astype(np.float64).copy()
    matrix[:3, 3] *= METRES_PER_MM
    content["cameras"] = [
        {
            "type": "perspective",
            "perspective": {
                "aspectRatio": camera.width_px / camera.height_px,
                "yfov": 2 * math.atan(0.5 * camera.height_px / camera.focal_px),
                "znear": 0.01,
                "zfar": 20.0,
            },
        }
    ]
    node: dict[str, Any] = {"name": "photo", "camera": 0, "extras": dict(camera.extras)}
    if not np.array_equal(matrix, np.eye(4)):
        node["matrix"] = matrix.T.reshape(-1).tolist()
    content["nodes"].append(node)
    content["scenes"][0]["nodes"].append(1)


class _Buffer:
    """The binary part of a file, and what describes it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes; gives the index of their view."""
        self._data += bytes(-len(self._data) % 4)
        self._views.append({"buffer": 0, "byteOffset": len(self._data), "byteLength": len(data)})
        if target:
            self._views[-1]["target"] = target
        self._data += data
        return len(self._views) - 1

    def vectors(self, values: np.ndarray, *, bounds: bool = False) -> int:
        """Append two- or three-vectors of vertices; gives the index of their accessor."""
        return self._floats(values, _ARRAY_BUFFER, bounds)

    def samples(self, values: np.ndarray, *, bounds: bool = False) -> int:
        """Append scalars [n, 1] or vectors of an animation; gives the index of their accessor."""
        return self._floats(values, None, bounds)

    def _floats(self, values: np.ndarray, target: int | None, bounds: bool) -> int:
        array = np.ascontiguousarray(values, "<f4")
        accessor: dict[str, Any] = {
            "bufferView": self.view(array.tobytes(), target),
            "componentType": _FLOAT,
            "count": len(array),
            "type": "SCALAR" if array.shape[1] == 1 else f"VEC{array.shape[1]}",
        }
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def indices(self, triangles: np.ndarray) -> int:
        """Append triangles; gives the index of their accessor."""
        array = np.ascontiguousarray(triangles, "<u4").reshape(-1)
        view = self.view(array.tobytes(), _ELEMENT_BUFFER)
        self._accessors.append({"bufferView": view, "componentType": _UINT, "count": len(array), "type": "SCALAR"})
        return len(self._accessors) - 1

    def file(self, content: dict[str, Any]) -> bytes:
        """The GLB: a header, the JSON chunk, the binary chunk."""
        self._data += bytes(-len(self._data) % 4)
        content |= {
            "buffers": [{"byteLength": len(self._data)}],
            "bufferViews": self._views,
            "accessors": self._accessors,
        }
        text = json.dumps(content, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self._data), b"BIN\0") + bytes(self._data)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _png(image_rgb: UInt8[np.ndarray, "row column 3"]) -> bytes:
    stream = io.BytesIO()
    # At the usual level zlib takes four times as long for a file a fifth smaller.
    Image.fromarray(image_rgb).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
