"""The texture model a trained generator makes, and its file format."""

import copy
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ops.errors import ConfigurationError, ModelFormatError
from ops.files.tensor_file import read_tensor_file, write_tensor_file
from ops.texture.interface import TextureModel
from ops.texture.pca import PcaTexture
from ops.texture.progressive_gan import EqualisedConv, GanSize, Generator, onto_ball, pixel_norm, shrink

FORMAT = "ganfit-progressive-gan-v2"
READABLE = ("ganfit-progressive-gan-v1", FORMAT)
"""The first version kept everything as float16."""
PACKED, UNITS = ("linear.basis", "start.dense.weight", ".place"), ".units"
"""Ends of the names of what makes up most of a small generator's file: kept as int8 in a unit for every row."""
SMALLEST_LEVEL = 32
LINEAR_LEVEL = 64
LINEAR_DRAWS = 32
"""Textures over which what the levels add to a linear image is averaged."""
CALIBRATION_IMAGES, CALIBRATION_BATCH = 128, 8


@dataclass(frozen=True, kw_only=True)
class GanTexture:
    """A generator as texture model; implements `ops.texture.interface.TextureModel`."""

    generator: Generator
    """The running mean of training, not the network that was stepped."""
    uv_layout: str
    """Identifier of the UV layout."""
    training: str
    """What it was trained on, and how."""
    licence: str
    latent_deviation: float = 1.0
    """Standard deviation, over real faces, of the generator's latent values. The model's are in units of it, so that
    a fit's step size and its weight of the latent norm mean the same as for coefficients in standard deviations."""

    @property
    def latent_size(self) -> int:
        """Length of the latent vector."""
        return self.generator.size.latent_size

    @property
    def resolution(self) -> int:
        """Side of the largest texture, in texels."""
        return self.generator.size.resolution

    @property
    def levels(self) -> tuple[int, ...]:
        """Sides with a to-colour layer, from 32 texels on (the only one of a smaller generator), ascending."""
        sides = self.generator.size.generator_sides
        return tuple(side for side in sides if side >= SMALLEST_LEVEL) or sides[-1:]

    def __call__(
        self, latent: Float[Tensor, "image latent"], level: int | None = None
    ) -> Float[Tensor, "image 3 side side"]:
        """RGB albedo of every latent vector, not clamped; differentiable.

        Raises:
            ConfigurationError: a level this model does not have.
        """
        if level is not None and level not in self.levels:
            raise ConfigurationError(f"expected a texture level among {self.levels}, got {level}")
        return (self.generator(self.latent_deviation * latent, level)[:, :3] + 1) / 2

    def constrain(self, latent: Float[Tensor, "image latent"]) -> Float[Tensor, "image latent"]:
        """Move vectors onto the generator's sphere, a root mean square of 1, where they lie outside of it."""
        return onto_ball(self.latent_deviation * latent) / self.latent_deviation

    def to(self, device: torch.device | str) -> "GanTexture":
        """The same model on another device."""
        return dataclasses.replace(self, generator=copy.deepcopy(self.generator).to(device))


def linear_part(texture: TextureModel) -> PcaTexture | None:
    """The nearest that a texture model has to a linear one, at `LINEAR_LEVEL` texels or less; None where it is far.

    A PCA is linear itself. A generator with a linear image is that image and the mean of what its levels add: near
    enough for pixels to tell where a fit may begin.
    """
    if isinstance(texture, PcaTexture):
        return texture
    if not isinstance(texture, GanTexture) or texture.generator.linear is None:
        return None
    level = max((side for side in texture.levels if side <= LINEAR_LEVEL), default=texture.levels[0])
    random = torch.Generator().manual_seed(0)
    draws = torch.randn(LINEAR_DRAWS, texture.latent_size, generator=random)
    draws = texture.constrain(draws.to(texture.generator.start.dense.weight.device))
    with torch.no_grad():
        ends = texture.generator.linear(texture.latent_deviation * torch.eye(texture.latent_size).to(draws), level)
        origin = texture.generator.linear(torch.zeros_like(draws[:1]), level)
        # The linear image is in [-1, 1], textures are in [0, 1].
        basis = (ends - origin) / 2
        drawn = torch.cat([texture(part, level) for part in draws.split(CALIBRATION_BATCH)])
        mean = drawn.mean(0) - torch.einsum("k,kchw->chw", draws.mean(0), basis)
    return PcaTexture(mean=mean, basis=basis, uv_layout=texture.uv_layout)


def freeze(generator: Generator) -> Generator:
    """A copy whose parameters take no gradients."""
    frozen = copy.deepcopy(generator).eval()
    frozen.requires_grad_(requires_grad=False)
    return frozen


