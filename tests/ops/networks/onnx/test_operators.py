"""Every operator against onnxruntime, on graphs of one or two nodes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from ops.errors import ModelFormatError
from ops.networks.onnx.graph import OnnxGraph

RANDOM = np.random.default_rng(7)
IMAGE = (2, 4, 7, 6)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    operator: str
    inputs: Sequence[str] = ("x",)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    attributes: dict[str, object] = field(default_factory=dict)
    shape: Sequence[int] = IMAGE
    opset: int = 13
    kind: int = onnx.TensorProto.FLOAT


BATCH_NORM = {"s": floats(4), "b": floats(4), "m": floats(4), "v": np.abs(floats(4)) + 0.1}
CASES = {
    "conv": Case("Conv", ("x", "w", "b"), {"w": floats(6, 4, 3, 3), "b": floats(6)}, {"pads": [1, 1, 1, 1]}),
    "conv_grouped_strided": Case(
        "Conv", ("x", "w"), {"w": floats(8, 2, 3, 2)}, {"group": 2, "strides": [2, 1], "dilations": [1, 2]}
    ),
    "conv_uneven_pads": Case("Conv", ("x", "w"), {"w": floats(3, 4, 3, 3)}, {"pads": [0, 1, 2, 0]}),
    "prelu_channel": Case("PRelu", ("x", "a"), {"a": floats(4, 1, 1)}),
    "prelu_single": Case("PRelu", ("x", "a"), {"a": floats(1)}),
    "prelu_rows": Case("PRelu", ("x", "a"), {"a": floats(5)}, shape=(3, 5)),
    "relu": Case("Relu"),
    "leaky_relu": Case("LeakyRelu", attributes={"alpha": 0.2}),
    "sigmoid": Case("Sigmoid"),
    "tanh": Case("Tanh"),
    "clip_6": Case("Clip", attributes={"min": 0.0, "max": 0.5}, opset=10),
    "clip_11": Case("Clip", ("x", "lo", "hi"), {"lo": np.float32(-0.3), "hi": np.float32(0.5)}),
    "clip_upper_only": Case("Clip", ("x", "", "hi"), {"hi": np.float32(0.5)}),
    "add": Case("Add", ("x", "c"), {"c": floats(4, 1, 1)}),
    "sub": Case("Sub", ("c", "x"), {"c": floats(4, 7, 6)}),
    "mul": Case("Mul", ("x", "c"), {"c": floats(1)}),
    "div": Case("Div", ("x", "c"), {"c": floats(1)}),
    "matmul": Case("MatMul", ("x", "c"), {"c": floats(6, 3)}),
    "gemm": Case("Gemm", ("x", "w", "b"), {"w": floats(3, 5), "b": floats(3)}, {"transB": 1}, (2, 5)),
    "gemm_scaled": Case(
        "Gemm", ("x", "w", "b"), {"w": floats(2, 3), "b": floats(3)}, {"alpha": 0.5, "beta": 2.0, "transA": 1}, (2, 5)
    ),
    "gemm_no_bias": Case("Gemm", ("x", "w"), {"w": floats(5, 3)}, {}, (2, 5)),
    "batch_norm": Case("BatchNormalization", ("x", "s", "b", "m", "v"), BATCH_NORM, {"epsilon": 0.01}),
    "batch_norm_rows": Case("BatchNormalization", ("x", "s", "b", "m", "v"), BATCH_NORM, {}, (3, 4)),
    "flatten": Case("Flatten"),
    "flatten_2": Case("Flatten", attributes={"axis": 2}),
    "flatten_0": Case("Flatten", attributes={"axis": 0}),
    "reshape": Case("Reshape", ("x", "to"), {"to": whole(0, -1, 3)}),
    "transpose": Case("Transpose", attributes={"perm": [0, 2, 3, 1]}),
    "transpose_all": Case("Transpose"),
    "concat": Case("Concat", ("x", "c", "x"), {"c": floats(2, 1, 7, 6)}, {"axis": 1}),
    "concat_last": Case("Concat", ("x", "x"), {}, {"axis": -1}),
    "slice_old": Case("Slice", attributes={"starts": [1, -3], "ends": [3, 100], "axes": [1, 2]}, opset=9),
    "slice_new": Case(
        "Slice", ("x", "s", "e", "a", "t"), {"s": whole(0, 1), "e": whole(4, -1), "a": whole(1, 3), "t": whole(2, 1)}
    ),
    "slice_defaults": Case("Slice", ("x", "s", "e"), {"s": whole(0, 1), "e": whole(1, 3)}),
    "pad_old": Case("Pad", attributes={"pads": [0, 0, 1, 0, 0, 0, 2, 3], "value": 0.5}, opset=10),
    "pad_new": Case("Pad", ("x", "p", "v"), {"p": whole(0, 1, 0, 2, 0, 0, 1, 0), "v": np.float32(2)}),
    "pad_reflect": Case("Pad", ("x", "p"), {"p": whole(0, 0, 1, 2, 0, 0, 2, 1)}, {"mode": "reflect"}),
    "pad_edge": Case("Pad", ("x", "p"), {"p": whole(0, 0, 1, 2, 0, 0, 2, 1)}, {"mode": "edge"}),
    "pad_nothing": Case("Pad", attributes={"pads": [0] * 8}, opset=10),
    "average_pool": Case("AveragePool", attributes={"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
    "average_pool_ceil": Case("AveragePool", attributes={"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "average_pool_counted": Case(
        "AveragePool", attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}
    ),
    "max_pool": Case("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "global_average_pool": Case("GlobalAveragePool"),
    "shape": Case("Shape", kind=onnx.TensorProto.INT64),
    "shape_part": Case("Shape", attributes={"start": 1, "end": -1}, opset=15, kind=onnx.TensorProto.INT64),
    "gather": Case("Gather", ("x", "i"), {"i": whole(2, 0, -1)}, {"axis": 1}),
    "gather_scalar": Case("Gather", ("x", "i"), {"i": np.array(1, np.int64)}, {"axis": -1}),
    "unsqueeze_old": Case("Unsqueeze", attributes={"axes": [0, 3]}, opset=11),
    "unsqueeze_new": Case("Unsqueeze", ("x", "a"), {"a": whole(-1)}),
    "squeeze": Case("Squeeze", ("x", "a"), {"a": whole(1)}, shape=(2, 1, 3)),
    "squeeze_old": Case("Squeeze", shape=(2, 1, 3), opset=11),
    "reduce_mean": Case("ReduceMean", attributes={"axes": [2, 3], "keepdims": 0}),
    "reduce_sum": Case("ReduceSum", ("x", "a"), {"a": whole(1)}),
    "reduce_sum_all": Case("ReduceSum"),
    "reduce_l2": Case("ReduceL2", attributes={"axes": [-1], "keepdims": 1}),
    "identity": Case("Identity"),
    "dropout": Case("Dropout"),
    "cast": Case("Cast", attributes={"to": onnx.TensorProto.INT64}, kind=onnx.TensorProto.INT64),
    "cast_to_float": Case("Cast", attributes={"to": onnx.TensorProto.FLOAT}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_operator_agrees_with_onnxruntime(name: str, write_onnx: Callable[..., Path]) -> None:
    case = CASES[name]
    node = helper.make_node(case.operator, list(case.inputs), ["y"], **case.attributes)
    path = write_onnx([node], case.shape, case.constants, opset=case.opset, output_type=case.kind)
    x = floats(*case.shape)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    (found,) = OnnxGraph.from_file(path)(torch.from_numpy(x)).outputs
    assert found.shape == expected.shape
    torch.testing.assert_close(found, torch.from_numpy(np.asarray(expected)), rtol=1e-4, atol=1e-5)


def test_square_root_and_integer_division(write_onnx: Callable[..., Path]) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squared"]),
        helper.make_node("Sqrt", ["squared"], ["root"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Div", ["shape", "two"], ["half"]),
        helper.make_node("Cast", ["half"], ["factor"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["root", "factor"], ["y"]),
    ]
    graph = OnnxGraph.from_file(write_onnx(nodes, (5, 2), {"two": whole(2)}))
    x = torch.tensor([[-3.0, 4.0]]).expand(5, 2)
    torch.testing.assert_close(graph(x).outputs[0], x.abs() * torch.tensor([2.0, 1.0]))


@pytest.mark.parametrize(
    ("operator", "attributes", "constants", "words"),
    [
        ("Conv", {"auto_pad": "SAME_UPPER"}, {"w": floats(2, 4, 3, 3)}, "Conv.*my_node.*SAME_UPPER"),
        ("Conv", {"pads": [1, 1]}, {"w": floats(2, 4, 3)}, "Conv.*my_node.*4 pads"),
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}, {}, "AveragePool.*symmetric"),
        ("MaxPool", {"kernel_shape": [2]}, {}, "MaxPool.*2-D kernel"),
        ("Pad", {"mode": "wrap"}, {"p": whole(0, 0)}, "Pad.*wrap"),
        ("Erf", {}, {}, "Erf.*my_node.*not supported; supported are Add, "),
    ],
)
def test_what_cannot_run_exactly_is_refused_with_operator_and_node(
    operator: str,
    attributes: dict[str, object],
    constants: dict[str, np.ndarray],
    words: str,
    write_onnx: Callable[..., Path],
) -> None:
    node = helper.make_node(operator, ["x", *constants], ["y"], name="my_node", **attributes)
    with pytest.raises(ModelFormatError, match=words):
        OnnxGraph.from_file(write_onnx([node], IMAGE, constants, opset=19))


def test_operators_of_other_domains_are_refused(write_onnx: Callable[..., Path]) -> None:
    node = helper.make_node("FusedConv", ["x"], ["y"], domain="com.microsoft")
    with pytest.raises(ModelFormatError, match=r"com\.microsoft\.FusedConv"):
        OnnxGraph.from_file(write_onnx([node], IMAGE))


def test_negative_steps_are_refused(write_onnx: Callable[..., Path]) -> None:
    constants = {"s": whole(-1), "e": whole(-9), "a": whole(1), "t": whole(-1)}
    graph = OnnxGraph.from_file(write_onnx([helper.make_node("Slice", ["x", *constants], ["y"])], IMAGE, constants))
    with pytest.raises(ModelFormatError, match=r"Slice.*positive"):
        graph(torch.zeros(IMAGE))
