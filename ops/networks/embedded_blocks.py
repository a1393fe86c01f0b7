"""Convolution blocks of the embedded networks, and their file format."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ops.errors import ModelFormatError
from ops.files.tensor_file import read_tensor_file, read_tensor_file_metadata, write_tensor_file

CONTENT = "embedded weights"
"""What the file is called in messages."""


class ConvUnit(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )


class Residual(nn.Module):
    """x + two convolutions of x, then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvUnit(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image channel height width"]:
        """Same shape as the input."""
        return torch.relu(x + self.second(self.first(x)))


def save_weights(network: nn.Module, path: Path, architecture: str) -> None:
    """Write a network's state in float16 as safetensors, naming its architecture."""
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    write_tensor_file(path, state, {"architecture": architecture})


def stored_architecture(path: Path) -> str | None:
    """The architecture that a file of `save_weights` names; None where it names none.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it is not safetensors.
    """
    return read_tensor_file_metadata(path, CONTENT).get("architecture")


def load_weights(network: nn.Module, path: Path, architecture: str) -> None:
    """Fill a network from a file of `save_weights`, freeze it and put it into evaluation mode.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it is not safetensors, or of another architecture.
    """
    metadata, state = read_tensor_file(path, CONTENT)
    found = metadata.get("architecture")
    if found != architecture:
        raise ModelFormatError(f"expected weights of {architecture} in {path}, found {found}")
    state |= {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        network.load_state_dict(
            {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
        )
    except RuntimeError as error:
        raise ModelFormatError(f"{path} does not hold the weights of {architecture}: {error}") from error
    network.requires_grad_(False).eval()
