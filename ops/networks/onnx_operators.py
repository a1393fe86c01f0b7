"""The ONNX operators we run, each as a differentiable torch function of its input tensors.

`build_operator` reads a node's attributes once and returns the function; a node this module cannot run exactly is
refused there, before any image is seen.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ops.linear_basis import linear_basis
from ops.networks.onnx_format import OnnxNode
from ops.networks.prelu import channel_prelu

Operator: TypeAlias = Callable[[Sequence[Tensor | None]], Tensor]
"""Takes the node's inputs in order (None for an omitted optional one), returns its first output."""


def build_operator(node: OnnxNode, opset: int) -> Operator:
    """The function of one node.

    Raises:
        ModelFormatError: the operator, or an attribute value of it, is not supported; names the operator and node.
    """
    builder = _BUILDERS.get(node.operator)
    if builder is None:
        raise node.error(f"is not supported; supported are {', '.join(sorted(_BUILDERS))}")
    return builder(node, opset)


def _present(value: Tensor | None) -> Tensor:
    assert value is not None, "a required ONNX input is missing"
    return value


def _elementwise(function: Callable[[Tensor], Tensor]) -> Callable[[OnnxNode, int], Operator]:
    def build(node: OnnxNode, opset: int) -> Operator:
        return lambda values: function(_present(values[0]))

    return build


def _pairwise(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[OnnxNode, int], Operator]:
    def build(node: OnnxNode, opset: int) -> Operator:
        return lambda values: function(_present(values[0]), _present(values[1]))

    return build


def _divide(a: Tensor, b: Tensor) -> Tensor:
    whole = not (a.is_floating_point() or b.is_floating_point())
    return torch.div(a, b, rounding_mode="trunc" if whole else None)


def _optional_integers(node: OnnxNode, values: Sequence[Tensor | None], position: int, attribute: str) -> list[int]:
    """Integers that older opsets keep in an attribute and newer ones in an input."""
    given = values[position] if len(values) > position else None
    return [int(item) for item in given.flatten().tolist()] if given is not None else list(node.integers(attribute, ()))


def _padding_2d(node: OnnxNode) -> tuple[int, int, int, int]:
    """Attribute pads as torch wants them: left, right, top, bottom."""
    if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise node.error(f"has auto_pad {node.text('auto_pad', '')}, which is not supported; export explicit pads")
    pads = node.integers("pads", (0, 0, 0, 0))
    if len(pads) != 4:
        raise node.error(f"expects 4 pads (images), found {pads}")
    top, left, bottom, right = pads
    return left, right, top, bottom


def _convolution(node: OnnxNode, opset: int) -> Operator:
    left, right, top, bottom = _padding_2d(node)
    symmetric = left == right and top == bottom
    padding = (top, left) if symmetric else (0, 0)
    stride, dilation = node.integers("strides", (1, 1)), node.integers("dilations", (1, 1))
    group = node.integer("group", 1)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image, weight = _present(values[0]), _present(values[1])
        bias = values[2] if len(values) > 2 else None
        if not symmetric:
            image = functional.pad(image, (left, right, top, bottom))
        return functional.conv2d(image, weight, bias, stride, padding, dilation, group)

    return run


def _average_pool(node: OnnxNode, opset: int) -> Operator:
    left, right, top, bottom = _padding_2d(node)
    kernel = node.integers("kernel_shape", ())
    if left != right or top != bottom or len(kernel) != 2:
        raise node.error(f"expects a 2-D kernel and symmetric pads, found {kernel} and {(left, right, top, bottom)}")
    stride, ceil = node.integers("strides", (1, 1)), node.integer("ceil_mode", 0) == 1
    counted = node.integer("count_include_pad", 0) == 1
    return lambda values: functional.avg_pool2d(_present(values[0]), kernel, stride, (top, left), ceil, counted)


