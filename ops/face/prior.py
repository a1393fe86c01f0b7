"""The distribution of the camera and the light of a random second picture of a face.

Angles are those of `ops.geometry.rotation.rotation_from_euler`; the direction points from the face to the light, in the
face's own frame (x to the subject's left, y up, z out of the face). Light factors are those of `ops.render.lighting`.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from ops.errors import ConfigurationError, MissingModelFileError, ModelFormatError

FILE_FORMAT = "ganfit-camera-light-prior"
FILE_VERSION = 1
DRAWS_PER_SAMPLE = 14
"""Standard normal numbers one sample consumes: 3 angles, 1 + 3 ambient, 1 + 3 colour, 3 direction."""
LOWEST_LIGHT_SLOPE = 0.1
"""Smallest z of a light direction before normalisation: every light stays in front of the face."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class ClippedNormal:
    """N(mean, sd^2), with draws outside [minimum, maximum] moved to the nearer end.

    Raises:
        ConfigurationError: a number that is not finite, a negative deviation, an empty interval.
    """

    mean: float
    sd: float
    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        values = dataclasses.astuple(self)
        if not all(_is_number(value) for value in values):
            raise ConfigurationError(f"expected four finite numbers, got {values}")
        if self.sd < 0 or self.minimum > self.maximum:
            raise ConfigurationError(f"expected sd >= 0 and minimum <= maximum, got {self}")

    def map(self, normal: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Standard normal draws as draws of this distribution."""
        return (self.mean + self.sd * normal).clamp(self.minimum, self.maximum)


_YAW_DEG = ClippedNormal(mean=0.0, sd=20.0, minimum=-45.0, maximum=45.0)
_PITCH_DEG = ClippedNormal(mean=0.0, sd=10.0, minimum=-25.0, maximum=25.0)
_ROLL_DEG = ClippedNormal(mean=0.0, sd=7.0, minimum=-30.0, maximum=30.0)
_AMBIENT = ClippedNormal(mean=0.85, sd=0.15, minimum=0.0, maximum=3.0)
_COLOUR = ClippedNormal(mean=0.6, sd=0.2, minimum=0.0, maximum=3.0)


@dataclass(frozen=True, kw_only=True)
class CameraLightPrior:
    """Distribution of pose, light and expression.

    Raises:
        ConfigurationError: numbers that describe no distribution.
    """

    yaw_deg: ClippedNormal = _YAW_DEG
    pitch_deg: ClippedNormal = _PITCH_DEG
    roll_deg: ClippedNormal = _ROLL_DEG
    ambient: ClippedNormal = _AMBIENT
    """Brightness of the ambient light: one draw for all three channels."""
    ambient_chroma_sd: float = 0.03
    """Deviation of each channel of the ambient light from its brightness."""
    colour: ClippedNormal = _COLOUR
    """Brightness of the point light: one draw for all three channels."""
    colour_chroma_sd: float = 0.03
    """Deviation of each channel of the point light from its brightness."""
    direction_mean: tuple[float, float, float] = (0.0, 0.3, 1.0)
    """Mean direction to the light before normalisation."""
    direction_sd: tuple[float, float, float] = (0.7, 0.4, 0.3)
    expression_sd: float = 0.5
    """Deviation of expression coefficients, in standard deviations of their mode."""
    source: str = "defaults"
    """Where the numbers come from."""

    def __post_init__(self) -> None:
        deviations = (self.ambient_chroma_sd, self.colour_chroma_sd, self.expression_sd, *self.direction_sd)
        if not all(_is_number(value) and value >= 0 for value in deviations):
            raise ConfigurationError(f"expected finite deviations >= 0, got {deviations}")
        if not all(_is_number(value) for value in self.direction_mean) or self.direction_mean[2] <= 0:
            raise ConfigurationError(f"expected a light in front of the face (z > 0), got {self.direction_mean}")
        if self.ambient.minimum < 0 or self.colour.minimum < 0:
            raise ConfigurationError("light is never negative: expected minimum >= 0 for ambient and colour")


class PriorSample(NamedTuple):
    """Independent draws, one a generator."""

    angles: Float[Tensor, "image 3"]
    """Yaw, pitch, roll in radians."""
    ambient: Float[Tensor, "image 3"]
    """RGB, >= 0."""
    colour: Float[Tensor, "image 3"]
    """RGB of the point light, >= 0."""
    direction: Float[Tensor, "image 3"]
    """Unit vector from the face to the light, z > 0."""


def sample_prior(prior: CameraLightPrior, generators: Sequence[torch.Generator]) -> PriorSample:
    """One float32 draw from every generator, in order, on the CPU.

    A sample takes `DRAWS_PER_SAMPLE` normal numbers from its generator and depends on nothing else, so results do
    not change with the batch. The same generator may appear several times.
    """
    normal = torch.empty(len(generators), DRAWS_PER_SAMPLE)
    for row, generator in zip(normal, generators, strict=True):
        torch.randn(DRAWS_PER_SAMPLE, generator=generator, out=row)
    angles = torch.stack(
        (prior.yaw_deg.map(normal[:, 0]), prior.pitch_deg.map(normal[:, 1]), prior.roll_deg.map(normal[:, 2])), -1
    )
    ambient = prior.ambient.map(normal[:, 3]).unsqueeze(-1) + prior.ambient_chroma_sd * normal[:, 4:7]
    colour = prior.colour.map(normal[:, 7]).unsqueeze(-1) + prior.colour_chroma_sd * normal[:, 8:11]
    direction = normal.new_tensor(prior.direction_mean) + normal.new_tensor(prior.direction_sd) * normal[:, 11:14]
    direction[:, 2].clamp_(min=LOWEST_LIGHT_SLOPE)
    return PriorSample(
        angles.deg2rad(),
        ambient.clamp_min(0),
        colour.clamp_min(0),
        torch.nn.functional.normalize(direction, dim=-1),
    )


def save_prior(prior: CameraLightPrior, path: Path) -> None:
    """Write a prior as JSON."""
    content = {"format": FILE_FORMAT, "version": FILE_VERSION} | dataclasses.asdict(prior)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def load_prior(path: Path) -> CameraLightPrior:
    """Read a prior written by `save_prior`; what the file leaves out keeps its default.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: a foreign or damaged file, unknown names, numbers that describe no distribution.
    """
    if not path.is_file():
        raise MissingModelFileError(f"no camera-and-light prior at {path}; make one with: ganfit estimate-prior --help")
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
        return _prior_from_json(content)
    except (ValueError, TypeError, ConfigurationError) as error:
        raise ModelFormatError(f"{path} is not a sound camera-and-light prior: {error}") from error


def _prior_from_json(content: object) -> CameraLightPrior:
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    entries = cast(dict[str, object], content)
    stamp = (entries.pop("format", None), entries.pop("version", None))
    if stamp != (FILE_FORMAT, FILE_VERSION):
        raise ValueError(f"expected format {FILE_FORMAT} version {FILE_VERSION}, got {stamp[0]!r} version {stamp[1]!r}")
    values: dict[str, object] = {}
    for item in dataclasses.fields(CameraLightPrior):
        if item.name in entries:
            values[item.name] = _value_from_json(item.default, entries.pop(item.name), item.name)
    if entries:
        raise ValueError(f"unknown entries: {', '.join(sorted(entries))}")
    return CameraLightPrior(**values)  # pyright: ignore[reportArgumentType]


def _value_from_json(default: object, value: object, name: str) -> object:
    if isinstance(default, str) and isinstance(value, str):
        return value
    if isinstance(default, float) and _is_number(value):
        return float(cast(float, value))
    if isinstance(default, tuple) and isinstance(value, list) and len(cast(list[object], value)) == 3:
        return _numbers(cast(list[object], value), name)
    if isinstance(default, ClippedNormal) and isinstance(value, dict):
        entries = cast(dict[str, object], value)
        names = [item.name for item in dataclasses.fields(ClippedNormal)]
        if set(entries) != set(names):
            raise ValueError(f"expected {', '.join(names)} in {name}, got {', '.join(sorted(entries))}")
        mean, sd, minimum, maximum = _numbers([entries[item] for item in names], name)
        return ClippedNormal(mean=mean, sd=sd, minimum=minimum, maximum=maximum)
    raise ValueError(f"{name} has the wrong kind of value: {value!r}")


def _numbers(values: Sequence[object], name: str) -> tuple[float, ...]:
    if not all(_is_number(value) for value in values):
        raise ValueError(f"expected finite numbers in {name}, got {values}")
    return tuple(float(cast(float, value)) for value in values)
