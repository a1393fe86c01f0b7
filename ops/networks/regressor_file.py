"""The file of a regressor: safetensors, with the sizes, the models it was trained with and how, as metadata.

A regressor's answer means something only to the models it was trained with. Recognition is known by its file's
checksum. Shape and texture models may be built on the spot, where the last bits depend on the machine; they are known
by what they answer to fixed questions.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ops.errors import ConfigurationError, ModelFormatError
from ops.face.morphable_model import MorphableModel
from ops.files.tensor_file import read_tensor_file, write_tensor_file
from ops.networks.regressor import Regressor, RegressorLayout, RegressorStart
from ops.texture.gan_texture import linear_part
from ops.texture.interface import TextureModel
from ops.texture.pca import PcaTexture

FORMAT = "ganfit-regressor-v3"
NETWORK, PROBE = "network.", "probe."
OF_PICTURES = ("levels.", "gather.", "appearance.", "shape.")
"""Beginnings of the names of tensors that have to do with pictures."""
TOLERANCE = 0.02
"""Largest deviation of an answer, relative to the mode's size or in albedo."""
PROBE_PX = 8
ADVICE = "use the models it was trained with, train one for these by ganfit train-regressor, or use --method ganfit"


class ModelProbe(NamedTuple):
    """What a shape and a texture model answer to fixed questions."""

    shape: Float[Tensor, " mode"]
    """Mean face, identity and expression modes along a fixed direction, over their norms."""
    texture: Float[Tensor, "2 3 8 8"]
    """The textures of two fixed latents, tiny."""


@dataclass(frozen=True, kw_only=True)
class RegressorOrigin:
    """Where a regressor comes from."""

    bundle: str
    models: dict[str, dict[str, str | None]]
    """Kind and sha256 of the bundle's models, by role."""
    training: dict[str, Any]
    """Description of the training, for people."""


class RegressorFile(NamedTuple):
    """A regressor and what it says about itself."""

    regressor: Regressor
    origin: RegressorOrigin
    probe: ModelProbe


@torch.no_grad()
def probe_models(shape: MorphableModel, texture: TextureModel) -> ModelProbe:
    """Ask the fixed questions; on the CPU."""
    modes = torch.cat((shape.mean_mm[None], shape.identity_basis_mm, shape.expression_basis_mm)).flatten(1).cpu()
    direction = torch.cos(2.39996 * torch.arange(modes.shape[1], dtype=torch.float64)).to(modes)
    along = (modes @ direction) / modes.norm(dim=1).clamp_min(1e-9)
    return ModelProbe(along, _probe(texture, torch.eye(texture.latent_size, device=shape.mean_mm.device)))


def _probe(texture: TextureModel, coefficients: Float[Tensor, "latent given"]) -> Float[Tensor, "2 3 px px"]:
    """Textures of two mixtures of given modes, with these coefficients each."""
    wave = torch.cos(1.3 * torch.arange(coefficients.shape[1])).to(coefficients)
    latent = torch.stack((torch.zeros_like(wave), wave)) @ coefficients.mT
    return torch.nn.functional.adaptive_avg_pool2d(texture(latent, texture.levels[0]), PROBE_PX).cpu()


def _same_texture(found: Float[Tensor, "2 3 px px"], content: RegressorFile) -> bool:
    return bool(((found - content.probe.texture).abs() <= TOLERANCE).all())


def save_regressor(content: RegressorFile, path: Path) -> None:
    """Write a regressor in float16."""
    state = {NETWORK + name: _small(value) for name, value in content.regressor.state_dict().items()}
    probe = {PROBE + name: value.float().contiguous() for name, value in content.probe._asdict().items()}
    description = {"layout": content.regressor.layout, "origin": content.origin}
    # One entry: safetensors writes several in random order, and a regressor's file would differ from itself.
    metadata = {FORMAT: json.dumps({name: dataclasses.asdict(value) for name, value in description.items()})}
    write_tensor_file(path, state | probe, metadata)


