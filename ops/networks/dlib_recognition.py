"""dlib's face recognition network (King 2017): a ResNet of 29 convolutions from a 150 px chip to 128 numbers.

Its weights come from face-api's file, which holds them quantised to a byte a number with a scale and a minimum per
tensor; the manifest beside it says where each tensor lies.

The network was trained for Euclidean distances, and its embeddings lie on one side of the origin: the cosine of any two
people is 0.85. So the mean embedding of 100 people who do not exist is taken off each, which leaves distances as they
are and makes cosines tell people apart.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ops.errors import ConfigurationError, ModelFormatError
from ops.face.alignment import ARCFACE_SIDE_PX, ARCFACE_TEMPLATE_PX
from ops.geometry.similarity import fit_similarity
from ops.networks.quantised_weights import read_quantised_weights
from ops.networks.recognition import RecognitionNetwork

MEAN_FILE = Path(__file__).with_name("dlib_mean.json")
"""Written by `python -m benchmarks.dlib_mean`."""
CHIP_PX = 150
CHIP_PADDING = 0.25
"""Margin of the chip about the mean face, in sides of the face's unit square."""
MEAN_FACE = (
    (0.226998, 0.222671),
    (0.753253, 0.222671),
    (0.490127, 0.515625),
    (0.254149, 0.780233),
    (0.726104, 0.780233),
)
"""Eye centres, nose tip and mouth corners of dlib's mean face, in its unit square."""
MEAN_RGB = (122.782, 117.001, 104.298)
EMBEDDING_SIZE = 128
STAGES = ("stage1", "stage2", "stage3", "stage4")
"""Outputs at 35, 17, 8 and 4 px; what follows has 2 px."""
_BLOCKS = {
    "conv32": (32, ("_1", "_2", "_3")),
    "conv64": (64, ("_down", "_1", "_2", "_3")),
    "conv128": (128, ("_down", "_1", "_2")),
    "conv256": (256, ("_down", "_1", "_2")),
}
_LAST_BLOCK = "conv256_down_out"


class DlibOutputs(NamedTuple):
    """The embedding as the only output; the outputs of the residual stages as taps, fine to coarse."""

    outputs: tuple[Float[Tensor, "image 128"]]
    taps: tuple[Float[Tensor, "image _ _ _"], ...]


