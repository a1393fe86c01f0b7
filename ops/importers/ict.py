"""ICT-FaceKit (Li et al., CVPR 2020; MIT licence): the folder of OBJ files as published, or a compact .npz of it.

The .npz holds: mean [V, 3], id_basis [100, V, 3] and ex_basis [53, V, 3] (float, or int16 times id_scale and ex_scale
per mode), tri, uv, tri_uv, lmk68, jaw_r, jaw_l, vert_region, tri_region, tri_material, region_names, material_names.
The model counts in centimetres; its identity modes are in standard deviations, its expressions in blendshape weights.
"""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from ops.errors import MissingModelFileError, ModelFormatError
from ops.face.landmark_parts import CHIN
from ops.face.morphable_model import ModelMetadata, MorphableModel
from ops.importers.assembly import check_frame, check_identity_spread, check_indices
from ops.importers.ict_folder import (
    JAW_LEFT,
    JAW_RIGHT,
    LANDMARKS,
    NARROW_FACE_VERTICES,
    REGIONS,
    IctFolder,
    read_ict_folder,
)

MILLIMETRES_PER_CENTIMETRE = 10.0
UV_LAYOUT = "ict-facekit-native"
SKIN_REGION = "face"
FITTED_REGIONS = ("face", "mouth_socket", "eye_socket_l", "eye_socket_r", "teeth", "eyeball_l", "eyeball_r")
METADATA = ModelMetadata(
    name="ict-facekit",
    licence="MIT, Copyright (c) 2020 USC Institute for Creative Technologies",
    source="https://github.com/ICT-VGL/ICT-FaceKit",
    uv_layout=UV_LAYOUT,
    expression_kind="blendshape",
)
_NPZ_NAMES = (
    *("mean", "id_basis", "ex_basis", "tri", "uv", "tri_uv", "lmk68", "jaw_r", "jaw_l"),
    *("vert_region", "tri_region", "tri_material", "region_names", "material_names"),
)


class _Arrays(NamedTuple):
    mean_cm: Float[np.ndarray, "vertex 3"]
    identity_cm: Float[np.ndarray, "identity vertex 3"]
    expression_cm: Float[np.ndarray, "expression vertex 3"]
    triangles: Int[np.ndarray, "triangle 3"]
    uv: Float[np.ndarray, "uv 2"]
    uv_triangles: Int[np.ndarray, "triangle 3"]
    landmarks: Int[np.ndarray, "68"]
    jaw: Int[np.ndarray, "17"]
    vertex_region: Int[np.ndarray, " vertex"]
    region_names: list[str]
    triangle_part: list[str]


def import_ict(path: Path) -> MorphableModel:
    """Read ICT-FaceKit from its folder (the checkout or its `FaceXModel`) or from a compact .npz.

    Texture coordinates are the model's own: skin, eyeballs and eye occlusion each fill the unit square, other parts
    lie in further unit squares at larger u; `triangle_regions` tells the parts apart. Vertex regions are the model's
    own too (only those present); `face` and `skin` are its skin of face, ears and throat, `narrow_face` the skin
    without ears and throat.

    Raises:
        MissingModelFileError: there is nothing at the path.
        ModelFormatError: it is something else, or damaged.
    """
    if path.is_dir():
        arrays = _from_folder(read_ict_folder(path))
    elif path.is_file():
        arrays = _from_npz(path)
    else:
        raise MissingModelFileError(f"no ICT-FaceKit folder or .npz at {path}")
    return _assemble(arrays)


