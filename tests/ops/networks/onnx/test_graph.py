from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.onnx.folding import fold_batch_normalisation
from ops.networks.onnx.format import read_onnx
from ops.networks.onnx.graph import OnnxGraph

ASSETS = ("arcface_mobilefacenet.onnx", "recognition_second.onnx", "pfld_68.onnx")


def floats(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


@pytest.fixture
def small_network(write_onnx: Callable[..., Path], random: np.random.Generator) -> Path:
    """Conv, BN, PReLU, BN, Conv, Add, Flatten, Gemm, BN: the vocabulary of an ArcFace export."""
    constants = {
        "w1": floats(random, 4, 3, 3, 3),
        "b1": floats(random, 4),
        "slope": floats(random, 4, 1, 1),
        "w2": floats(random, 4, 4, 3, 3),
        "w3": floats(random, 5, 4 * 6 * 6),
        "b3": floats(random, 5),
    }
    for index, channels in ((1, 4), (2, 4), (3, 5)):
        for part in "sbm":
            constants[f"{part}n{index}"] = floats(random, channels)
        constants[f"vn{index}"] = np.abs(floats(random, channels)) + 0.2

    def norm(index: int, source: str, target: str) -> onnx.NodeProto:
        statistics = [f"{part}n{index}" for part in "sbmv"]
        return helper.make_node("BatchNormalization", [source, *statistics], [target], epsilon=2e-5)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        norm(1, "c1", "n1"),
        helper.make_node("PRelu", ["n1", "slope"], ["p1"]),
        norm(2, "p1", "n2"),
        helper.make_node("Conv", ["n2", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["p1", "c2"], ["sum"]),
        helper.make_node("Flatten", ["sum"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["g"], transB=1),
        norm(3, "g", "y"),
    ]
    return write_onnx(nodes, ("n", 3, 6, 6), constants)


def reference(path: Path, x: torch.Tensor, names: tuple[str, ...]) -> list[torch.Tensor]:
    """Values by name, from onnxruntime."""
    model = onnx.load(str(path))
    present = {item.name for item in model.graph.output}
    for name in names:
        if name not in present:
            model.graph.output.append(helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(list(names), {session.get_inputs()[0].name: x.numpy()})
    return [torch.from_numpy(np.asarray(item)) for item in found]


@pytest.mark.models
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", ASSETS)
def test_real_networks_agree_with_onnxruntime(name: str, fold: bool, model_dir: Path, rng: torch.Generator) -> None:
    path = model_dir / name
    for batch in (1, 3):
        x = torch.rand(batch, 3, 112, 112, generator=rng) * 2 - 1
        graph = OnnxGraph.from_file(path, fold=fold)
        (expected,) = reference(path, x, read_onnx(path).outputs)
        torch.testing.assert_close(graph(x).outputs[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.models
def test_every_value_of_a_real_network_agrees_with_onnxruntime(model_dir: Path, rng: torch.Generator) -> None:
    path = model_dir / "pfld_68.onnx"
    names = tuple(node.outputs[0] for node in read_onnx(path).nodes)
    x = torch.rand(2, 3, 112, 112, generator=rng)
    expected = reference(path, x, names)
    for name, found, value in zip(names, OnnxGraph.from_file(path, names)(x).taps, expected, strict=True):
        torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-3, msg=lambda words, name=name: f"{name}: {words}")


def test_taps_are_the_intermediate_values(small_network: Path, rng: torch.Generator) -> None:
    x = torch.randn(2, 3, 6, 6, generator=rng)
    names = ("c1", "n1", "n2", "sum", "g", "x")
    graph = OnnxGraph.from_file(small_network, names)
    expected = reference(small_network, x, names[:-1])
    for found, value in zip(graph(x).taps, [*expected, x], strict=True):
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-4)


def test_folding_changes_no_value(small_network: Path, rng: torch.Generator) -> None:
    folded, unfolded = (
        OnnxGraph.from_file(small_network).double(),
        OnnxGraph.from_file(small_network, fold=False).double(),
    )
    x = torch.randn(2, 3, 6, 6, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(folded(x).outputs, unfolded(x).outputs, rtol=1e-5, atol=1e-5)


def test_folding_takes_what_is_exact_and_nothing_else(small_network: Path) -> None:
    content = read_onnx(small_network)

    def left(keep: tuple[str, ...]) -> list[str]:
        folded = fold_batch_normalisation(content, keep)
        return [node.outputs[0] for node in folded.nodes if node.operator == "BatchNormalization"]

    assert left(()) == ["n2"]  # after a PReLU: nothing to fold it into
    assert left(("c1",)) == ["n1", "n2"]
    assert left(("g", "n1")) == ["n2", "y"]


def test_a_value_with_two_readers_is_not_folded_away(
    write_onnx: Callable[..., Path], random: np.random.Generator
) -> None:
    constants = {name: np.abs(floats(random, 2)) + 0.5 for name in "sbmv"}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *"sbmv"], ["n"]),
        helper.make_node("Add", ["c", "n"], ["y"]),
    ]
    path = write_onnx(nodes, (1, 3, 4, 4), {"w": floats(random, 2, 3, 1, 1), **constants})
    x = torch.from_numpy(floats(random, 1, 3, 4, 4))
    torch.testing.assert_close(OnnxGraph.from_file(path)(x).outputs[0], reference(path, x, ("y",))[0])


def test_gemm_with_untransposed_weights_and_two_normalisations_fold(
    write_onnx: Callable[..., Path], random: np.random.Generator
) -> None:
    constants = {f"{part}{index}": np.abs(floats(random, 3)) + 0.5 for part in "sbmv" for index in (1, 2)}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"]),
        helper.make_node("BatchNormalization", ["g", "s1", "b1", "m1", "v1"], ["n"]),
        helper.make_node("BatchNormalization", ["n", "s2", "b2", "m2", "v2"], ["y"]),
    ]
    path = write_onnx(nodes, (4, 5), {"w": floats(random, 5, 3), "b": floats(random, 3), **constants})
    assert len(fold_batch_normalisation(read_onnx(path), ()).nodes) == 1
    x = torch.from_numpy(floats(random, 4, 5))
    torch.testing.assert_close(
        OnnxGraph.from_file(path)(x).outputs[0], reference(path, x, ("y",))[0], rtol=1e-4, atol=1e-5
    )


