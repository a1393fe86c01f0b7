"""A linear morphable model of faces: its arithmetic, its validation and its file format.

S = mean + sum_i identity_i * identity_basis_i + sum_j expression_j * expression_basis_j, in millimetres in the world
frame of `ops.geometry.camera`. Identity coefficients are in standard deviations of their mode, so their prior is
N(0, 1).
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor

from ops.errors import ModelFormatError, UnitsError
from ops.face.landmark_parts import OUTER_EYES
from ops.files.tensor_file import read_tensor_file, write_tensor_file

FILE_FORMAT = "ganfit-morphable-model"
FILE_VERSION = 1
OUTER_EYE_DISTANCE_MM = (60.0, 130.0)
LANDMARK_COUNT = 68
JAW_LANDMARK_COUNT = 17
REQUIRED_REGIONS = ("face", "skin")
ExpressionKind = Literal["gaussian", "blendshape"]


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """What a model is, where it comes from and how its numbers are meant."""

    name: str
    licence: str
    source: str
    uv_layout: str
    """Textures and models with equal layout names fit each other."""
    expression_kind: ExpressionKind
    """gaussian: standard deviations, prior N(0, 1); blendshape: weights in [0, 1], not orthogonal."""


@dataclass(frozen=True, kw_only=True)
class MorphablePoints:
    """Some vertices of a morphable model: all that a landmark stage needs."""

    mean_mm: Float[Tensor, "point 3"]
    identity_basis_mm: Float[Tensor, "identity point 3"]
    expression_basis_mm: Float[Tensor, "expression point 3"]

    def vertices_mm(
        self, identity: Float[Tensor, "*batch identity"], expression: Float[Tensor, "*batch expression"]
    ) -> Float[Tensor, "*batch point 3"]:
        """The points of every pair of coefficients; differentiable."""
        bases = (self.identity_basis_mm, self.expression_basis_mm)
        return _combine(self.mean_mm, bases, (identity, expression))


@dataclass(frozen=True, kw_only=True)
class MorphableModel:
    """A morphable model with its topology, texture coordinates, landmarks and regions.

    Raises:
        ModelFormatError: arrays that do not belong together, indices out of range, numbers that are not finite.
        UnitsError: a mean face whose outer eye corners are not 60 to 130 mm apart.
    """

    mean_mm: Float[Tensor, "vertex 3"]
    identity_basis_mm: Float[Tensor, "identity vertex 3"]
    """One standard deviation of each mode."""
    expression_basis_mm: Float[Tensor, "expression vertex 3"]
    """One standard deviation, or one unit of weight, of each mode; see `ModelMetadata.expression_kind`."""
    triangles: Int32[Tensor, "triangle 3"]
    """Vertex indices, anticlockwise seen from outside."""
    uv: Float[Tensor, "uv 2"]
    """Texture coordinates, origin bottom left."""
    uv_triangles: Int32[Tensor, "triangle 3"]
    """Indices into `uv` of every triangle's corners."""
    landmarks: Int64[Tensor, "68"]
    """Vertex indices in iBUG order."""
    jaw_candidates: Int64[Tensor, "17 candidate"]
    """Row i: vertices that may carry jaw landmark i as the head turns; the first is `landmarks[i]`."""
    regions: dict[str, Bool[Tensor, "vertex"]]
    """Vertex masks; at least `face` (the part that is compared) and `skin` (without eyes, teeth, mouth socket)."""
    metadata: ModelMetadata
    triangle_regions: Int32[Tensor, "triangle"] | None = None
    """Index into `region_names` of every triangle, where the model tells its parts apart."""
    region_names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        _check_shapes(_tensors(self))
        _check_regions(self.regions, len(self.mean_mm))
        _check_values(self)
        distance = self.outer_eye_distance_mm()
        low, high = OUTER_EYE_DISTANCE_MM
        if not low <= distance <= high:
            raise UnitsError(
                f"expected the outer eye corners of the mean face {low:g} to {high:g} mm apart, got {distance:.4g}: "
                "the model is not in millimetres, or landmarks 36 and 45 are not its eye corners"
            )

    @property
    def identity_size(self) -> int:
        """How many identity coefficients a face has."""
        return self.identity_basis_mm.shape[0]

    @property
    def expression_size(self) -> int:
        """How many expression coefficients a face has."""
        return self.expression_basis_mm.shape[0]

    def vertices_mm(
        self, identity: Float[Tensor, "*batch identity"], expression: Float[Tensor, "*batch expression"]
    ) -> Float[Tensor, "*batch vertex 3"]:
        """The vertices of every pair of coefficients; differentiable."""
        bases = (self.identity_basis_mm, self.expression_basis_mm)
        return _combine(self.mean_mm, bases, (identity, expression))

    def at_vertices(self, index: Int64[Tensor, "point"]) -> MorphablePoints:
        """The model restricted to some vertices, in the order given; repetition is allowed."""
        return MorphablePoints(
            mean_mm=self.mean_mm[index],
            identity_basis_mm=self.identity_basis_mm[:, index].contiguous(),
            expression_basis_mm=self.expression_basis_mm[:, index].contiguous(),
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "MorphableModel":
        """The model on another device, or with another floating-point type; itself where nothing changes."""
        if self.mean_mm.to(device=device, dtype=dtype) is self.mean_mm:
            return self

        def moved(value: object) -> object:
            if isinstance(value, Tensor):
                return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            if isinstance(value, dict):
                return {name: moved(item) for name, item in value.items()}
            return value

        return dataclasses.replace(
            self, **{item.name: moved(getattr(self, item.name)) for item in dataclasses.fields(self)}
        )

    def with_modes(self, identity_size: int, expression_size: int) -> "MorphableModel":
        """The model cut to its leading modes (all of them where it has fewer)."""
        return dataclasses.replace(
            self,
            identity_basis_mm=self.identity_basis_mm[:identity_size].clone(),
            expression_basis_mm=self.expression_basis_mm[:expression_size].clone(),
        )

    def checksum(self) -> str:
        """Sha256 of everything in the model; what is made from a model and kept should know it by this."""
        digest = hashlib.sha256(json.dumps([dataclasses.asdict(self.metadata), self.region_names]).encode())
        tensors = _tensors(self) | {f"region.{name}": mask for name, mask in self.regions.items()}
        for name, tensor in sorted(tensors.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
        return digest.hexdigest()

    def outer_eye_distance_mm(self) -> float:
        """Distance of the outer eye corners (landmarks 36 and 45) in the mean face."""
        ends = self.mean_mm[self.landmarks[list(OUTER_EYES)]]
        return float((ends[0] - ends[1]).norm())


_FLOAT = (torch.float32, torch.float64)
_LAYOUT: dict[str, tuple[tuple[torch.dtype, ...], tuple[str, ...]]] = {
    "mean_mm": (_FLOAT, ("vertex", "3")),
    "identity_basis_mm": (_FLOAT, ("identity", "vertex", "3")),
    "expression_basis_mm": (_FLOAT, ("expression", "vertex", "3")),
    "triangles": ((torch.int32,), ("triangle", "3")),
    "uv": (_FLOAT, ("uv", "2")),
    "uv_triangles": ((torch.int32,), ("triangle", "3")),
    "landmarks": ((torch.int64,), (str(LANDMARK_COUNT),)),
    "jaw_candidates": ((torch.int64,), (str(JAW_LANDMARK_COUNT), "candidate")),
    "triangle_regions": ((torch.int32,), ("triangle",)),
}
_OPTIONAL = ("triangle_regions",)


def _tensors(model: MorphableModel) -> dict[str, Tensor]:
    return {name: value for name in _LAYOUT if isinstance(value := getattr(model, name), Tensor)}


def _combine(
    mean_mm: Float[Tensor, "point 3"], bases: tuple[Tensor, Tensor], coefficients: tuple[Tensor, Tensor]
) -> Float[Tensor, "*batch point 3"]:
    batch = coefficients[0].shape[:-1]
    count = math.prod(batch)
    points = mean_mm.reshape(1, -1).expand(count, -1)
    for basis, weights in zip(bases, coefficients, strict=True):
        if len(basis):
            points = torch.addmm(points, weights.reshape(count, basis.shape[0]), basis.reshape(basis.shape[0], -1))
    return points.reshape(*batch, *mean_mm.shape)


def _check_shapes(tensors: Mapping[str, Tensor]) -> None:
    sizes: dict[str, int] = {}
    for name, (dtypes, axes) in _LAYOUT.items():
        if name not in tensors:
            if name in _OPTIONAL:
                continue
            raise ModelFormatError(f"{name} is missing")
        tensor = tensors[name]
        if tensor.dtype not in dtypes:
            raise ModelFormatError(f"expected {name} as {' or '.join(map(str, dtypes))}, got {tensor.dtype}")
        if tensor.ndim == len(axes):
            for axis, size in zip(axes, tensor.shape, strict=True):
                sizes.setdefault(axis, int(axis) if axis.isdecimal() else size)
        expected = tuple(int(axis) if axis.isdecimal() else sizes.get(axis, axis) for axis in axes)
        if tuple(tensor.shape) != expected:
            raise ModelFormatError(f"expected {name} with shape {expected}, got {tuple(tensor.shape)}")
    for axis in ("vertex", "triangle", "candidate"):
        if sizes[axis] == 0:
            raise ModelFormatError(f"a model needs at least one {axis}")


def _check_regions(regions: Mapping[str, Tensor], vertex: int) -> None:
    if missing := [name for name in REQUIRED_REGIONS if name not in regions]:
        raise ModelFormatError(f"expected the regions {', '.join(REQUIRED_REGIONS)}, {missing[0]} is missing")
    for name, mask in regions.items():
        if mask.dtype != torch.bool or mask.shape != (vertex,):
            raise ModelFormatError(
                f"expected region {name} as {vertex} truth values, got {mask.dtype} {tuple(mask.shape)}"
            )


def _check_values(model: MorphableModel) -> None:
    for name in ("mean_mm", "identity_basis_mm", "expression_basis_mm", "uv"):
        if not bool(cast(Tensor, getattr(model, name)).isfinite().all()):
            raise ModelFormatError(f"{name} holds numbers that are not finite")
    for name in ("identity_basis_mm", "expression_basis_mm"):
        if not cast(Tensor, getattr(model, name)).is_contiguous():
            object.__setattr__(model, name, getattr(model, name).contiguous())
    vertex = len(model.mean_mm)
    indices: list[tuple[str, Tensor, int]] = [
        ("triangles", model.triangles, vertex),
        ("uv_triangles", model.uv_triangles, len(model.uv)),
        ("landmarks", model.landmarks, vertex),
        ("jaw_candidates", model.jaw_candidates, vertex),
    ]
    if model.triangle_regions is not None:
        indices.append(("triangle_regions", model.triangle_regions, len(model.region_names)))
    for name, tensor, count in indices:
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0 or high >= count:
            raise ModelFormatError(f"expected indices 0 to {count - 1} in {name}, got {low} to {high}")
    if not bool((model.jaw_candidates[:, 0] == model.landmarks[:JAW_LANDMARK_COUNT]).all()):
        raise ModelFormatError("the first jaw candidate of every row must be that jaw landmark's own vertex")


def save_morphable_model(model: MorphableModel, path: Path) -> None:
    """Write a model as safetensors, in float32, with its metadata as JSON in the header."""
    tensors = _tensors(model)
    tensors |= {f"region.{name}": mask for name, mask in model.regions.items()}
    stored = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    header = {
        "format": FILE_FORMAT,
        "version": str(FILE_VERSION),
        "metadata": json.dumps(dataclasses.asdict(model.metadata)),
        "region_names": json.dumps(model.region_names),
    }
    write_tensor_file(path, stored, header)


def load_morphable_model(path: Path) -> MorphableModel:
    """Read a model written by `save_morphable_model`.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: a foreign, damaged or newer file.
        UnitsError: a model that is not in millimetres.
    """
    header, tensors = read_tensor_file(path, "a morphable model", "make one with: ganfit import-model --help")
    _check_header(header, path)
    try:
        metadata = ModelMetadata(**json.loads(header["metadata"]))
        region_names = tuple(str(name) for name in json.loads(header["region_names"]))
        prefix = "region."
        regions = {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
        _check_shapes(tensors)
        _check_regions(regions, len(tensors["mean_mm"]))
        return MorphableModel(**tensors, regions=regions, metadata=metadata, region_names=region_names)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFormatError(f"{path} is not a sound morphable model file: {error}") from error


def _check_header(header: dict[str, str], path: Path) -> None:
    if header.get("format") != FILE_FORMAT:
        raise ModelFormatError(f"expected a file of format {FILE_FORMAT}, {path} says {header.get('format')!r}")
    if header.get("version") != str(FILE_VERSION):
        raise ModelFormatError(f"expected version {FILE_VERSION} of {FILE_FORMAT}, {path} has {header.get('version')}")
