from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper

from ops.errors import ModelFormatError
from ops.face.alignment import ARCFACE_TEMPLATE_PX, warp_image
from ops.files.photo import decode_photo
from ops.geometry.similarity import fit_similarity
from ops.networks.detector import load_scrfd
from ops.networks.recognition import choose_content_layers, cosine_similarity, load_recognition


def residual_network(random: np.random.Generator) -> tuple[list[object], dict[str, np.ndarray]]:
    """Stride-2 convolutions from 112 to 7 pixels; residual sums at 28 and 14 only; an embedding of 6."""
    nodes: list[object] = []
    constants: dict[str, np.ndarray] = {"fc": random.standard_normal((6, 4)).astype(np.float32)}
    source, channels = "x", 3
    for side in (56, 28, 14, 7):
        constants[f"w{side}"] = random.standard_normal((4, channels, 3, 3)).astype(np.float32) * 0.3
        nodes.append(helper.make_node("Conv", [source, f"w{side}"], [f"conv{side}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Tanh", [f"conv{side}"], [f"act{side}"]))
        source, channels = f"act{side}", 4
        if side in (28, 14):
            nodes.append(helper.make_node("Add", [f"act{side}", f"conv{side}"], [f"sum{side}"]))
            nodes.append(helper.make_node("Sigmoid", [f"sum{side}"], [f"late{side}"]))
            source = f"late{side}"
    nodes.append(helper.make_node("GlobalAveragePool", [source], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "fc"], ["y"], transB=1))
    return nodes, constants


@pytest.fixture
def tiny(write_onnx: Callable[..., Path], random: np.random.Generator) -> Path:
    nodes, constants = residual_network(random)
    return write_onnx(nodes, ("n", 3, 112, 112), constants)


def test_content_layers_are_the_last_sums_or_else_the_last_values(tiny: Path) -> None:
    assert choose_content_layers(tiny) == ("act56", "sum28", "sum14", "act7")
    assert load_recognition(tiny).content_layers == ("act56", "sum28", "sum14", "act7")


def test_content_layers_can_be_named(tiny: Path) -> None:
    recognition = load_recognition(tiny, ("conv7", "sum28"))(torch.rand(2, 3, 112, 112))
    assert [tuple(item.shape) for item in recognition.features] == [(2, 4, 7, 7), (2, 4, 28, 28)]
    assert load_recognition(tiny, ())(torch.rand(2, 3, 112, 112)).features == ()


def test_gradient_in_float64_reaches_the_images(tiny: Path, rng: torch.Generator) -> None:
    network = load_recognition(tiny).double()
    images = torch.rand(1, 3, 112, 112, generator=rng, dtype=torch.float64)
    direction = torch.randn(images.shape, generator=rng, dtype=torch.float64)
    assert list(network.parameters()) == []

    def along(step: torch.Tensor) -> tuple[torch.Tensor, ...]:
        embedding, features = network(images + step * direction)
        return embedding, *(item.mean() for item in features)

    assert torch.autograd.gradcheck(along, (torch.zeros((), dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("shape", [("n", 3, 128, 128), ("n", 112, 112, 3), ("n", 3)])
def test_networks_of_another_input_are_refused(shape: tuple[object, ...], write_onnx: Callable[..., Path]) -> None:
    path = write_onnx([helper.make_node("Identity", ["x"], ["y"])], shape)
    with pytest.raises(ModelFormatError, match=r"expected an input \[image, 3, 112, 112\]"):
        load_recognition(path, ())


def test_networks_without_an_embedding_are_refused(write_onnx: Callable[..., Path]) -> None:
    path = write_onnx([helper.make_node("Identity", ["x"], ["y"])], ("n", 3, 112, 112))
    with pytest.raises(ModelFormatError, match="expected one embedding an image"):
        load_recognition(path, ())


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "resolutions"),
    [
        ("arcface_mobilefacenet.onnx", [(56, 56), (28, 28), (14, 14), (7, 7)]),
        ("recognition_second.onnx", [(56, 48), (28, 24), (14, 12), (7, 6)]),
    ],
)
def test_real_networks_normalise_their_input_and_tap_four_stages(
    name: str, resolutions: list[tuple[int, int]], model_dir: Path, rng: torch.Generator
) -> None:
    images = torch.rand(2, 3, 112, 112, generator=rng)
    session = onnxruntime.InferenceSession(str(model_dir / name), providers=["CPUExecutionProvider"])
    pixels = (255 * images.numpy() - 127.5) / 127.5
    (expected,) = session.run(None, {session.get_inputs()[0].name: pixels})
    network = load_recognition(model_dir / name)
    found = network(images)
    torch.testing.assert_close(found.embedding, torch.from_numpy(np.asarray(expected)), rtol=1e-4, atol=1e-4)
    assert [tuple(item.shape[2:]) for item in found.features] == resolutions
    assert sum("Add" in layer for layer in network.content_layers) == 3


@pytest.mark.models
@pytest.mark.parametrize("name", ["arcface_mobilefacenet.onnx", "recognition_second.onnx"])
def test_real_networks_tell_people_apart(name: str, model_dir: Path) -> None:
    """Two official portraits a person, aligned by the detector's five points."""
    folders = sorted((model_dir.parent / "photos" / "congress").glob("*/"))[:8]
    if not folders:
        pytest.skip("needs the folder photos/congress beside the model files")
    detector, network = load_scrfd(model_dir / "scrfd_500m.onnx"), load_recognition(model_dir / name, ())
    crops: list[torch.Tensor] = []
    for folder in folders:
        for photo in ("0.jpg", "1.jpg"):
            image = decode_photo((folder / photo).read_bytes()).image_rgb
            points = torch.from_numpy(detector(image).points_px[0]).double()
            found = fit_similarity(points, ARCFACE_TEMPLATE_PX, with_scale=True)
            affine = torch.cat((found.scale * found.rotation, found.translation[:, None]), 1).numpy()
            crops.append(torch.from_numpy(warp_image(image, affine, 112)[0]).permute(2, 0, 1) / 255)
    with torch.no_grad():
        first, second = network(torch.stack(crops)).embedding.unflatten(0, (-1, 2)).unbind(1)
    cosine = cosine_similarity(*torch.broadcast_tensors(first[:, None], second[None]))
    same = cosine.diagonal()
    strangers = cosine[~torch.eye(len(folders), dtype=torch.bool)]
    assert same.median() > 0.65
    assert strangers.mean() < 0.15
    assert bool((cosine.argmax(1) == torch.arange(len(folders))).all())


def test_cosine_of_known_angles() -> None:
    a = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-2.0, 0.0], [0.0, 0.0]])
    b = torch.tensor([[0.5, 0.0], [1.0, 0.0], [4.0, 0.0], [1.0, 2.0]])
    torch.testing.assert_close(cosine_similarity(a, b), torch.tensor([1.0, 0.5**0.5, -1.0, 0.0]))


def test_gradient_of_the_cosine(rng: torch.Generator) -> None:
    a, b = torch.randn(2, 3, 5, generator=rng, dtype=torch.float64).requires_grad_().unbind(0)
    assert torch.autograd.gradcheck(cosine_similarity, (a, b))
    zero = torch.zeros(3, 5, requires_grad=True)
    cosine_similarity(zero, torch.ones(3, 5)).sum().backward()
    assert zero.grad is not None
    assert bool(zero.grad.isfinite().all())
