"""ONNX operators that rearrange, select, reduce or convert."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ops.networks.onnx.builder import Builder, Operator, optional_integers, present
from ops.networks.onnx.format import OnnxNode


def flatten(node: OnnxNode, opset: int) -> Operator:
    """Two axes from any number, split before `axis`."""
    axis = node.integer("axis", 1)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = present(values[0])
        return image.reshape(math.prod(image.shape[:axis]), -1)

    return run


def reshape(node: OnnxNode, opset: int) -> Operator:
    """Another shape; 0 keeps an axis, -1 takes what is left."""
    keep_zero = node.integer("allowzero", 0) == 1

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = present(values[0])
        wanted = [int(item) for item in present(values[1]).tolist()]
        copied = [image.shape[i] if item == 0 and not keep_zero else item for i, item in enumerate(wanted)]
        return image.reshape(copied)

    return run


def transpose(node: OnnxNode, opset: int) -> Operator:
    """Axes in another order."""
    order = node.integers("perm", ())
    return lambda values: present(values[0]).permute(order or tuple(reversed(range(present(values[0]).ndim))))


def concatenate(node: OnnxNode, opset: int) -> Operator:
    """Values one after the other along an axis."""
    axis = node.integer("axis", 0)
    return lambda values: torch.cat([present(value) for value in values], axis)


def take_slices(node: OnnxNode, opset: int) -> Operator:
    """Ranges of some axes."""

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = present(values[0])
        starts = optional_integers(node, values, 1, "starts")
        ends = optional_integers(node, values, 2, "ends")
        axes = optional_integers(node, values, 3, "axes") or list(range(len(starts)))
        steps = optional_integers(node, values, 4, "steps") or [1] * len(starts)
        if min(steps, default=1) < 1:
            raise node.error(f"has steps {steps}; only positive ones are supported")
        index = [slice(None)] * image.ndim
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            index[axis] = slice(start, end, step)
        return image[tuple(index)]

    return run


def pad(node: OnnxNode, opset: int) -> Operator:
    """Constant, reflected or repeated borders."""
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(node.text("mode", "constant"))
    if mode is None:
        raise node.error(f"has mode {node.text('mode', '')}; supported are constant, reflect, edge")

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = present(values[0])
        if len(values) > 3 and values[3] is not None:
            raise node.error("has an axes input, which is not supported")
        pads = optional_integers(node, values, 1, "pads")
        given = values[2] if len(values) > 2 else None
        fill = given.item() if given is not None else node.number("value", 0.0)
        # ONNX: all begins, then all ends, first axis first. torch: (begin, end) pairs, last axis first.
        pairs = list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True))
        while pairs and pairs[0] == (0, 0):
            pairs.pop(0)
        flat = [amount for pair in reversed(pairs) for amount in pair]
        return functional.pad(image, flat, mode, fill if mode == "constant" else None) if flat else image

    return run


def shape(node: OnnxNode, opset: int) -> Operator:
    """The shape as an integer tensor on the CPU."""
    start, end = node.integer("start", 0), node.integer("end", 1 << 30)
    return lambda values: torch.tensor(present(values[0]).shape[start:end], dtype=torch.int64)


def gather(node: OnnxNode, opset: int) -> Operator:
    """Entries of one axis by index."""

    def run(values: Sequence[Tensor | None]) -> Tensor:
        data, index = present(values[0]), present(values[1]).long()
        axis = node.integer("axis", 0) % data.ndim
        from_front = torch.where(index < 0, index + data.shape[axis], index).flatten().to(data.device)
        taken = data.index_select(axis, from_front)
        return taken.reshape([*data.shape[:axis], *index.shape, *data.shape[axis + 1 :]])

    return run


def unsqueeze(node: OnnxNode, opset: int) -> Operator:
    """New axes of length 1."""

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = present(values[0])
        axes = optional_integers(node, values, 1, "axes")
        for axis in sorted(axis % (image.ndim + len(axes)) for axis in axes):
            image = image.unsqueeze(axis)
        return image

    return run


def squeeze(node: OnnxNode, opset: int) -> Operator:
    """Without axes of length 1."""

    def run(values: Sequence[Tensor | None]) -> Tensor:
        image = present(values[0])
        axes = optional_integers(node, values, 1, "axes")
        return image.squeeze(tuple(axes)) if axes else image.squeeze()

    return run


def reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Builder:
    """An operator that reduces some axes by `function(value, axes, keep)`."""

    def build(node: OnnxNode, opset: int) -> Operator:
        keep = node.integer("keepdims", 1) == 1

        def run(values: Sequence[Tensor | None]) -> Tensor:
            image = present(values[0])
            axes = optional_integers(node, values, 1, "axes")
            if not axes and node.integer("noop_with_empty_axes", 0) == 1:
                raise node.error("has noop_with_empty_axes, which is not supported")
            return function(image, axes or list(range(image.ndim)), keep)

        return run

    return build


def cast(node: OnnxNode, opset: int) -> Operator:
    """Another integer type; floating-point precision stays that of the network."""
    import onnx

    target = torch.from_numpy(np.zeros(1, onnx.helper.tensor_dtype_to_np_dtype(node.integer("to", 1)))).dtype
    if not target.is_floating_point:
        return lambda values: present(values[0]).to(target)

    def run(values: Sequence[Tensor | None]) -> Tensor:
        value = present(values[0])
        # The network's precision is that of its input, whatever the file was exported in.
        return value if value.is_floating_point() else value.to(torch.float32)

    return run
