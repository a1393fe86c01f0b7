"""Generators in the TensorFlow pickles of Progressive Growing of GANs, TBGAN's trunk and branches among them.

Such a pickle holds (generator, discriminator, running mean of the generator); every network is a name, settings and a
list of named arrays: `4x4/Dense/weight`, `8x8/Conv0_up/weight`, `8x8/Conv1/bias`, `ToRGB_lod0/weight` and so on. It
also holds Python source, which is never run. TBGAN's upper levels are branches on equal parts of the trunk's features,
in scopes of their own such as `256x256/tex/Conv0_up/weight`; of these the texture's is kept, as nothing here draws the
others.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ops.errors import ConfigurationError, ModelFormatError
from ops.importers.safe_pickle import PickledNetwork, read_pickled_networks
from ops.texture.gan_texture import GanTexture, freeze
from ops.texture.progressive_gan import SMALLEST_SIDE, EqualisedConv, EqualisedLinear, GanSize, Generator

TEXTURE_BRANCH = "tex"
_REQUIRED = {"use_pixelnorm": True, "use_leakyrelu": True, "normalize_latents": True, "label_size": 0}
"""Settings that may be absent, but not other than this."""


@dataclass(frozen=True)
class _Branch:
    """Which part of the trunk's features a branch works on."""

    name: str
    number: int
    count: int


def import_progressive_gan(path: Path, *, uv_layout: str, licence: str) -> GanTexture:
    """The running mean of the generator in a pickle, as a texture model; the first three channels are the colour.

    Raises:
        ModelFormatError: another content, or a generator of another construction.
    """
    networks = [network for network in read_pickled_networks(path) if "4x4/Dense/weight" in network.arrays]
    generators = [network for network in networks if any(name.startswith("ToRGB") for name in network.arrays)]
    if not generators:
        raise ModelFormatError(f"expected a generator of Progressive Growing of GANs in {path}, found none")
    try:
        generator = _generator(generators[-1])
    except (ConfigurationError, KeyError, ValueError) as error:
        raise ModelFormatError(f"cannot use the generator in {path}: {error}") from error
    training = f"imported from {path.name}, network {generators[-1].name}"
    return GanTexture(generator=freeze(generator), uv_layout=uv_layout, training=training, licence=licence)


def _generator(network: PickledNetwork) -> Generator:
    arrays = network.arrays
    other = [name for name, value in _REQUIRED.items() if network.settings.get(name, value) != value]
    if other:
        raise ModelFormatError(
            f"its setting {other[0]} is {network.settings[other[0]]!r}, expected {_REQUIRED[other[0]]}"
        )
    if "lod" in arrays and float(arrays["lod"]) > 0:
        raise ModelFormatError(f"its training had not reached the largest level yet (lod {float(arrays['lod']):g})")
    branch = _texture_branch(arrays)
    generator = Generator(_size(arrays, branch))
    scaled = bool(network.settings.get("use_wscale", True))
    with torch.no_grad():
        _fill_start(generator, arrays, scaled)
        for level in range(len(generator.size.sides)):
            if level:
                _fill_block(generator, level, arrays, branch, scaled)
            lod = len(generator.size.sides) - 1 - level
            scope = _scope(arrays, f"ToRGB_lod{lod}", branch)
            layer = generator.to_colour[level]
            assert isinstance(layer, EqualisedConv)
            _fill(layer, _forward(arrays[f"{scope}/weight"]), arrays[f"{scope}/bias"], scaled)
    return generator


def _texture_branch(arrays: Mapping[str, np.ndarray]) -> _Branch | None:
    """The texture's branch, if there are any; they share the trunk's features in the order of their first arrays."""
    names: list[str] = []
    for name in arrays:
        found = re.fullmatch(r"\d+x\d+/(\w+)/Conv\w+/weight", name)
        if found and found[1] not in names:
            names.append(found[1])
    if not names:
        return None
    if TEXTURE_BRANCH not in names:
        raise ModelFormatError(f"expected a branch {TEXTURE_BRANCH} among {', '.join(names)}")
    return _Branch(TEXTURE_BRANCH, names.index(TEXTURE_BRANCH), len(names))


