"""Reading a scan with its texture."""

from pathlib import Path

import numpy as np

from ops.errors import UnreadableInputError, UnsupportedInputError
from ops.geometry.mesh import Mesh
from ops.registration.annotation import TexturedScan


def read_textured_scan(path: Path) -> TexturedScan:
    """Read a mesh file (OBJ with its MTL, GLB, PLY) whose material names a picture; the vertices keep their unit.

    Vertices with several texture coordinates come once per coordinate.

    Raises:
        UnreadableInputError: no mesh can be read from the file.
        UnsupportedInputError: the mesh has no texture coordinates or no picture.
    """
    import trimesh

    try:
        loaded = trimesh.load(path, process=False, force="mesh")
    except Exception as error:
        raise UnreadableInputError(f"{path}: not a readable mesh ({error})") from error
    if not isinstance(loaded, trimesh.Trimesh) or not len(loaded.faces):
        raise UnreadableInputError(f"{path}: expected a mesh with triangles, found none")
    uv = getattr(loaded.visual, "uv", None)
    material = getattr(loaded.visual, "material", None)
    picture = getattr(material, "image", None) or getattr(material, "baseColorTexture", None)
    if uv is None or picture is None:
        raise UnsupportedInputError(
            f"{path}: expected a textured mesh, found no {'texture coordinates' if uv is None else 'picture'}"
        )
    mesh = Mesh(np.asarray(loaded.vertices, dtype=np.float64), np.asarray(loaded.faces, dtype=np.int32))
    return TexturedScan(mesh, np.asarray(uv, dtype=np.float64), np.asarray(picture.convert("RGB"), dtype=np.uint8))
