"""The ONNX operators we run, each as a differentiable torch function of its input tensors.

`build_operator` reads a node's attributes once and returns the function; a node this module cannot run exactly is
refused there, before any image is seen.
"""

import torch

from ops.networks.onnx import layers, shapes
from ops.networks.onnx.builder import Builder, Operator, elementwise, pairwise
from ops.networks.onnx.format import OnnxNode
from ops.networks.prelu import channel_prelu


def build_operator(node: OnnxNode, opset: int) -> Operator:
    """The function of one node.

    Raises:
        ModelFormatError: the operator, or an attribute value of it, is not supported; names the operator and node.
    """
    builder = _BUILDERS.get(node.operator)
    if builder is None:
        raise node.error(f"is not supported; supported are {', '.join(sorted(_BUILDERS))}")
    return builder(node, opset)


_BUILDERS: dict[str, Builder] = {
    "Add": pairwise(torch.add),
    "AveragePool": layers.average_pool,
    "BatchNormalization": layers.batch_normalisation,
    "Cast": shapes.cast,
    "Clip": layers.clip,
    "Concat": shapes.concatenate,
    "Conv": layers.convolution,
    "Div": pairwise(layers.divide),
    "Dropout": elementwise(lambda x: x),
    "Flatten": shapes.flatten,
    "Gather": shapes.gather,
    "Gemm": layers.gemm,
    "GlobalAveragePool": elementwise(lambda x: x.mean((-2, -1), keepdim=True)),
    "Identity": elementwise(lambda x: x),
    "LeakyRelu": layers.leaky_relu,
    "MatMul": pairwise(torch.matmul),
    "MaxPool": layers.max_pool,
    "Mul": pairwise(torch.mul),
    "PRelu": pairwise(channel_prelu),
    "Pad": shapes.pad,
    "ReduceL2": shapes.reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "ReduceMean": shapes.reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceSum": shapes.reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "Relu": elementwise(torch.relu),
    "Reshape": shapes.reshape,
    "Shape": shapes.shape,
    "Sigmoid": elementwise(torch.sigmoid),
    "Slice": shapes.take_slices,
    "Sqrt": elementwise(torch.sqrt),
    "Squeeze": shapes.squeeze,
    "Sub": pairwise(torch.sub),
    "Tanh": elementwise(torch.tanh),
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
}
