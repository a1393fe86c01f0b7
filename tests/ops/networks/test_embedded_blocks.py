from pathlib import Path

import pytest
import torch
from torch import nn

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.embedded_blocks import ConvUnit, Residual, load_weights, save_weights


def _network(channels: int = 4) -> nn.Sequential:
    return nn.Sequential(ConvUnit(3, channels, 2), Residual(channels))


def test_file_keeps_the_network(tmp_path: Path, rng: torch.Generator) -> None:
    torch.manual_seed(0)
    network, other = _network(), _network()
    images = torch.rand(2, 3, 8, 8, generator=rng)
    network(images)
    save_weights(network.eval(), tmp_path / "net.safetensors", "test-v1")
    load_weights(other, tmp_path / "net.safetensors", "test-v1")
    torch.testing.assert_close(other(images), network(images), atol=5e-3, rtol=5e-3)
    assert not other.training
    assert not any(parameter.requires_grad for parameter in other.parameters())


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    save_weights(_network(), tmp_path / "net.safetensors", "test-v1")
    with pytest.raises(MissingModelFileError, match="absent"):
        load_weights(_network(), tmp_path / "absent.safetensors", "test-v1")
    with pytest.raises(ModelFormatError, match="expected weights of test-v2"):
        load_weights(_network(), tmp_path / "net.safetensors", "test-v2")
    with pytest.raises(ModelFormatError, match="does not hold the weights"):
        load_weights(_network(6), tmp_path / "net.safetensors", "test-v1")
    (tmp_path / "text.safetensors").write_text("nothing of the kind")
    with pytest.raises(ModelFormatError, match="safetensors"):
        load_weights(_network(), tmp_path / "text.safetensors", "test-v1")


def test_residual_of_zero_weights_is_the_identity_of_positive_input() -> None:
    block = Residual(3).eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(block(x), x)