def calibrate_levels(generator: Generator, seed: int = 0) -> None:
    """Fit the to-colour layers of all lower levels to the largest one's images averaged down, in place.

    Progressive training leaves them as they were when their level was the largest, and the layers below have moved
    since. A linear least-squares fit over random latent vectors makes every level a preview of the last.
    """
    sides = generator.size.generator_sides
    device = generator.start.dense.weight.device
    random = torch.Generator().manual_seed(seed)
    latents = pixel_norm(torch.randn(CALIBRATION_IMAGES, generator.size.latent_size, generator=random)).to(device)
    sizes = [generator.size.channels(side) + 1 for side in sides[:-1]]
    products = [torch.zeros(n, n, dtype=torch.float64, device=device) for n in sizes]
    targets = [torch.zeros(n, generator.size.image_channels, dtype=torch.float64, device=device) for n in sizes]
    with torch.no_grad():
        for part in latents.split(CALIBRATION_BATCH):
            images = generator(part)
            wanted = {sides[-1]: images}
            for side in reversed(sides[:-1]):
                wanted[side] = shrink(wanted[2 * side])
            if generator.linear is not None:
                wanted = {side: image - generator.linear(onto_ball(part), side) for side, image in wanted.items()}
            for level, features in enumerate(generator.features(part, len(sides) - 2)):
                rows = features.double().movedim(1, -1).flatten(0, -2)
                rows = torch.cat((rows, torch.ones_like(rows[:, :1])), 1)
                products[level] += rows.mT @ rows
                targets[level] += rows.mT @ wanted[sides[level]].double().movedim(1, -1).flatten(0, -2)
        for level, (product, target) in enumerate(zip(products, targets, strict=True)):
            layer = generator.to_colour[level]
            assert isinstance(layer, EqualisedConv)
            ridge = 1e-6 * product.diagonal().mean() * torch.eye(len(product), dtype=product.dtype, device=device)
            solved = torch.linalg.solve(product + ridge, target).float()
            layer.weight.copy_(solved[:-1].mT[..., None, None] / layer.scale)
            layer.bias.copy_(solved[-1])


def save_gan_texture(texture: GanTexture, path: Path) -> None:
    """Write the weights as safetensors; sizes, layout, training, licence and deviation in the metadata.

    Of a generator with a linear image the largest tensors are int8, see `PACKED`; all else is float16.
    """
    tensors = {name: value.half().contiguous().cpu() for name, value in texture.generator.state_dict().items()}
    if texture.generator.linear is not None:
        for name in [name for name in tensors if name.endswith(PACKED)]:
            values = tensors[name].float()
            units = values.flatten(1).abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
            tensors[name] = (values / _as_rows(units, values)).round().to(torch.int8)
            tensors[name + UNITS] = units
    metadata = {
        "format": FORMAT,
        "size": json.dumps(dataclasses.asdict(texture.generator.size)),
        "uv_layout": texture.uv_layout,
        "training": texture.training,
        "licence": texture.licence,
        "latent_deviation": repr(texture.latent_deviation),
    }
    write_tensor_file(path, tensors, metadata)


def load_gan_texture(path: Path) -> GanTexture:
    """Read what `save_gan_texture` wrote; computes in float32.

    Raises:
        MissingModelFileError: no such file.
        ModelFormatError: not a file of this format.
    """
    metadata, tensors = read_tensor_file(path, "a texture generator", "train one with `ganfit train-texture-gan`")
    if metadata.get("format") not in READABLE:
        raise ModelFormatError(f"expected format {FORMAT} in {path}, found {metadata.get('format')}")
    state = {name: tensor.float() for name, tensor in tensors.items()}
    try:
        for name in [name.removesuffix(UNITS) for name in state if name.endswith(UNITS)]:
            state[name] *= _as_rows(state.pop(name + UNITS), state[name])
        generator = Generator(GanSize(**json.loads(metadata["size"])))
        generator.load_state_dict(state)
        deviation = float(metadata.get("latent_deviation", "1"))
    except (RuntimeError, KeyError, TypeError, ValueError, ConfigurationError) as error:
        raise ModelFormatError(f"expected a texture generator at {path}: {error}") from error
    return GanTexture(
        generator=freeze(generator),
        uv_layout=metadata["uv_layout"],
        training=metadata["training"],
        licence=metadata["licence"],
        latent_deviation=deviation,
    )


def _as_rows(units: Float[Tensor, " row"], values: Tensor) -> Tensor:
    return units.view(-1, *[1] * (values.ndim - 1))
