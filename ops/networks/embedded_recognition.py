"""The embedded recognition network: a small residual network for aligned 112 px crops."""

from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from ops.networks.embedded_blocks import ConvUnit, Residual, load_weights
from ops.networks.recognition import RecognitionNetwork

ARCHITECTURE = "ganfit-embedded-recognition-v1"
CHANNELS = (32, 64, 128, 192)
BLOCKS = (0, 2, 2, 2)
EMBEDDING_SIZE = 128
LAST_SIDE = 7
STAGES = ("stage1", "stage2", "stage3", "stage4")


class EmbeddedOutputs(NamedTuple):
    """The embedding as the only output; the outputs of the residual stages as taps, fine to coarse."""

    outputs: tuple[Float[Tensor, "image channel"]]
    taps: tuple[Float[Tensor, "image _ _ _"], ...]


class EmbeddedRecognition(nn.Module):
    """Four stages at 56, 28, 14 and 7 px, a global depth-wise convolution, a linear map to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = 3
        for channels, blocks in zip(CHANNELS, BLOCKS, strict=True):
            stages.append(nn.Sequential(ConvUnit(before, channels, 2), *(Residual(channels) for _ in range(blocks))))
            before = channels
        self.stages = nn.ModuleList(stages)
        self.pool = nn.Sequential(
            nn.Conv2d(before, before, LAST_SIDE, groups=before, bias=False), nn.BatchNorm2d(before)
        )
        self.embed = nn.Sequential(nn.Linear(before, EMBEDDING_SIZE, bias=False), nn.BatchNorm1d(EMBEDDING_SIZE))

    def forward(self, images: Float[Tensor, "image 3 112 112"]) -> EmbeddedOutputs:
        """Embed crops aligned to the ArcFace template, RGB in [-1, 1]."""
        x = images
        taps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        return EmbeddedOutputs((self.embed(self.pool(x).flatten(1)),), tuple(taps))


def load_embedded_recognition(path: Path) -> RecognitionNetwork:
    """The embedded recognition network behind the common interface, its four stages as content layers.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it holds something else.
    """
    network = EmbeddedRecognition()
    load_weights(network, path, ARCHITECTURE)
    return RecognitionNetwork(network, STAGES)