def _max_pool(node: OnnxNode, opset: int) -> Operator:
    left, right, top, bottom = _padding_2d(node)
    kernel = node.integers("kernel_shape", ())
    if left != right or top != bottom or len(kernel) != 2:
        raise node.error(f"expects a 2-D kernel and symmetric pads, found {kernel} and {(left, right, top, bottom)}")
    stride, ceil = node.integers("strides", (1, 1)), node.integer("ceil_mode", 0) == 1
    dilation = node.integers("dilations", (1, 1))
    return lambda values: functional.max_pool2d(_present(values[0]), kernel, stride, (top, left), dilation, ceil)


def _batch_normalisation(node: OnnxNode, opset: int) -> Operator:
    if node.integer("training_mode", 0) != 0:
        raise node.error("is in training mode; export the network for inference")
    epsilon = node.number("epsilon", 1e-5)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image, weight, bias, mean, variance = values[:5]
        return functional.batch_norm(_present(image), mean, variance, weight, bias, False, 0.0, epsilon)

    return run


def _gemm(node: OnnxNode, opset: int) -> Operator:
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    transpose_a, transpose_b = node.integer("transA", 0) == 1, node.integer("transB", 0) == 1

    def run(values: Sequence[Tensor | None]) -> Tensor:
        a, b = _present(values[0]), _present(values[1])
        rows, columns = (a.mT if transpose_a else a), (b.mT if transpose_b else b)
        if not columns.requires_grad:
            # An image's result must not depend on how many others share the batch.
            product = alpha * linear_basis(rows, columns, rows.new_zeros(len(rows), columns.shape[1]))
        else:
            product = alpha * (rows @ columns)
        offset = values[2] if len(values) > 2 else None
        return product if offset is None else product + beta * offset

    return run


def _leaky_relu(node: OnnxNode, opset: int) -> Operator:
    slope = node.number("alpha", 0.01)
    return lambda values: functional.leaky_relu(_present(values[0]), slope)


def _clip(node: OnnxNode, opset: int) -> Operator:
    low, high = node.number("min", -math.inf), node.number("max", math.inf)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        lower = values[1] if len(values) > 1 else None
        upper = values[2] if len(values) > 2 else None
        image = _present(values[0])
        if opset < 11:
            return image.clamp(low, high)
        return image.clone() if lower is None and upper is None else image.clamp(lower, upper)

    return run


def _flatten(node: OnnxNode, opset: int) -> Operator:
    axis = node.integer("axis", 1)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = _present(values[0])
        return image.reshape(math.prod(image.shape[:axis]), -1)

    return run


def _reshape(node: OnnxNode, opset: int) -> Operator:
    keep_zero = node.integer("allowzero", 0) == 1

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = _present(values[0])
        wanted = [int(item) for item in _present(values[1]).tolist()]
        copied = [image.shape[i] if item == 0 and not keep_zero else item for i, item in enumerate(wanted)]
        return image.reshape(copied)

    return run


def _transpose(node: OnnxNode, opset: int) -> Operator:
    order = node.integers("perm", ())
    return lambda values: _present(values[0]).permute(order or tuple(reversed(range(_present(values[0]).ndim))))


def _concatenate(node: OnnxNode, opset: int) -> Operator:
    axis = node.integer("axis", 0)
    return lambda values: torch.cat([_present(value) for value in values], axis)


def _slice(node: OnnxNode, opset: int) -> Operator:
    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = _present(values[0])
        starts = _optional_integers(node, values, 1, "starts")
        ends = _optional_integers(node, values, 2, "ends")
        axes = _optional_integers(node, values, 3, "axes") or list(range(len(starts)))
        steps = _optional_integers(node, values, 4, "steps") or [1] * len(starts)
        if min(steps, default=1) < 1:
            raise node.error(f"has steps {steps}; only positive ones are supported")
        index = [slice(None)] * image.ndim
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            index[axis] = slice(start, end, step)
        return image[tuple(index)]

    return run