def load_regressor_file(path: Path) -> RegressorFile:
    """Read what `save_regressor` wrote; frozen, in evaluation mode.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it is something else, or damaged.
    """
    advice = "name one that is there, train one by ganfit train-regressor, or use --method ganfit"
    metadata, tensors = read_tensor_file(path, "a regressor", advice)
    if FORMAT not in metadata:
        raise ModelFormatError(f"expected a description {FORMAT} in {path}, found {', '.join(metadata) or 'none'}")
    try:
        return _assemble(json.loads(metadata[FORMAT]), tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigurationError) as error:
        raise ModelFormatError(f"{path} is not a sound regressor file: {error}") from error


@torch.no_grad()
def take_over(regressor: Regressor, path: Path) -> None:
    """Give a regressor what another one of its layout makes of the picture: all but the weights of landmarks.

    The file may be of an earlier version, whose regressors saw landmarks otherwise.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it is no regressor, or one of another layout.
    """
    tensors = read_tensor_file(path, "a regressor to start from").tensors
    try:
        for name, value in regressor.state_dict().items():
            if not name.startswith(OF_PICTURES):
                continue
            given = tensors[NETWORK + name]
            if name == "shape.weight":
                value, given = (weight[:, : regressor.seen_size] for weight in (value, given))
            value.copy_(given)
    except (KeyError, RuntimeError) as error:
        raise ModelFormatError(f"{path} is not a regressor of the same layout: {error}") from error


def regressor_for(
    path: Path, content: RegressorFile, shape: MorphableModel, texture: TextureModel, recognition_sha256: str | None
) -> Regressor:
    """The regressor for some models: shape and recognition must be those it was trained with.

    The texture model may be another linear one, whose coefficients are then left to the pixels, see
    `ops.texture.appearance`: the regressor answers their mean.

    Raises:
        ConfigurationError: naming the first model that differs.
    """
    layout, probe = content.regressor.layout, probe_models(shape, texture)
    found, expected = (shape.identity_size, shape.expression_size), (layout.identity, layout.expression)
    if found != expected:
        raise ConfigurationError(
            f"the regressor {path} answers {expected[0]} identity and {expected[1]} expression coefficients, "
            f"the models have {found[0]} and {found[1]}: {ADVICE}"
        )
    trained_with = content.origin.models["recognition"]["sha256"]
    if trained_with != recognition_sha256:
        raise ConfigurationError(
            f"the regressor {path} was trained with the recognition network {trained_with}, "
            f"the bundle has {recognition_sha256}: {ADVICE}"
        )
    scale = content.probe.shape.square().mean().sqrt().clamp_min(1.0)
    deviation = float(((probe.shape - content.probe.shape).abs() / scale).max())
    if not deviation <= TOLERANCE:
        raise ConfigurationError(
            f"the regressor {path} was trained with another shape model of the same size "
            f"(deviation {deviation:.3f}, expected at most {TOLERANCE}): {ADVICE}"
        )
    if texture.latent_size == layout.texture and _same_texture(probe.texture, content):
        return content.regressor
    whole = texture.whole if isinstance(texture, PcaTexture) else None
    if whole is not None and whole.shape[1] == layout.texture and _same_texture(_probe(texture, whole), content):
        return content.regressor.with_texture(whole)
    if linear_part(texture) is None:
        raise ConfigurationError(
            f"the regressor {path} was trained with another texture model, and that of the bundle is not linear, so "
            f"that pixels could tell its coefficients: {ADVICE}"
        )
    return content.regressor.without_texture(texture.latent_size)


def _assemble(description: dict[str, dict[str, Any]], tensors: dict[str, Tensor]) -> RegressorFile:
    layout = description["layout"]
    layout["taps"] = tuple((int(channels), int(side)) for channels, side in layout["taps"])
    layout["channels"] = tuple(layout["channels"])
    blank = RegressorStart(torch.zeros(68, 2), torch.zeros(8), torch.zeros(9))
    regressor = Regressor(RegressorLayout(**layout), blank)
    state = {name.removeprefix(NETWORK): value for name, value in tensors.items() if name.startswith(NETWORK)}
    regressor.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    regressor.requires_grad_(False).eval()
    probe = ModelProbe(*(tensors[PROBE + name] for name in ModelProbe._fields))
    return RegressorFile(regressor, RegressorOrigin(**description["origin"]), probe)


def _small(value: Tensor) -> Tensor:
    value = value.detach().cpu()
    return (value.half() if value.is_floating_point() else value).contiguous()
