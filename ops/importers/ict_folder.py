"""The folder `FaceXModel` of an ICT-FaceKit checkout: one OBJ file a shape, all of one topology.

`generic_neutral_mesh.obj` is the mean, `identityNNN.obj` the mean plus one standard deviation of a mode, and the
shapes listed in `vertex_indices.json` are the expressions at full weight.
"""

import json
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float, Int

from ops.errors import MissingModelFileError, ModelFormatError

# The following facts are in the model's own documentation.
LANDMARKS = (
    *(1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443),
    *(268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147),
    *(4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081),
    *(0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966),
)
JAW_RIGHT = (1278, 1272, 12, 1834, 243, 781, 2199, 1447)
JAW_LEFT = (3661, 4390, 3022, 2484, 4036, 2253, 3490, 3496)
NARROW_FACE_VERTICES = 6706
"""Leading vertices of the region face that are neither ears nor throat."""
VERTEX_COUNT, POLYGON_COUNT = 26_719, 26_384


class Region(NamedTuple):
    """A part of the mesh as ranges of vertices and polygons, ends included."""

    name: str
    first_vertex: int
    last_vertex: int
    first_polygon: int
    last_polygon: int


REGIONS = (
    Region("face", 0, 9408, 0, 9229),
    Region("head_neck", 9409, 11247, 9230, 11143),
    Region("mouth_socket", 11248, 13293, 11144, 13225),
    Region("eye_socket_l", 13294, 13677, 13226, 13629),
    Region("eye_socket_r", 13678, 14061, 13630, 14033),
    Region("gums_tongue", 14062, 17038, 14034, 17005),
    Region("teeth", 17039, 21450, 17006, 21495),
    Region("eyeball_l", 21451, 23020, 21496, 23093),
    Region("eyeball_r", 23021, 24590, 23094, 24691),
    Region("lacrimal_l", 24591, 24794, 24692, 24854),
    Region("lacrimal_r", 24795, 24998, 24855, 25017),
    Region("eyeblend_l", 24999, 25022, 25018, 25032),
    Region("eyeblend_r", 25023, 25046, 25033, 25047),
    Region("eyeocc_l", 25047, 25198, 25048, 25175),
    Region("eyeocc_r", 25199, 25350, 25176, 25303),
    Region("lashes_l", 25351, 26034, 25304, 25843),
    Region("lashes_r", 26035, 26718, 25844, 26383),
)


class IctFolder(NamedTuple):
    """The arrays of the folder, in centimetres; polygons are cut into triangle fans."""

    mean_cm: Float[np.ndarray, "vertex 3"]
    identity_cm: Float[np.ndarray, "identity vertex 3"]
    expression_cm: Float[np.ndarray, "expression vertex 3"]
    triangles: Int[np.ndarray, "triangle 3"]
    uv: Float[np.ndarray, "uv 2"]
    uv_triangles: Int[np.ndarray, "triangle 3"]
    polygon: Int[np.ndarray, " triangle"]
    """The polygon each triangle was cut from."""
    materials: list[str]
    """The material of each polygon."""


def read_ict_folder(path: Path) -> IctFolder:
    """Read all shapes of a checkout, or of its folder `FaceXModel`.

    Raises:
        MissingModelFileError: a file of the model is not there.
        ModelFormatError: a file is not an OBJ of the model's topology.
    """
    folder = path / "FaceXModel" if (path / "FaceXModel").is_dir() else path
    mean, uv, polygons, materials = _read_mesh(_existing(folder / "generic_neutral_mesh.obj"))
    if len(mean) != VERTEX_COUNT or len(polygons) != POLYGON_COUNT:
        raise ModelFormatError(
            f"expected {VERTEX_COUNT} vertices and {POLYGON_COUNT} polygons in {folder / 'generic_neutral_mesh.obj'}, "
            f"got {len(mean)} and {len(polygons)}"
        )
    identity_files = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))
    if not identity_files:
        raise MissingModelFileError(f"no identity shapes (identity000.obj, ...) in {folder}")
    expression_files = [_existing(folder / f"{name}.obj") for name in _expression_names(folder)]
    fans = [
        (polygon[0], polygon[corner], polygon[corner + 1], index)
        for index, polygon in enumerate(polygons)
        for corner in range(1, len(polygon) - 1)
    ]
    corners = np.array([fan[:3] for fan in fans], np.int32)
    return IctFolder(
        mean_cm=mean,
        identity_cm=np.stack([_read_vertices(file) - mean for file in identity_files]),
        expression_cm=np.stack([_read_vertices(file) - mean for file in expression_files]),
        triangles=corners[..., 0],
        uv=uv,
        uv_triangles=corners[..., 1],
        polygon=np.array([fan[3] for fan in fans], np.int64),
        materials=materials,
    )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise MissingModelFileError(f"the ICT-FaceKit folder lacks {path}")
    return path


def _expression_names(folder: Path) -> list[str]:
    path = _existing(folder / "vertex_indices.json")
    try:
        names = cast(dict[str, list[object]], json.loads(path.read_text(encoding="utf-8")))["expressions"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFormatError(f"expected a list `expressions` in {path}") from error
    return [str(name) for name in names]


def _read_vertices(path: Path) -> Float[np.ndarray, "vertex 3"]:
    lines = [line for line in path.read_bytes().split(b"\n") if line.startswith(b"v ")]
    try:
        numbers = np.array(b" ".join(line[2:] for line in lines).split(), np.float32)
    except ValueError as error:
        raise ModelFormatError(f"{path} is not a sound OBJ file: {error}") from error
    if numbers.size != 3 * VERTEX_COUNT:
        raise ModelFormatError(f"expected {VERTEX_COUNT} vertices in {path}, got {numbers.size / 3:g}")
    return numbers.reshape(-1, 3)


def _read_mesh(
    path: Path,
) -> tuple[Float[np.ndarray, "vertex 3"], Float[np.ndarray, "uv 2"], list[list[tuple[int, int]]], list[str]]:
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    polygons: list[list[tuple[int, int]]] = []
    materials: list[str] = []
    material = ""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            match line.split():
                case ["v", *numbers]:
                    vertices.append([float(number) for number in numbers[:3]])
                case ["vt", *numbers]:
                    uv.append([float(number) for number in numbers[:2]])
                case ["usemtl", name]:
                    material = name
                case ["f", *corners]:
                    polygons.append([_corner(corner) for corner in corners])
                    materials.append(material)
                case _:
                    pass
    except (ValueError, IndexError) as error:
        raise ModelFormatError(f"{path} is not a sound OBJ file: {error}") from error
    return np.array(vertices, np.float32), np.array(uv, np.float32), polygons, materials


def _corner(word: str) -> tuple[int, int]:
    vertex, uv = word.split("/")[:2]
    return int(vertex) - 1, int(uv) - 1
