"""What the functions of ONNX operators are made of."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor

from ops.networks.onnx.format import OnnxNode

Operator: TypeAlias = Callable[[Sequence[Tensor | None]], Tensor]
"""Takes the node's inputs in order (None for an omitted optional one), returns its first output."""
Builder: TypeAlias = Callable[[OnnxNode, int], Operator]
"""Takes a node and the file's opset."""


def present(value: Tensor | None) -> Tensor:
    """An input the operator requires."""
    assert value is not None, "a required ONNX input is missing"
    return value


def elementwise(function: Callable[[Tensor], Tensor]) -> Builder:
    """An operator of one input and no attributes."""

    def build(node: OnnxNode, opset: int) -> Operator:
        return lambda values: function(present(values[0]))

    return build


def pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    """An operator of two inputs that broadcast, and no attributes."""

    def build(node: OnnxNode, opset: int) -> Operator:
        return lambda values: function(present(values[0]), present(values[1]))

    return build


def optional_integers(node: OnnxNode, values: Sequence[Tensor | None], position: int, attribute: str) -> list[int]:
    """Integers that older opsets keep in an attribute and newer ones in an input."""
    given = values[position] if len(values) > position else None
    return [int(item) for item in given.flatten().tolist()] if given is not None else list(node.integers(attribute, ()))