def face_and_eyes(model: MorphableModel) -> MorphableModel:
    """The face, ears, throat, eyes, teeth and mouth socket of the whole model: the parts that a fit looks at.

    Raises:
        ModelFormatError: a model whose regions are not those of ICT-FaceKit.
    """
    if missing := [name for name in FITTED_REGIONS if name not in model.regions]:
        raise ModelFormatError(f"expected the regions of ICT-FaceKit, {missing[0]} is missing")
    assert model.triangle_regions is not None
    kept = torch.stack([model.regions[name] for name in FITTED_REGIONS]).any(0)
    fitted = torch.tensor([name.startswith((*FITTED_REGIONS, "iris", "sclera")) for name in model.region_names])
    triangle = kept[model.triangles.long()].all(1) & fitted[model.triangle_regions.long()]
    vertex, new_vertex = _numbering(kept)
    corners = model.uv_triangles[triangle].long()
    uv, new_uv = _numbering(torch.zeros(len(model.uv), dtype=torch.bool).index_fill(0, corners.flatten(), True))
    part, new_part = _numbering(
        torch.zeros(len(model.region_names), dtype=torch.bool).index_fill(
            0, model.triangle_regions[triangle].long(), True
        )
    )
    return MorphableModel(
        mean_mm=model.mean_mm[vertex],
        identity_basis_mm=model.identity_basis_mm[:, vertex],
        expression_basis_mm=model.expression_basis_mm[:, vertex],
        triangles=new_vertex[model.triangles[triangle].long()].int(),
        uv=model.uv[uv],
        uv_triangles=new_uv[corners].int(),
        landmarks=new_vertex[model.landmarks],
        jaw_candidates=new_vertex[model.jaw_candidates],
        regions={name: mask[vertex] for name, mask in model.regions.items() if bool(mask[vertex].any())},
        metadata=model.metadata,
        triangle_regions=new_part[model.triangle_regions[triangle].long()].int(),
        region_names=tuple(model.region_names[index] for index in part.tolist()),
    )


def _numbering(kept: Bool[Tensor, " item"]) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " item"]]:
    """The indices of what is kept, and the new index of every item (-1 for those that go)."""
    index = kept.nonzero()[:, 0]
    return index, torch.full((len(kept),), -1).index_put((index,), torch.arange(len(index)))


