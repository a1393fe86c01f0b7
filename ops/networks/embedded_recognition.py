"""The embedded recognition networks, small residual ones for aligned 112 px crops: the optimised one and the judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from ops.errors import ConfigurationError, ModelFormatError
from ops.networks.embedded_blocks import ConvUnit, Residual, load_weights, stored_architecture
from ops.networks.recognition import RecognitionNetwork

ARCHITECTURE, JUDGE_ARCHITECTURE = "ganfit-embedded-recognition-v1", "ganfit-embedded-judge-v1"
CHANNELS = {ARCHITECTURE: (32, 64, 128, 192), JUDGE_ARCHITECTURE: (16, 32, 64, 96)}
"""Of the stages, by architecture."""
EMBEDDING_SIZE = 128
LAST_SIDE = 4
STAGES = ("stage1", "stage2", "stage3", "stage4")


class EmbeddedOutputs(NamedTuple):
    """The embedding as the only output; the outputs of the residual stages as taps, fine to coarse."""

    outputs: tuple[Float[Tensor, "image channel"]]
    taps: tuple[Float[Tensor, "image _ _ _"], ...]


class EmbeddedRecognition(nn.Module):
    """The crop at half size through stages at 28, 14, 7 and 4 px, a global depth-wise convolution, a linear map."""

    def __init__(self, taps: Sequence[str] = STAGES, architecture: str = ARCHITECTURE) -> None:
        super().__init__()
        self._taps = tuple(taps)
        stages: list[nn.Module] = []
        before = 3
        for channels in CHANNELS[architecture]:
            stages.append(nn.Sequential(ConvUnit(before, channels, 2), Residual(channels)))
            before = channels
        self.stages = nn.ModuleList(stages)
        self.pool = nn.Sequential(
            nn.Conv2d(before, before, LAST_SIDE, groups=before, bias=False), nn.BatchNorm2d(before)
        )
        self.embed = nn.Sequential(nn.Linear(before, EMBEDDING_SIZE, bias=False), nn.BatchNorm1d(EMBEDDING_SIZE))

    def forward(self, images: Float[Tensor, "image 3 112 112"]) -> EmbeddedOutputs:
        """Embed crops aligned to the ArcFace template, RGB in [-1, 1]."""
        x = nn.functional.avg_pool2d(images, 2)
        taps: list[Tensor] = []
        for name, stage in zip(STAGES, self.stages, strict=True):
            x = stage(x)
            if name in self._taps:
                taps.append(x)
        return EmbeddedOutputs((self.embed(self.pool(x).flatten(1)),), tuple(taps))


def load_embedded_recognition(path: Path, content_layers: Sequence[str] | None = None) -> RecognitionNetwork:
    """An embedded recognition network behind the common interface.

    Args:
        path: file of its weights.
        content_layers: which of `STAGES` to return as features; None for all, an empty sequence for embeddings alone.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it holds something else.
        ConfigurationError: a layer it does not have.
    """
    layers = STAGES if content_layers is None else tuple(content_layers)
    if unknown := [name for name in layers if name not in STAGES]:
        raise ConfigurationError(f"expected content layers among {', '.join(STAGES)}, got {unknown[0]}")
    architecture = stored_architecture(path)
    if architecture not in CHANNELS:
        raise ModelFormatError(f"expected weights of {' or '.join(CHANNELS)} in {path}, found {architecture}")
    network = EmbeddedRecognition(layers, architecture)
    load_weights(network, path, architecture)
    return RecognitionNetwork(network, layers)