def test_gradient_in_float64(small_network: Path, rng: torch.Generator) -> None:
    graph = OnnxGraph.from_file(small_network, ("sum",)).double()
    x = torch.randn(1, 3, 6, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda image: (*graph(image).outputs, *graph(image).taps), (x,))


def test_weights_are_frozen_and_modes_do_not_matter(small_network: Path, rng: torch.Generator) -> None:
    graph = OnnxGraph.from_file(small_network, fold=False)
    assert list(graph.parameters()) == []
    x = torch.randn(2, 3, 6, 6, generator=rng)
    before = {name: value.clone() for name, value in graph.named_buffers()}
    first = graph.train()(x).outputs[0]
    torch.testing.assert_close(graph.eval()(x).outputs[0], first, rtol=0, atol=0)
    assert not first.requires_grad
    for name, value in graph.named_buffers():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_each_image_is_alone_in_its_batch(small_network: Path, rng: torch.Generator) -> None:
    graph = OnnxGraph.from_file(small_network).double()
    x = torch.randn(5, 3, 6, 6, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(graph(x).outputs[0][3:4], graph(x[3:4]).outputs[0])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=r"nothing\.onnx"):
        OnnxGraph.from_file(tmp_path / "nothing.onnx")


@pytest.mark.parametrize("content", [b"", b"\xff\xfeno onnx at all", b"<html>404</html>"])
def test_a_file_that_is_not_onnx_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=r"broken\.onnx"):
        OnnxGraph.from_file(path)


def test_a_truncated_file_is_refused(small_network: Path) -> None:
    small_network.write_bytes(small_network.read_bytes()[:-300])
    with pytest.raises(ModelFormatError, match="is not an ONNX file"):
        OnnxGraph.from_file(small_network)


def test_unknown_tap_and_dangling_input_are_named(small_network: Path, write_onnx: Callable[..., Path]) -> None:
    with pytest.raises(ModelFormatError, match="no node writes nowhere"):
        OnnxGraph.from_file(small_network, ("c1", "nowhere"))
    dangling = write_onnx([helper.make_node("Add", ["x", "ghost"], ["y"], name="adder")], (1,))
    with pytest.raises(ModelFormatError, match=r"Add.*adder.*ghost"):
        OnnxGraph.from_file(dangling)


def test_a_graph_of_two_inputs_is_refused(tmp_path: Path) -> None:
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "two", values[:2], values[2:])
    path = tmp_path / "two.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelFormatError, match="2 inputs"):
        OnnxGraph.from_file(path)
