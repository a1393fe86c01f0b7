"""The progressively grown generator and discriminator of UV textures (Karras et al. 2018, section 3 and appendix A).

Images are in [-1, 1] here; `ops.texture.gan_texture` makes a texture model of a generator. Every level keeps its
to-colour and from-colour convolutions, so that a trained generator also answers at every lower resolution.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ops.errors import ConfigurationError

SMALLEST_SIDE, LARGEST_SIDE = 4, 1024
LEAK = 0.2
PIXEL_NORM_EPSILON = 1e-8
DEVIATION_GROUP = 4
"""Images whose deviation from each other the discriminator sees."""
LINEAR_UNIT = 0.01
"""Colour a parameter of the linear image stands for: it learns as much slower as it has more of them at work."""
Resampling = Literal["none", "up", "down"]


@dataclass(frozen=True, kw_only=True)
class GanSize:
    """How large the two networks are."""

    resolution: int = 512
    """Side of the largest image, a power of two."""
    latent_size: int = 512
    channel_base: int = 8192
    """An image of side s has min(2 channel_base / s, channel_limit) feature channels."""
    channel_limit: int = 512
    image_channels: int = 3
    start_side: int = SMALLEST_SIDE
    """Side of the images the generator's dense layer draws, its smallest level; 4 is the published one."""
    place_bias: bool = False
    """Whether the generator has biases for every texel of every level, not the published ones for every channel only.
    UV maps are aligned: what every face has in one place need not be found anew from the latent vector."""
    linear_side: int = 0
    """Side of an image linear in the latent vector that the generator's levels add to; 0, as published, for none."""

    def __post_init__(self) -> None:
        side = self.resolution
        if side & (side - 1) or not SMALLEST_SIDE <= side <= LARGEST_SIDE:
            raise ConfigurationError(
                f"expected a power of two from {SMALLEST_SIDE} to {LARGEST_SIDE} as resolution, got {side}"
            )
        if min(self.latent_size, self.channel_limit, self.image_channels) < 1 or 2 * self.channel_base < side:
            raise ConfigurationError(f"expected at least one channel everywhere, got {self}")
        if self.start_side not in self.sides or self.linear_side not in (0, *self.sides):
            raise ConfigurationError(
                f"expected start_side and linear_side among {self.sides}, got {self.start_side}, {self.linear_side}"
            )

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of all levels, ascending."""
        return tuple(2**k for k in range(2, self.resolution.bit_length()))

    @property
    def generator_sides(self) -> tuple[int, ...]:
        """Sides of the generator's levels, ascending."""
        return tuple(side for side in self.sides if side >= self.start_side)

    def channels(self, side: int) -> int:
        """Feature channels of images of this side."""
        return min(2 * self.channel_base // side, self.channel_limit)


def gan_size(resolution: int, width: float, latent_size: int) -> GanSize:
    """Networks with `width` times the published number of channels everywhere."""
    return GanSize(
        resolution=resolution,
        latent_size=latent_size,
        channel_base=max(round(8192 * width), resolution // 2),
        channel_limit=max(round(512 * width), 1),
    )


class EqualisedConv(nn.Module):
    """A convolution with the equalised learning rate: weights N(0, 1), scaled by gain / sqrt(fan-in) when used.

    With `up` it convolves the image enlarged to nearest neighbours, with `down` it averages 2 x 2 outputs; both as one
    strided convolution with the four shifted copies of the kernel added up, which is the same and costs under half.
    """

    def __init__(
        self, inputs: int, outputs: int, side: int, gain: float = math.sqrt(2), resampling: Resampling = "none"
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * side * side)
        self.resampling: Resampling = resampling

    def forward(self, images: Float[Tensor, "image inputs h w"]) -> Float[Tensor, "image outputs h2 w2"]:
        """Convolve, keeping, doubling or halving the side."""
        weight = self.weight * self.scale
        if self.resampling == "none":
            return functional.conv2d(images, weight, self.bias, padding=weight.shape[-1] // 2)
        padded = functional.pad(weight, (1, 1, 1, 1))
        shifted = padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
        if self.resampling == "down":
            return functional.conv2d(images, shifted / 4, self.bias, stride=2, padding=1)
        # A transposed convolution correlates with the kernel turned round.
        turned = shifted.flip((2, 3)).transpose(0, 1)
        return functional.conv_transpose2d(images, turned, self.bias, stride=2, padding=1)


class EqualisedLinear(nn.Module):
    """A linear map with the equalised learning rate; every `shared_bias` outputs in a row share one bias."""

    def __init__(self, inputs: int, outputs: int, gain: float = math.sqrt(2), shared_bias: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs // shared_bias))
        self.scale = gain / math.sqrt(inputs)
        self.shared_bias = shared_bias

    def forward(self, values: Float[Tensor, "image inputs"]) -> Float[Tensor, "image outputs"]:
        """Map."""
        return functional.linear(values, self.weight * self.scale, self.bias.repeat_interleave(self.shared_bias))


def pixel_norm(features: Float[Tensor, "image channel *place"]) -> Float[Tensor, "image channel *place"]:
    """Every pixel's feature vector scaled to a root mean square of 1."""
    return features * torch.rsqrt(features.square().mean(1, keepdim=True) + PIXEL_NORM_EPSILON)


def minibatch_deviation(features: Float[Tensor, "image channel h w"]) -> Float[Tensor, "image channel_1 h w"]:
    """Append a channel with the mean standard deviation over groups of `DEVIATION_GROUP` images, interleaved."""
    count, _, height, width = features.shape
    group = math.gcd(count, DEVIATION_GROUP)
    grouped = features.unflatten(0, (group, count // group))
    deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    plane = deviation.repeat(group)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat((features, plane), 1)


def fade(
    coarse: Float[Tensor, "image channel h w"], fine: Float[Tensor, "image channel h2 w2"], share: float
) -> Float[Tensor, "image channel h2 w2"]:
    """`share` of the fine image and the rest of the coarse one, enlarged where it is half as large."""
    if coarse.shape != fine.shape:
        coarse = enlarge(coarse)
    return torch.lerp(coarse, fine, share)


def enlarge(images: Float[Tensor, "image channel h w"]) -> Float[Tensor, "image channel h2 w2"]:
    """Twice the side, nearest neighbour."""
    return functional.interpolate(images, scale_factor=2.0, mode="nearest")


def shrink(images: Float[Tensor, "image channel h w"]) -> Float[Tensor, "image channel h2 w2"]:
    """Half the side, averaged."""
    return functional.avg_pool2d(images, 2)


def fade_images(images: Float[Tensor, "image channel side side"], share: float) -> Float[Tensor, "image channel s s"]:
    """What the discriminator is shown of real images while a level fades in."""
    return images if share >= 1 else fade(shrink(images), images, share)


def onto_ball(latent: Float[Tensor, "image latent"]) -> Float[Tensor, "image latent"]:
    """Points outside the sphere of root mean square 1 moved onto it; points inside stay.

    On and outside the sphere this is the published normalisation of the input; inside, towards 0, textures come closer
    to an average one (truncation).
    """
    return latent * latent.square().mean(1, keepdim=True).clamp_min(1.0).rsqrt()


class _GeneratorBlock(nn.Module):
    """Two convolutions, the first one doubling the side, each followed by leaky ReLU and pixel norm."""

    def __init__(self, inputs: int, outputs: int, side: int, *, place_bias: bool) -> None:
        super().__init__()
        self.conv0 = EqualisedConv(inputs, outputs, 3, resampling="up")
        self.conv1 = EqualisedConv(outputs, outputs, 3)
        self.place = nn.Parameter(torch.zeros(outputs, side, side)) if place_bias else None

    def forward(self, features: Tensor) -> Tensor:
        features = self.conv0(features)
        if self.place is not None:
            features = features + self.place
        return _activate(self.conv1(_activate(features)))


class _GeneratorStart(nn.Module):
    """Latent vector to the features of the smallest level."""

    def __init__(self, latent_size: int, channels: int, side: int, *, place_bias: bool) -> None:
        super().__init__()
        shared_bias = 1 if place_bias else side**2
        self.dense = EqualisedLinear(latent_size, side**2 * channels, math.sqrt(2) / 4, shared_bias)
        self.conv = EqualisedConv(channels, channels, 3)
        self.side = side

    def forward(self, latent: Tensor) -> Tensor:
        features = self.dense(latent).unflatten(1, (-1, self.side, self.side))
        return _activate(self.conv(_activate(features)))


class LinearImage(nn.Module):
    """An image linear in the latent vector, such as principal components draw it, brought to any side."""

    def __init__(self, size: GanSize) -> None:
        super().__init__()
        side, channels = size.linear_side, size.image_channels
        self.mean = nn.Parameter(torch.zeros(channels, side, side))
        """In units of `LINEAR_UNIT`, as the basis."""
        self.basis = nn.Parameter(torch.zeros(size.latent_size, channels, side, side))

    @torch.no_grad()
    def assign(
        self, mean: Float[Tensor, "channel side side"], basis: Float[Tensor, "latent channel side side"]
    ) -> None:
        """Take over a mean image and the offset of one unit of every latent value."""
        self.mean.copy_(mean / LINEAR_UNIT)
        self.basis.copy_(basis / LINEAR_UNIT)

    def forward(self, latent: Float[Tensor, "image latent"], side: int) -> Float[Tensor, "image channel side side"]:
        """Averaged down or enlarged bilinearly to `side`."""
        stored = torch.addmm(self.mean.flatten(), latent, self.basis.flatten(1)).unflatten(1, self.mean.shape)
        drawn = LINEAR_UNIT * stored
        own = drawn.shape[-1]
        if side < own:
            return functional.avg_pool2d(drawn, own // side)
        if side == own:
            return drawn
        return functional.interpolate(drawn, size=(side, side), mode="bilinear", align_corners=False)


class Generator(nn.Module):
    """Latent vectors to images in about [-1, 1]."""

    def __init__(self, size: GanSize) -> None:
        super().__init__()
        self.size = size
        sides = size.generator_sides
        self.start = _GeneratorStart(size.latent_size, size.channels(sides[0]), sides[0], place_bias=size.place_bias)
        self.blocks = nn.ModuleList(
            _GeneratorBlock(size.channels(s // 2), size.channels(s), s, place_bias=size.place_bias) for s in sides[1:]
        )
        self.to_colour = nn.ModuleList(EqualisedConv(size.channels(s), size.image_channels, 1, 1.0) for s in sides)
        self.linear: LinearImage | None = None
        if size.linear_side:
            self.linear = LinearImage(size)
            for layer in self.to_colour:
                nn.init.zeros_(cast(EqualisedConv, layer).weight)

    def forward(
        self, latent: Float[Tensor, "image latent"], side: int | None = None, share: float = 1.0
    ) -> Float[Tensor, "image channel side side"]:
        """Images of a level, `share` of which is the level's own and the rest the one below, enlarged.

        Raises:
            ConfigurationError: a side that is none of the levels'.
        """
        level = level_of(self.size.generator_sides, side)
        features = self.features(latent, level)
        image = self._image(latent, features, level)
        if share >= 1 or level == 0:
            return image
        return fade(self._image(latent, features, level - 1), image, share)

    def _image(self, latent: Tensor, features: list[Tensor], level: int) -> Tensor:
        image: Tensor = self.to_colour[level](features[level])
        return image if self.linear is None else image + self.linear(onto_ball(latent), image.shape[-1])

    def features(self, latent: Float[Tensor, "image latent"], level: int) -> list[Tensor]:
        """Features of all levels up to this one, 0 being the smallest level."""
        features: list[Tensor] = [self.start(onto_ball(latent))]
        for block in self.blocks[:level]:
            features.append(block(features[-1]))
        return features


class _DiscriminatorBlock(nn.Module):
    """Two convolutions, the second one halving the side, each followed by leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = EqualisedConv(inputs, inputs, 3)
        self.conv1 = EqualisedConv(inputs, outputs, 3, resampling="down")

    def forward(self, features: Tensor) -> Tensor:
        return _leaky(self.conv1(_leaky(self.conv0(features))))


class _DiscriminatorEnd(nn.Module):
    """4 x 4 features to one number per image."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv = EqualisedConv(channels + 1, channels, 3)
        self.dense0 = EqualisedLinear(16 * channels, hidden)
        self.dense1 = EqualisedLinear(hidden, 1, 1.0)

    def forward(self, features: Tensor) -> Tensor:
        features = _leaky(self.conv(minibatch_deviation(features)))
        return self.dense1(_leaky(self.dense0(features.flatten(1)))).squeeze(1)


class Discriminator(nn.Module):
    """Images to a score, higher for real ones: the critic of WGAN-GP."""

    def __init__(self, size: GanSize) -> None:
        super().__init__()
        self.size = size
        sides = size.sides
        self.from_colour = nn.ModuleList(
            EqualisedConv(size.image_channels, size.channels(s), 1, math.sqrt(2)) for s in sides
        )
        self.blocks = nn.ModuleList(_DiscriminatorBlock(size.channels(s), size.channels(s // 2)) for s in sides[1:])
        self.end = _DiscriminatorEnd(size.channels(sides[0]), min(size.channel_base, size.channel_limit))

    def forward(self, images: Float[Tensor, "image channel side side"], share: float = 1.0) -> Float[Tensor, " image"]:
        """Scores; the level is the images' side, and `share` of its features come from it.

        Raises:
            ConfigurationError: images of a side that is none of the levels'.
        """
        level = level_of(self.size.sides, images.shape[-1])
        features = _leaky(self.from_colour[level](images))
        if level:
            features = self.blocks[level - 1](features)
            if share < 1:
                features = fade(_leaky(self.from_colour[level - 1](shrink(images))), features, share)
        for block in reversed(list(self.blocks)[: max(level - 1, 0)]):
            features = block(features)
        return self.end(features)


def level_of(sides: tuple[int, ...], side: int | None) -> int:
    """Index of the level with images of this side, 0 for the smallest; None stands for the last.

    Raises:
        ConfigurationError: no level has this side.
    """
    if side is None:
        return len(sides) - 1
    if side not in sides:
        raise ConfigurationError(f"expected a texture level among {sides}, got {side}")
    return sides.index(side)


def parameter_count(network: nn.Module, *, last_colour_only: bool = False) -> int:
    """Number of trained values; optionally without the to- and from-colour layers of the lower levels."""
    spare = [layer for name in ("to_colour", "from_colour") for layer in list(getattr(network, name, ()))[:-1]]
    total = sum(p.numel() for p in network.parameters())
    return total - last_colour_only * sum(
        p.numel() for layer in cast(list[nn.Module], spare) for p in layer.parameters()
    )


def average_into(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the running mean of a network's parameters towards its present ones: decay of old, the rest of new."""
    with torch.no_grad():
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)


def _leaky(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, LEAK)


def _activate(features: Tensor) -> Tensor:
    return pixel_norm(_leaky(features))
