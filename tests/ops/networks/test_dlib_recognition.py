import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError, MissingModelFileError, ModelFormatError
from ops.face.alignment import ARCFACE_TEMPLATE_PX
from ops.networks.dlib_recognition import (
    CHIP_PX,
    EMBEDDING_SIZE,
    MEAN_FACE,
    DlibResNet,
    chip_matrices,
    load_dlib_recognition,
)
from ops.networks.recognition import RecognitionNetwork

WEIGHTS = "face_recognition_model.bin"
KNOWN_EMBEDDING = (
    *(-0.0549, 0.1285, 0.0576, 0.0036, -0.0576, -0.0378, -0.0844, -0.0022),
    *(0.1051, 0.0118, 0.219, -0.014, -0.2498, -0.0253, -0.0197, 0.091),
)
"""The first 16 of the 128 numbers that dlib 20.0.1 computes for `pattern` with its original weights."""
KNOWN_LENGTH = 1.308


def pattern() -> torch.Tensor:
    """A chip of ramps and rings in whole numbers."""
    y, x = np.mgrid[:CHIP_PX, :CHIP_PX]
    rings = ((x - 75) ** 2 + (y - 75) ** 2) // 40
    image = np.stack([(5 * x) // 3, (4 * y + x) // 3, rings], -1) % 256
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def write_weights(folder: Path, weights: dict[str, np.ndarray], quantised: bool) -> Path:
    """Weights as TensorFlow.js stores them."""
    entries, content = [], b""
    for name, values in weights.items():
        entry = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if quantised:
            scale, low = float(np.ptp(values)) / 255 or 1.0, float(values.min())
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": low}
            content += np.round((values - low) / scale).astype(np.uint8).tobytes()
        else:
            content += values.astype("<f4").tobytes()
        entries.append(entry)
    (folder / "net.bin").write_bytes(content)
    (folder / "net-weights_manifest.json").write_text(json.dumps([{"weights": entries, "paths": ["net.bin"]}]))
    return folder / "net.bin"


@pytest.fixture
def network(model_dir: Path) -> RecognitionNetwork:
    if not (model_dir / WEIGHTS).is_file():
        pytest.skip(f"needs {WEIGHTS} among the model files")
    return load_dlib_recognition(model_dir / WEIGHTS)


def test_the_chip_is_where_dlib_puts_it() -> None:
    """A bright spot at each mean point of the crop lies at that point of dlib's chip."""
    horizontal, vertical = chip_matrices()
    for (x, y), place in zip(ARCFACE_TEMPLATE_PX.tolist(), MEAN_FACE, strict=True):
        rows, columns = torch.arange(112) + 0.5, torch.arange(112) + 0.5
        spot = torch.exp(-((rows[:, None] - y) ** 2 + (columns - x) ** 2) / 18)
        chip = vertical @ spot @ horizontal.T
        where = torch.arange(CHIP_PX) + 0.5
        found = torch.stack(((chip.sum(0) * where).sum(), (chip.sum(1) * where).sum())) / chip.sum()
        torch.testing.assert_close(found, (torch.tensor(place) + 0.25) * 100, atol=4, rtol=0)


def test_the_crops_last_row_goes_on_below_it() -> None:
    _, vertical = chip_matrices()
    torch.testing.assert_close(vertical.sum(1), torch.ones(CHIP_PX))
    assert bool((vertical[-10:, -1] == 1).all())
    assert float(vertical[0, 0]) == 0


def test_stages_halve_the_resolution(rng: torch.Generator) -> None:
    found = DlibResNet()(torch.rand(2, 3, 112, 112, generator=rng) * 2 - 1)
    assert [tuple(tap.shape) for tap in found.taps] == [
        (2, 32, 35, 35),
        (2, 64, 17, 17),
        (2, 128, 8, 8),
        (2, 256, 4, 4),
    ]
    assert found.outputs[0].shape == (2, EMBEDDING_SIZE)
    assert sum(parameter.numel() for parameter in DlibResNet().parameters()) == 5_607_616


def test_gradient_in_float64_reaches_the_images(rng: torch.Generator) -> None:
    network = RecognitionNetwork(DlibResNet(), ()).double()
    images = torch.rand(1, 3, 112, 112, generator=rng, dtype=torch.float64)
    direction = torch.randn(images.shape, generator=rng, dtype=torch.float64)

    def along(step: torch.Tensor) -> torch.Tensor:
        return network(images + step * direction).embedding.square().sum()

    assert torch.autograd.gradcheck(along, (torch.zeros((), dtype=torch.float64, requires_grad=True),), eps=1e-7)


@pytest.mark.parametrize("quantised", [False, True])
def test_other_weights_are_refused(quantised: bool, tmp_path: Path) -> None:
    path = write_weights(tmp_path, {"fc": np.ones((256, 128), np.float32)}, quantised)
    with pytest.raises(ModelFormatError, match="does not hold dlib's recognition network"):
        load_dlib_recognition(path)
    with pytest.raises(ConfigurationError, match="got stage9"):
        load_dlib_recognition(path, ("stage9",))
    with pytest.raises(MissingModelFileError, match=r"none\.bin"):
        load_dlib_recognition(tmp_path / "none.bin")


@pytest.mark.models
def test_dlibs_own_numbers_come_out(model_dir: Path, network: RecognitionNetwork) -> None:
    """As near as weights of a byte each allow; weights in a wrong order or layout are further off than 1."""
    plain = load_dlib_recognition(model_dir / WEIGHTS, (), mean=None).graph
    assert isinstance(plain, DlibResNet)
    found = plain.embed_chips(pattern()).outputs[0][0]
    assert float((found[:16] - torch.tensor(KNOWN_EMBEDDING)).norm()) < 0.03
    assert float(found.norm()) == pytest.approx(KNOWN_LENGTH, abs=0.02)
    assert isinstance(network.graph, DlibResNet)
    centred = network.graph.embed_chips(pattern()).outputs[0][0]
    assert float((found - centred).norm()) == pytest.approx(1.3, abs=0.15)


@pytest.mark.models
def test_the_network_is_frozen_and_gives_the_layers_asked_for(model_dir: Path, network: RecognitionNetwork) -> None:
    assert not any(parameter.requires_grad for parameter in network.parameters())
    image = torch.rand(1, 3, 112, 112)
    assert len(network(image).features) == 4
    two = load_dlib_recognition(model_dir / WEIGHTS, ("stage2", "stage4"))(image)
    assert [layer.shape[1] for layer in two.features] == [64, 256]
    torch.testing.assert_close(two.embedding, network(image).embedding)
