"""An ONNX file as plain data: nodes in execution order, constants, names of inputs and outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ops.errors import MissingModelFileError, ModelFormatError

AttributeValue: TypeAlias = int | float | str | Tensor | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class OnnxNode:
    """One operator application."""

    operator: str
    """Operator type, prefixed by its domain when that is not the standard one."""
    name: str
    """The node's own name, or that of its first output where the exporter gave none."""
    inputs: tuple[str, ...]
    """Value names; an omitted optional input is the empty string."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.error(f"expects the integer attribute {name}, found {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        """A floating-point attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self.error(f"expects the number attribute {name}, found {value!r}")
        return float(value)

    def integers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list of integers."""
        value = self.attributes.get(name, default)
        if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
            raise self.error(f"expects the integer list attribute {name}, found {value!r}")
        return tuple(int(item) for item in value)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self.error(f"expects the text attribute {name}, found {value!r}")
        return value

    def error(self, problem: str) -> ModelFormatError:
        """An error that names the operator and the node."""
        return ModelFormatError(f"ONNX operator {self.operator} of node {self.name!r} {problem}")


@dataclass(frozen=True, kw_only=True)
class OnnxContent:
    """What an ONNX file says: a graph with one input."""

    path: Path
    opset: int
    input: str
    input_shape: tuple[int | None, ...]
    """Declared input shape, None where it is dynamic."""
    outputs: tuple[str, ...]
    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, Tensor]
    """Initialisers and Constant nodes; floating-point ones as float32."""


def read_onnx(path: Path) -> OnnxContent:
    """Read an ONNX file.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it is not an ONNX file, or not a graph with one input.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise MissingModelFileError(f"expected an ONNX file at {path}, found none")
    try:
        model = onnx.load(str(path))
    except DecodeError as error:
        raise ModelFormatError(f"{path} is not an ONNX file: {error}") from error
    graph = model.graph
    constants = {item.name: _tensor(onnx.numpy_helper.to_array(item)) for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    if not graph.node or len(inputs) != 1:
        raise ModelFormatError(
            f"{path}: expected an ONNX graph with nodes and one input, "
            f"found {len(graph.node)} nodes and {len(inputs)} inputs"
        )
    opsets = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    nodes: list[OnnxNode] = []
    for proto in graph.node:
        node = OnnxNode(
            operator=proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}",
            name=proto.name or proto.output[0],
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes={item.name: _attribute(item) for item in proto.attribute},
        )
        if node.operator == "Constant":
            constants[node.outputs[0]] = _constant(node)
        else:
            nodes.append(node)
    dimensions = inputs[0].type.tensor_type.shape.dim
    return OnnxContent(
        path=path,
        opset=max(opsets, default=1),
        input=inputs[0].name,
        input_shape=tuple(item.dim_value if item.dim_value > 0 else None for item in dimensions),
        outputs=tuple(item.name for item in graph.output),
        nodes=tuple(nodes),
        constants=constants,
    )


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.float() if tensor.is_floating_point() else tensor


def _attribute(proto: object) -> AttributeValue:
    from onnx import AttributeProto, helper, numpy_helper

    assert isinstance(proto, AttributeProto)
    value = helper.get_attribute_value(proto)
    if proto.type == AttributeProto.TENSOR:
        return _tensor(numpy_helper.to_array(value))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, int | float):
        return value
    if proto.type in (AttributeProto.INTS, AttributeProto.FLOATS):
        return tuple(value)
    return f"<{AttributeProto.AttributeType.Name(proto.type)}>"


def _constant(node: OnnxNode) -> Tensor:
    for value in node.attributes.values():
        if isinstance(value, Tensor):
            return value
        if not isinstance(value, str):
            return _tensor(np.array(value))
    raise node.error("holds no tensor")
