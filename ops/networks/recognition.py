"""Face recognition: an identity embedding and content features of aligned crops."""

import copy
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ops.errors import ModelFormatError
from ops.networks.onnx.graph import OnnxGraph

CROP_PX = 112
"""Side of the aligned crop every ArcFace-style network takes."""


class Recognition(NamedTuple):
    """What a recognition network sees in a batch of crops."""

    embedding: Float[Tensor, "image channel"]
    """Identity, not normalised: compare by `cosine_similarity`."""
    features: tuple[Float[Tensor, "image _ _ _"], ...]
    """Content layers, coarse resolution last; each has its own channels and size."""

    def rows(self, images: slice | Int64[Tensor, " row"]) -> "Recognition":
        """That of some images."""
        return Recognition(self.embedding[images], tuple(layer[images] for layer in self.features))

    def to(self, device: torch.device | str) -> "Recognition":
        """The same on another device."""
        return Recognition(self.embedding.to(device), tuple(layer.to(device) for layer in self.features))


class RecognitionNetwork(nn.Module):
    """A frozen recognition network with its own input normalisation, differentiable in the images.

    `graph` maps RGB in [-1, 1] to `OnnxOutputs`: the embedding as its first output, the content layers as its taps.
    """

    def __init__(self, graph: nn.Module, content_layers: Sequence[str]) -> None:
        super().__init__()
        self.graph = graph.requires_grad_(False).eval()
        self.content_layers = tuple(content_layers)

    def forward(self, images: Float[Tensor, "image 3 112 112"]) -> Recognition:
        """Embed crops that are RGB in [0, 1] and aligned to the ArcFace template.

        The network itself sees (255 RGB - 127.5) / 127.5.
        """
        outputs, taps = self.graph(2 * images - 1)
        return Recognition(outputs[0], taps)


class Bfloat16Recognition(nn.Module):
    """A recognition network that computes in bfloat16, channels last; what it takes and gives is float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        reduced = copy.deepcopy(network).to(torch.bfloat16)
        self.network = reduced.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Float[Tensor, "image 3 112 112"]) -> Recognition:
        """Embed crops as the network itself does, with eight bits of precision."""
        reduced = images.to(torch.bfloat16, memory_format=torch.channels_last)
        seen: Recognition = self.network(reduced)
        return Recognition(seen.embedding.float(), tuple(layer.float() for layer in seen.features))


@lru_cache(maxsize=1)
def in_bfloat16(network: nn.Module) -> Bfloat16Recognition:
    """The same network in bfloat16, made once a process."""
    return Bfloat16Recognition(network)


def load_recognition(path: Path, content_layers: Sequence[str] | None = None) -> RecognitionNetwork:
    """A recognition network from an ArcFace-style ONNX file.

    Args:
        path: ONNX file that maps [image, 3, 112, 112] to [image, channel].
        content_layers: names of the values to return as features; None lets `choose_content_layers` pick them, an
            empty sequence gives embeddings alone.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it cannot be run, lacks a content layer or does not embed 112 x 112 images.
    """
    layers = choose_content_layers(path) if content_layers is None else tuple(content_layers)
    graph = OnnxGraph.from_file(path, layers)
    declared = graph.input_shape
    expected = (None, 3, CROP_PX, CROP_PX)
    if len(declared) != 4 or any(declared[axis] not in (None, expected[axis]) for axis in (1, 2, 3)):
        raise ModelFormatError(f"{path}: expected an input [image, 3, 112, 112], found {list(declared)}")
    with torch.no_grad():
        embedding = graph(torch.zeros(1, 3, CROP_PX, CROP_PX)).outputs[0]
    if embedding.ndim != 2:
        raise ModelFormatError(f"{path}: expected one embedding an image, got shape {list(embedding.shape)}")
    return RecognitionNetwork(graph, layers)


def choose_content_layers(path: Path) -> tuple[str, ...]:
    """The outputs of the residual stages, fine to coarse.

    For every spatial resolution from half the input's side down to 2 pixels (56, 28, 14, 7 for 112 px networks): the
    last residual sum (Add) at it, or the last value of any kind where the resolution has no sum.
    """
    graph = OnnxGraph.from_file(path)
    last: dict[tuple[int, int], str] = {}
    last_sum: dict[tuple[int, int], str] = {}
    with torch.no_grad():
        for name, operator, value in graph.trace(torch.zeros(1, 3, CROP_PX, CROP_PX)):
            if value.ndim != 4 or not 2 <= value.shape[2] <= CROP_PX // 2:
                continue
            resolution = (value.shape[2], value.shape[3])
            last[resolution] = name
            if operator == "Add":
                last_sum[resolution] = name
    return tuple(last_sum.get(resolution, name) for resolution, name in sorted(last.items(), reverse=True))


def cosine_similarity(
    a: Float[Tensor, "*batch channel"], b: Float[Tensor, "*batch channel"], epsilon: float = 1e-12
) -> Float[Tensor, "*batch"]:
    """Cosine of the angle between embeddings, in [-1, 1]: a.b / sqrt((|a|^2 + eps) (|b|^2 + eps)).

    The gradient stays finite at zero vectors, where the value is 0.
    """
    squared = (a.square().sum(-1) + epsilon) * (b.square().sum(-1) + epsilon)
    return (a * b).sum(-1) / squared.sqrt()