def _pad(node: OnnxNode, opset: int) -> Operator:
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(node.text("mode", "constant"))
    if mode is None:
        raise node.error(f"has mode {node.text('mode', '')}; supported are constant, reflect, edge")

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = _present(values[0])
        if len(values) > 3 and values[3] is not None:
            raise node.error("has an axes input, which is not supported")
        pads = _optional_integers(node, values, 1, "pads")
        given = values[2] if len(values) > 2 else None
        fill = given.item() if given is not None else node.number("value", 0.0)
        # ONNX: all begins, then all ends, first axis first. torch: (begin, end) pairs, last axis first.
        pairs = list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True))
        while pairs and pairs[0] == (0, 0):
            pairs.pop(0)
        flat = [amount for pair in reversed(pairs) for amount in pair]
        return functional.pad(image, flat, mode, fill if mode == "constant" else None) if flat else image

    return run


def _shape(node: OnnxNode, opset: int) -> Operator:
    start, end = node.integer("start", 0), node.integer("end", 1 << 30)
    return lambda values: torch.tensor(_present(values[0]).shape[start:end], dtype=torch.int64)


def _gather(node: OnnxNode, opset: int) -> Operator:
    def run(values: Sequence[Tensor | None]) -> Tensor:
        data, index = _present(values[0]), _present(values[1]).long()
        axis = node.integer("axis", 0) % data.ndim
        from_front = torch.where(index < 0, index + data.shape[axis], index).flatten().to(data.device)
        taken = data.index_select(axis, from_front)
        return taken.reshape([*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]])

    return run


def _unsqueeze(node: OnnxNode, opset: int) -> Operator:
    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = _present(values[0])
        axes = _optional_integers(node, values, 1, "axes")
        for axis in sorted(axis % (image.ndim + len(axes)) for axis in axes):
            image = image.unsqueeze(axis)
        return image

    return run


def _squeeze(node: OnnxNode, opset: int) -> Operator:
    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = _present(values[0])
        axes = _optional_integers(node, values, 1, "axes")
        return image.squeeze(tuple(axes)) if axes else image.squeeze()

    return run


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[[OnnxNode, int], Operator]:
    def build(node: OnnxNode, opset: int) -> Operator:
        keep = node.integer("keepdims", 1) == 1

        def run(values: Sequence[Tensor | None]) -> Tensor:
            image = _present(values[0])
            axes = _optional_integers(node, values, 1, "axes")
            if not axes and node.integer("noop_with_empty_axes", 0) == 1:
                raise node.error("has noop_with_empty_axes, which is not supported")
            return function(image, axes or list(range(image.ndim)), keep)

        return run

    return build


def _cast(node: OnnxNode, opset: int) -> Operator:
    import onnx

    target = torch.from_numpy(np.zeros(1, onnx.helper.tensor_dtype_to_np_dtype(node.integer("to", 1)))).dtype
    if not target.is_floating_point:
        return lambda values: _present(values[0]).to(target)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        value = _present(values[0])
        # The network's precision is that of its input, whatever the file was exported in.
        return value if value.is_floating_point() else value.to(torch.float32)

    return run


_BUILDERS: dict[str, Callable[[OnnxNode, int], Operator]] = {
    "Add": _pairwise(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalisation,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concatenate,
    "Conv": _convolution,
    "Div": _pairwise(_divide),
    "Dropout": _elementwise(lambda x: x),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _elementwise(lambda x: x.mean((-2, -1), keepdim=True)),
    "Identity": _elementwise(lambda x: x),
    "LeakyRelu": _leaky_relu,
    "MatMul": _pairwise(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _pairwise(torch.mul),
    "PRelu": _pairwise(channel_prelu),
    "Pad": _pad,
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": _elementwise(torch.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _elementwise(torch.sigmoid),
    "Slice": _slice,
    "Sqrt": _elementwise(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _pairwise(torch.sub),
    "Tanh": _elementwise(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