def _from_npz(path: Path) -> _Arrays:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if missing := [name for name in _NPZ_NAMES if name not in file.files]:
                raise ModelFormatError(f"{path} is not an ICT-FaceKit .npz: it lacks {', '.join(missing)}")
            content: dict[str, np.ndarray] = {name: file[name] for name in file.files}
    except (ValueError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelFormatError(f"{path} is not a sound .npz file: {error}") from error
    _check_npz_shapes(content)
    names = [str(name) for name in content["region_names"]]
    materials = [str(name) for name in content["material_names"]]
    check_indices(content["tri_region"], len(names), "tri_region")
    check_indices(content["tri_material"], len(materials), "tri_material")
    chin = content["lmk68"].ravel()[CHIN : CHIN + 1]
    jaw = np.concatenate((content["jaw_r"].ravel(), chin, content["jaw_l"].ravel()))
    return _Arrays(
        mean_cm=content["mean"],
        identity_cm=_scaled_basis(content, "id"),
        expression_cm=_scaled_basis(content, "ex"),
        triangles=content["tri"].astype(np.int32),
        uv=content["uv"],
        uv_triangles=content["tri_uv"].astype(np.int32),
        landmarks=content["lmk68"].astype(np.int64),
        jaw=jaw.astype(np.int64),
        vertex_region=content["vert_region"].astype(np.int64),
        region_names=names,
        triangle_part=[
            _part_name(names[region], materials[material])
            for region, material in zip(content["tri_region"], content["tri_material"], strict=True)
        ],
    )


def _check_npz_shapes(content: dict[str, np.ndarray]) -> None:
    vertex, triangle = content["mean"].shape[:1], content["tri"].shape[:1]
    expected: dict[str, tuple[int, ...]] = {
        "mean": (*vertex, 3),
        "tri": (*triangle, 3),
        "tri_uv": (*triangle, 3),
        "uv": (*content["uv"].shape[:1], 2),
        "lmk68": (68,),
        "jaw_r": (8,),
        "jaw_l": (8,),
        "vert_region": vertex,
        "tri_region": triangle,
        "tri_material": triangle,
    }
    for prefix in ("id", "ex"):
        modes = content[f"{prefix}_basis"].shape[:1]
        expected[f"{prefix}_basis"] = (*modes, *vertex, 3)
        expected[f"{prefix}_scale"] = modes
    for name, shape in expected.items():
        if name in content and content[name].shape != shape:
            raise ModelFormatError(f"expected {name} with shape {shape}, got {content[name].shape}")


def _scaled_basis(content: dict[str, np.ndarray], prefix: str) -> Float[np.ndarray, "mode vertex 3"]:
    basis, scale = content[f"{prefix}_basis"], content.get(f"{prefix}_scale")
    return basis.astype(np.float32) if scale is None else basis * scale.astype(np.float32)[:, None, None]


def _from_folder(folder: IctFolder) -> _Arrays:
    vertex_region = np.zeros(len(folder.mean_cm), np.int64)
    polygon_region = np.zeros(int(folder.polygon.max()) + 1, np.int64)
    for index, region in enumerate(REGIONS):
        vertex_region[region.first_vertex : region.last_vertex + 1] = index
        polygon_region[region.first_polygon : region.last_polygon + 1] = index
    names = [region.name for region in REGIONS]
    return _Arrays(
        mean_cm=folder.mean_cm,
        identity_cm=folder.identity_cm,
        expression_cm=folder.expression_cm,
        triangles=folder.triangles,
        uv=folder.uv,
        uv_triangles=folder.uv_triangles,
        landmarks=np.array(LANDMARKS),
        jaw=np.array((*JAW_RIGHT, LANDMARKS[CHIN], *JAW_LEFT)),
        vertex_region=vertex_region,
        region_names=names,
        triangle_part=[
            _part_name(names[polygon_region[polygon]], folder.materials[polygon]) for polygon in folder.polygon
        ],
    )


def _part_name(region: str, material: str) -> str:
    """Eyeballs are told apart into iris and sclera, whose texture coordinates overlap; other parts are regions."""
    if region.startswith("eyeball"):
        return region.replace("eyeball", "iris" if material.startswith("M_Iris") else "sclera")
    return region


def _assemble(arrays: _Arrays) -> MorphableModel:
    mean_mm = arrays.mean_cm.astype(np.float32) * np.float32(MILLIMETRES_PER_CENTIMETRE)
    identity_mm = arrays.identity_cm * np.float32(MILLIMETRES_PER_CENTIMETRE)
    check_indices(arrays.landmarks, len(mean_mm), "landmarks")
    check_frame(mean_mm, arrays.landmarks)
    check_identity_spread(identity_mm)
    present = sorted({int(region) for region in arrays.vertex_region})
    regions = {arrays.region_names[region]: torch.from_numpy(arrays.vertex_region == region) for region in present}
    if SKIN_REGION not in regions:
        raise ModelFormatError(f"expected a region {SKIN_REGION}, got {', '.join(regions)}")
    regions["skin"] = regions[SKIN_REGION].clone()
    regions["narrow_face"] = regions[SKIN_REGION] & (torch.arange(len(mean_mm)) < NARROW_FACE_VERTICES)
    parts = list(dict.fromkeys(arrays.triangle_part))
    number = {name: index for index, name in enumerate(parts)}
    return MorphableModel(
        mean_mm=torch.from_numpy(mean_mm),
        identity_basis_mm=torch.from_numpy(identity_mm),
        expression_basis_mm=torch.from_numpy(arrays.expression_cm * np.float32(MILLIMETRES_PER_CENTIMETRE)),
        triangles=torch.from_numpy(arrays.triangles.astype(np.int32)),
        uv=torch.from_numpy(arrays.uv.astype(np.float32)),
        uv_triangles=torch.from_numpy(arrays.uv_triangles.astype(np.int32)),
        landmarks=torch.from_numpy(arrays.landmarks),
        jaw_candidates=torch.from_numpy(np.stack((arrays.landmarks[:17], arrays.jaw), 1)),
        regions=regions,
        metadata=METADATA,
        triangle_regions=torch.tensor([number[name] for name in arrays.triangle_part], dtype=torch.int32),
        region_names=tuple(parts),
    )
