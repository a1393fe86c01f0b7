"""Batch normalisation folded into the layer before it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from ops.networks.onnx.format import OnnxContent, OnnxNode


@dataclass(frozen=True, kw_only=True)
class _Affine:
    """What a batch normalisation in inference does to each channel: y = scale x + shift, in float64."""

    scale: Tensor
    shift: Tensor


def fold_batch_normalisation(content: OnnxContent, keep: Iterable[str]) -> OnnxContent:
    """Fold every BatchNormalization into the Conv or Gemm whose output only it reads.

    With y = scale x + shift per channel and x = W a + b: W <- scale W, b <- scale b + shift. A layer whose own output
    is a graph output or named in `keep` stays as it is, so that this value remains what the file says.
    """
    protected = {*keep, *content.outputs}
    readers = Counter(name for node in content.nodes for name in node.inputs)
    constants = dict(content.constants)
    nodes: list[OnnxNode] = []
    writer_of: dict[str, int] = {}
    for node in content.nodes:
        source = node.inputs[0] if node.inputs else ""
        position = writer_of.get(source)
        affine = _affine(node, constants) if position is not None else None
        if position is not None and affine is not None and source not in protected and readers[source] == 1:
            folded = _fold(nodes[position], affine, constants)
            if folded is not None:
                nodes[position] = replace(folded, outputs=(node.outputs[0],))
                writer_of[node.outputs[0]] = position
                continue
        writer_of[node.outputs[0]] = len(nodes)
        nodes.append(node)
    used = {name for node in nodes for name in node.inputs}
    return replace(
        content,
        nodes=tuple(nodes),
        constants={name: value for name, value in constants.items() if name in used or name in protected},
    )


def _affine(node: OnnxNode, constants: Mapping[str, Tensor]) -> _Affine | None:
    statistics = [constants.get(name) for name in node.inputs[1:5]]
    if node.operator != "BatchNormalization" or len(statistics) != 4 or node.integer("training_mode", 0) != 0:
        return None
    present = [item.double() for item in statistics if item is not None]
    if len(present) != 4:
        return None
    weight, bias, mean, variance = present
    scale = weight / (variance + node.number("epsilon", 1e-5)).sqrt()
    return _Affine(scale=scale, shift=bias - mean * scale)


def _fold(node: OnnxNode, affine: _Affine, constants: dict[str, Tensor]) -> OnnxNode | None:
    """The layer with the affine folded in and its constants stored under new names; None where that is not exact."""
    if node.operator not in ("Conv", "Gemm"):
        return None
    source, weight_name, bias_name = (*node.inputs, "")[:3]
    weight = constants.get(weight_name)
    if weight is None or (bias_name and bias_name not in constants):
        return None
    bias = constants[bias_name].double() if bias_name else affine.shift.new_zeros(affine.shift.shape)
    if node.operator == "Gemm":
        if node.number("alpha", 1.0) != 1.0 or node.number("beta", 1.0) != 1.0 or bias.shape != affine.shift.shape:
            return None
        scale = affine.scale[:, None] if node.integer("transB", 0) == 1 else affine.scale
    else:
        scale = affine.scale.reshape(len(affine.scale), *[1] * (weight.ndim - 1))
    folded_names = (f"{node.outputs[0]}/folded_weight", f"{node.outputs[0]}/folded_bias")
    constants[folded_names[0]] = (weight.double() * scale).to(weight.dtype)
    constants[folded_names[1]] = (bias * affine.scale + affine.shift).to(weight.dtype)
    return replace(node, inputs=(source, *folded_names))