class _Residual(nn.Module):
    """Two convolutions of 3 px beside the identity, or beside an average over 2 px where it halves the resolution."""

    def __init__(self, before: int, channels: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(before, channels, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image _ _ _"]:
        """What is missing of channels, rows or columns on one side of the sum is zero."""
        out = self.conv2(self.conv1(x).relu())
        skipped = nn.functional.avg_pool2d(x, 2) if self.down else x
        rows, columns = skipped.shape[2] - out.shape[2], skipped.shape[3] - out.shape[3]
        if rows or columns:
            out = nn.functional.pad(out, (0, columns, 0, rows))
        if extra := out.shape[1] - skipped.shape[1]:
            skipped = nn.functional.pad(skipped, (0, 0, 0, 0, 0, extra))
        return (out + skipped).relu()


class DlibResNet(nn.Module):
    """The network on the project's aligned crops, which it resamples into dlib's chip."""

    horizontal: Tensor
    vertical: Tensor
    mean_rgb: Tensor

    def __init__(self, taps: Sequence[str] = STAGES) -> None:
        super().__init__()
        self._taps = tuple(taps)
        self.first = nn.Conv2d(3, 32, 7, stride=2)
        stages: list[nn.Module] = []
        before = 32
        for channels, names in _BLOCKS.values():
            blocks: list[nn.Module] = []
            for name in names:
                blocks.append(_Residual(before, channels, down=name == "_down"))
                before = channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.last = _Residual(before, before, down=True)
        self.embed = nn.Linear(before, EMBEDDING_SIZE)
        horizontal, vertical = chip_matrices()
        self.register_buffer("horizontal", horizontal, persistent=False)
        self.register_buffer("vertical", vertical, persistent=False)
        self.register_buffer("mean_rgb", torch.tensor(MEAN_RGB)[:, None, None], persistent=False)

    def forward(self, images: Float[Tensor, "image 3 112 112"]) -> DlibOutputs:
        """Embed crops aligned to the ArcFace template, RGB in [-1, 1]."""
        return self.embed_chips((self.vertical @ images @ self.horizontal.mT + 1) / 2)

    def embed_chips(self, chips: Float[Tensor, "image 3 150 150"]) -> DlibOutputs:
        """Embed dlib's own chips, RGB in [0, 1]."""
        x = self.first(chips - self.mean_rgb / 255).relu()
        x = nn.functional.max_pool2d(x, 3, 2)
        taps: list[Tensor] = []
        for name, stage in zip(STAGES, self.stages, strict=True):
            x = stage(x)
            if name in self._taps:
                taps.append(x)
        return DlibOutputs((self.embed(self.last(x).mean((2, 3))),), tuple(taps))


def chip_matrices() -> tuple[Float[Tensor, "150 112"], Float[Tensor, "150 112"]]:
    """Weights that resample columns and rows of an aligned crop into dlib's chip, bilinearly.

    The chip is where the similarity of the five mean points puts it; its bottom reaches 9 px below the crop, whose last
    row is repeated there.
    """
    target = (torch.tensor(MEAN_FACE, dtype=torch.float64) + CHIP_PADDING) * CHIP_PX / (1 + 2 * CHIP_PADDING)
    found = fit_similarity(target, ARCFACE_TEMPLATE_PX, with_scale=True)
    # The template's eyes are level to a third of a degree, so that the turn is left out.
    centre = (found.scale * found.rotation) @ torch.full((2,), CHIP_PX / 2, dtype=torch.float64) + found.translation
    places = (torch.arange(CHIP_PX, dtype=torch.float64) + 0.5 - CHIP_PX / 2) * found.scale
    horizontal, vertical = (_bilinear(places + middle) for middle in centre)
    return horizontal, vertical


def _bilinear(position: Float[Tensor, " pixel"]) -> Float[Tensor, "pixel 112"]:
    """Weights of the two nearest of the crop's pixels, whose centres lie at + 0.5."""
    inside = position.clamp(0.5, ARCFACE_SIDE_PX - 0.5)
    distance = inside.unsqueeze(-1) - (torch.arange(ARCFACE_SIDE_PX, dtype=torch.float64) + 0.5)
    return (1 - distance.abs()).clamp_min(0).float()


def load_dlib_recognition(
    path: Path, content_layers: Sequence[str] | None = None, mean: Path | None = MEAN_FILE
) -> RecognitionNetwork:
    """The network behind the common interface.

    Args:
        path: face-api's face_recognition_model.bin, with its weights manifest beside it.
        content_layers: which of `STAGES` to return as features; None for all, an empty sequence for embeddings alone.
        mean: JSON file of the mean embedding that is taken off; None for the network's own embeddings.

    Raises:
        MissingModelFileError: one of the two files is not there.
        ModelFormatError: they hold something else.
        ConfigurationError: a layer it does not have.
    """
    layers = STAGES if content_layers is None else tuple(content_layers)
    if unknown := [name for name in layers if name not in STAGES]:
        raise ConfigurationError(f"expected content layers among {', '.join(STAGES)}, got {unknown[0]}")
    weights = read_quantised_weights(path)
    network = DlibResNet(layers)
    try:
        _fill_convolution(network.first, weights, "conv32_down")
        for (prefix, (_, names)), stage in zip(_BLOCKS.items(), network.stages, strict=True):
            for name, block in zip(names, stage.children(), strict=True):
                _fill_block(block, weights, prefix + name)
        _fill_block(network.last, weights, _LAST_BLOCK)
        network.embed.weight.data.copy_(weights["fc"].T)
        origin = json.loads(mean.read_text(encoding="utf-8"))["mean"] if mean else [0.0] * EMBEDDING_SIZE
        network.embed.bias.data.copy_(-torch.tensor(origin))
    except (KeyError, RuntimeError) as error:
        raise ModelFormatError(f"{path} does not hold dlib's recognition network: {error}") from error
    return RecognitionNetwork(network, layers)


def _fill_block(block: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    assert isinstance(block, _Residual)
    _fill_convolution(block.conv1, weights, f"{name}/conv1")
    _fill_convolution(block.conv2, weights, f"{name}/conv2")


def _fill_convolution(convolution: nn.Conv2d, weights: dict[str, Tensor], name: str) -> None:
    """A convolution and the affine map of its channels after it, as one: s (w x + b) + t = (s w) x + (s b + t)."""
    filters, bias = weights[f"{name}/conv/filters"].permute(3, 2, 0, 1), weights[f"{name}/conv/bias"]
    scale, shift = weights[f"{name}/scale/weights"], weights[f"{name}/scale/biases"]
    assert convolution.bias is not None
    convolution.weight.data.copy_(filters * scale[:, None, None, None])
    convolution.bias.data.copy_(bias * scale + shift)
