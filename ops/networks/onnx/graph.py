"""An ONNX file as a differentiable torch module."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ops.errors import ModelFormatError
from ops.networks.onnx.folding import fold_batch_normalisation
from ops.networks.onnx.format import OnnxContent, read_onnx
from ops.networks.onnx.operators import Operator, build_operator


class OnnxOutputs(NamedTuple):
    """What one pass through the graph gives."""

    outputs: tuple[Shaped[Tensor, "..."], ...]
    """The graph's declared outputs, in order."""
    taps: tuple[Shaped[Tensor, "..."], ...]
    """The values asked for by name, in the order they were asked for."""


class TracedValue(NamedTuple):
    """One node's output in a pass."""

    name: str
    operator: str
    value: Shaped[Tensor, "..."]


class _Step(NamedTuple):
    run: Operator
    operator: str
    inputs: tuple[str, ...]
    output: str
    spent: tuple[str, ...]
    """Values no later step reads."""


class OnnxGraph(nn.Module):
    """Runs an ONNX graph of one input, operator by operator.

    The weights are buffers: the module has no parameters, behaves as in inference whatever its mode, takes any batch
    size the graph allows and is differentiable in its input. `double()` and `to()` move it as any module; integer
    constants (shapes, indices) stay on the CPU.
    """

    def __init__(self, content: OnnxContent, taps: Sequence[str] = (), *, fold: bool = True) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.input_shape = content.input_shape
        if fold:
            content = fold_batch_normalisation(content, self.taps)
        self._check_names(content)
        self._input, self._outputs = content.input, content.outputs
        self._integer_constants: dict[str, Tensor] = {}
        self._buffer_of: dict[str, str] = {}
        for name, value in content.constants.items():
            if value.is_floating_point():
                self._buffer_of[name] = f"constant_{len(self._buffer_of)}"
                self.register_buffer(self._buffer_of[name], value)
            else:
                self._integer_constants[name] = value
        self._steps = _plan(content, kept={*self.taps, *content.outputs, *content.constants})

    @classmethod
    def from_file(cls, path: Path, taps: Sequence[str] = (), *, fold: bool = True) -> "OnnxGraph":
        """Read an ONNX file; `taps` names node outputs to return beside the graph's own.

        With `fold`, batch normalisations are folded into the layers before them where no tap is lost by it.

        Raises:
            MissingModelFileError: there is no such file.
            ModelFormatError: it is not an ONNX graph of one input, uses an operator we do not run, or lacks a tap.
        """
        return cls(read_onnx(path), taps, fold=fold)

    def forward(self, x: Float[Tensor, "..."]) -> OnnxOutputs:
        """Run the graph; the result's dtype is that of x and of the module's buffers."""
        values = self._start(x)
        for step in self._steps:
            values[step.output] = step.run([values.get(name) for name in step.inputs])
            for name in step.spent:
                del values[name]
        return OnnxOutputs(
            tuple(values[name] for name in self._outputs),
            tuple(values[name] for name in self.taps),
        )

    def trace(self, x: Float[Tensor, "..."]) -> Iterator[TracedValue]:
        """Every node's output in execution order, to choose taps by shape; batch normalisations may be folded."""
        values = self._start(x)
        for step in self._steps:
            values[step.output] = step.run([values.get(name) for name in step.inputs])
            yield TracedValue(step.output, step.operator, values[step.output])

    def _start(self, x: Tensor) -> dict[str, Tensor]:
        values = dict(self._integer_constants)
        for name, buffer in self._buffer_of.items():
            values[name] = self.get_buffer(buffer)
        values[self._input] = x
        return values

    def _check_names(self, content: OnnxContent) -> None:
        known = {content.input, *content.constants}
        for node in content.nodes:
            missing = [name for name in node.inputs if name and name not in known]
            if missing:
                raise node.error(f"of {content.path} reads {', '.join(missing)}, which nothing before it writes")
            known.add(node.outputs[0])
        absent = [name for name in (*self.taps, *content.outputs) if name not in known]
        if absent:
            raise ModelFormatError(f"{content.path}: no node writes {', '.join(absent)}")


def _plan(content: OnnxContent, kept: set[str]) -> tuple[_Step, ...]:
    last_reader: dict[str, int] = {}
    for position, node in enumerate(content.nodes):
        last_reader.update((name, position) for name in node.inputs if name)
        last_reader.setdefault(node.outputs[0], position)
    steps: list[_Step] = []
    for position, node in enumerate(content.nodes):
        candidates = dict.fromkeys((*node.inputs, node.outputs[0]))
        spent = tuple(name for name in candidates if name not in kept and last_reader.get(name) == position)
        run = build_operator(node, content.opset)
        steps.append(_Step(run, node.operator, node.inputs, node.outputs[0], spent))
    return tuple(steps)