def _size(arrays: Mapping[str, np.ndarray], branch: _Branch | None) -> GanSize:
    """Sizes from the arrays' shapes."""
    sides = sorted(int(name.split("x")[0]) for name in arrays if re.fullmatch(r"\d+x\d+(/\w+)?/Conv\w*/weight", name))
    resolution = sides[-1]
    levels = [2**k for k in range(2, resolution.bit_length())]
    channels = {side: len(arrays[f"{_last_conv(arrays, side, branch)}/bias"]) for side in levels}
    limit = channels[SMALLEST_SIDE]
    base = next((channels[side] * side // 2 for side in levels if channels[side] < limit), limit * resolution // 2)
    colours = arrays[f"{_scope(arrays, 'ToRGB_lod0', branch)}/bias"]
    size = GanSize(
        resolution=resolution,
        latent_size=arrays["4x4/Dense/weight"].shape[0],
        channel_base=base,
        channel_limit=limit,
        image_channels=len(colours),
    )
    unlike = [side for side in levels if size.channels(side) != channels[side]]
    if unlike:
        raise ModelFormatError(f"its {channels[unlike[0]]} channels at {unlike[0]} px do not follow from the others")
    return size


def _last_conv(arrays: Mapping[str, np.ndarray], side: int, branch: _Branch | None) -> str:
    return _scope(arrays, f"{side}x{side}", branch) + ("/Conv" if side == SMALLEST_SIDE else "/Conv1")


def _scope(arrays: Mapping[str, np.ndarray], scope: str, branch: _Branch | None) -> str:
    """The scope of a level, or its texture branch where it has branches."""
    inner = f"{scope}/{branch.name}" if branch else scope
    return inner if any(name.startswith(f"{inner}/") for name in arrays) else scope


def _fill_start(generator: Generator, arrays: Mapping[str, np.ndarray], scaled: bool) -> None:
    dense, conv = generator.start.dense, generator.start.conv
    _fill(dense, torch.from_numpy(arrays["4x4/Dense/weight"].astype(np.float32)).mT, arrays["4x4/Dense/bias"], scaled)
    _fill(conv, _forward(arrays["4x4/Conv/weight"]), arrays["4x4/Conv/bias"], scaled)


def _fill_block(
    generator: Generator, level: int, arrays: Mapping[str, np.ndarray], branch: _Branch | None, scaled: bool
) -> None:
    side = generator.size.sides[level]
    scope = _scope(arrays, f"{side}x{side}", branch)
    block = generator.blocks[level - 1]
    first, second = block.conv0, block.conv1
    assert isinstance(first, EqualisedConv)
    assert isinstance(second, EqualisedConv)
    if f"{scope}/Conv0_up/weight" in arrays:
        # A transposed convolution: the kernel of the equivalent convolution of the enlarged image is turned round.
        name = f"{scope}/Conv0_up"
        weight = torch.from_numpy(arrays[f"{name}/weight"].astype(np.float32)).permute(2, 3, 0, 1).flip((2, 3))
    else:
        name = f"{scope}/Conv0"
        weight = _forward(arrays[f"{name}/weight"])
    _fill(first, _on_trunk(weight, first.weight.shape[1], branch, scaled), arrays[f"{name}/bias"], scaled)
    _fill(second, _forward(arrays[f"{scope}/Conv1/weight"]), arrays[f"{scope}/Conv1/bias"], scaled)


def _forward(array: np.ndarray) -> Tensor:
    """A kernel [height, width, input, output] as [output, input, height, width]."""
    return torch.from_numpy(array.astype(np.float32)).permute(3, 2, 0, 1)


def _on_trunk(weight: Tensor, inputs: int, branch: _Branch | None, scaled: bool) -> Tensor:
    """A branch's first kernel, which sees its part of the features alone, among zeros for the others.

    Its equalised rate belongs to the smaller fan-in.
    """
    part = weight.shape[1]
    if part == inputs:
        return weight
    if branch is None or part * branch.count != inputs:
        raise ModelFormatError(f"expected a first convolution of {inputs} channels, got {part}")
    whole = weight.new_zeros(weight.shape[0], inputs, *weight.shape[2:])
    whole[:, branch.number * part : (branch.number + 1) * part] = weight * (math.sqrt(branch.count) if scaled else 1.0)
    return whole


def _fill(layer: EqualisedConv | EqualisedLinear, weight: Tensor, bias: np.ndarray, scaled: bool) -> None:
    """Set a layer; of kernels over more colours than the layer has, such as a trunk's, the first are taken."""
    outputs = layer.weight.shape[0]
    if weight.shape[0] > outputs and isinstance(layer, EqualisedConv) and layer.weight.shape[-1] == 1:
        weight, bias = weight[:outputs], bias[:outputs]
    if weight.shape != layer.weight.shape or bias.shape != layer.bias.shape:
        raise ModelFormatError(
            f"expected a layer of shape {tuple(layer.weight.shape)}, got {tuple(weight.shape)} with {len(bias)} biases"
        )
    layer.weight.copy_(weight if scaled else weight / layer.scale)
    layer.bias.copy_(torch.from_numpy(bias.astype(np.float32)))
