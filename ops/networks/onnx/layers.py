"""ONNX operators that compute: layers, activations, arithmetic."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ops.networks.onnx.builder import Operator, present
from ops.networks.onnx.format import OnnxNode


def divide(a: Tensor, b: Tensor) -> Tensor:
    """Quotient; of integers, cut off towards zero."""
    whole = not (a.is_floating_point() or b.is_floating_point())
    return torch.div(a, b, rounding_mode="trunc" if whole else None)


def padding_2d(node: OnnxNode) -> tuple[int, int, int, int]:
    """Attribute pads as torch wants them: left, right, top, bottom."""
    if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise node.error(f"has auto_pad {node.text('auto_pad', '')}, which is not supported; export explicit pads")
    pads = node.integers("pads", (0, 0, 0, 0))
    if len(pads) != 4:
        raise node.error(f"expects 4 pads (images), found {pads}")
    top, left, bottom, right = pads
    return left, right, top, bottom


def convolution(node: OnnxNode, opset: int) -> Operator:
    """2-D convolution, grouped or not, with any explicit pads."""
    left, right, top, bottom = padding_2d(node)
    symmetric = left == right and top == bottom
    padding = (top, left) if symmetric else (0, 0)
    stride, dilation = node.integers("strides", (1, 1)), node.integers("dilations", (1, 1))
    group = node.integer("group", 1)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image, weight = present(values[0]), present(values[1])
        bias = values[2] if len(values) > 2 else None
        if not symmetric:
            image = functional.pad(image, (left, right, top, bottom))
        return functional.conv2d(image, weight, bias, stride, padding, dilation, group)

    return run


def average_pool(node: OnnxNode, opset: int) -> Operator:
    """2-D average pooling."""
    left, right, top, bottom = padding_2d(node)
    kernel = node.integers("kernel_shape", ())
    if left != right or top != bottom or len(kernel) != 2:
        raise node.error(f"expects a 2-D kernel and symmetric pads, found {kernel} and {(left, right, top, bottom)}")
    stride, ceil = node.integers("strides", (1, 1)), node.integer("ceil_mode", 0) == 1
    counted = node.integer("count_include_pad", 0) == 1
    return lambda values: functional.avg_pool2d(present(values[0]), kernel, stride, (top, left), ceil, counted)


def max_pool(node: OnnxNode, opset: int) -> Operator:
    """2-D maximum pooling."""
    left, right, top, bottom = padding_2d(node)
    kernel = node.integers("kernel_shape", ())
    if left != right or top != bottom or len(kernel) != 2:
        raise node.error(f"expects a 2-D kernel and symmetric pads, found {kernel} and {(left, right, top, bottom)}")
    stride, ceil = node.integers("strides", (1, 1)), node.integer("ceil_mode", 0) == 1
    dilation = node.integers("dilations", (1, 1))
    return lambda values: functional.max_pool2d(present(values[0]), kernel, stride, (top, left), dilation, ceil)


def batch_normalisation(node: OnnxNode, opset: int) -> Operator:
    """Batch normalisation by stored statistics."""
    if node.integer("training_mode", 0) != 0:
        raise node.error("is in training mode; export the network for inference")
    epsilon = node.number("epsilon", 1e-5)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image, weight, bias, mean, variance = values[:5]
        return functional.batch_norm(present(image), mean, variance, weight, bias, False, 0.0, epsilon)

    return run


def gemm(node: OnnxNode, opset: int) -> Operator:
    """General matrix product: y = alpha A B + beta C, with A and B as stored or transposed."""
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    transpose_a, transpose_b = node.integer("transA", 0) == 1, node.integer("transB", 0) == 1

    def run(values: Sequence[Tensor | None]) -> Tensor:
        a, b = present(values[0]), present(values[1])
        rows, columns = (a.mT if transpose_a else a), (b.mT if transpose_b else b)
        product = alpha * (rows @ columns)
        offset = values[2] if len(values) > 2 else None
        return product if offset is None else product + beta * offset

    return run


def leaky_relu(node: OnnxNode, opset: int) -> Operator:
    """Leaky ReLU: x where x > 0, alpha x elsewhere."""
    slope = node.number("alpha", 0.01)
    return lambda values: functional.leaky_relu(present(values[0]), slope)


def clip(node: OnnxNode, opset: int) -> Operator:
    """Clamp: x limited to [min, max]."""
    low, high = node.number("min", -math.inf), node.number("max", math.inf)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        lower = values[1] if len(values) > 1 else None
        upper = values[2] if len(values) > 2 else None
        image = present(values[0])
        if opset < 11:
            return image.clamp(low, high)
        return image.clone() if lower is None and upper is None else image.clamp(lower, upper)

    return run
