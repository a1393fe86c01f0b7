"""CUDA tensors on a machine without a GPU, with real values, on any build of torch.

Inside `PretendedCuda`, a dispatch mode, `device="cuda"` works: tensors say they are on cuda:0 and keep their values in
host memory, so control flow that depends on data runs as it would, and gradients are real. The mode

* refuses what CUDA refuses: operators that mix devices (0-dim host numbers and host indices of CUDA tensors are
  allowed) and `.numpy()` of a CUDA tensor;
* counts operators that launch kernels, operators that make the host wait for the device, and bytes moved, each with
  the innermost line of the project's code.

It shows neither speed nor the rounding of CUDA kernels nor what third-party CUDA extensions do. C++ believes the
tensors to be on the CPU: inside backward passes a tensor made "on the device of another one" is taken to be on cuda:0,
and inside transforms of torch.func devices are not checked.
"""

import sys
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ROOT = str(Path(__file__).parents[2])
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
VIEWS = frozenset(
    (
        "view",
        "_unsafe_view",
        "expand",
        "permute",
        "slice",
        "select",
        "unsqueeze",
        "squeeze",
        "split",
        "split_with_sizes",
        "unbind",
        "t",
        "transpose",
        "alias",
        "detach",
        "as_strided",
        "diagonal",
        "unfold",
        "_reshape_alias",
        "lift_fresh",
        "view_as",
        "empty",
        "empty_strided",
        "empty_like",
        "new_empty",
        "new_empty_strided",
        "unsqueeze_",
        "squeeze_",
        "set_",
        "resize_",
        "is_same_size",
        "_has_same_storage_numel",
    )
)
"""Operators that launch no kernel."""
WAITS = {
    "_local_scalar_dense": "item",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "equal": "equal",
    "_linalg_check_errors": "check of a linear solver",
    "_linalg_svd": "singular values",
    "_linalg_eigh": "eigenvalues",
    "repeat_interleave": "repeat_interleave",
    "is_nonzero": "item",
}
"""Operators after which the host knows something of the device."""
INDEXING = frozenset(("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"))
MIXING = INDEXING | {"_to_copy", "copy_", "is_same_size", "_has_same_storage_numel", "set_"}
MAKING = frozenset(
    (
        "empty",
        "empty_strided",
        "zeros",
        "ones",
        "full",
        "scalar_tensor",
        "arange",
        "eye",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
        "rand",
        "randn",
        "lift_fresh",
    )
)
KERNELS = {
    "ganfit::transform_points": 1,
    "ganfit::transform_points_backward": 1,
    "ganfit::rasterize": 3,
    "ganfit::rasterize_backward": 1,
    "ganfit::vertex_normals": 2,
    "ganfit::vertex_normals_backward": 2,
    "ganfit::shade": 1,
    "ganfit::shade_backward": 1,
}
"""Kernels that the project's own operators launch."""


class CudaTensor(Tensor):
    """A tensor that says it is on cuda:0; its values lie in `inner` on the CPU."""

    inner: Tensor
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type["CudaTensor"], inner: Tensor) -> "CudaTensor":
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device="cpu",
            requires_grad=False,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"CudaTensor({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return running().run(func, args, kwargs or {})

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it to host first")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        running().wait("tolist")
        return self.inner.tolist()


class PretendedCuda(TorchDispatchMode):
    """The device, and what was counted on it since the last `reset`."""

    current: ClassVar["PretendedCuda | None"] = None

    def __init__(self) -> None:
        super().__init__()
        self.transforms = self.paused = 0
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self.kernels: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.places: Counter[str] = Counter()
        self.bytes = 0

    def __enter__(self) -> "PretendedCuda":
        PretendedCuda.current = self
        self._saved = (
            torch.cuda._lazy_init,
            torch.cuda.is_available,
            torch._C._only_lift_cpu_tensors(),
            torch.__future__.get_overwrite_module_params_on_conversion(),
        )
        torch.cuda._lazy_init = lambda: None
        torch.cuda.is_available = lambda: True
        torch._C._set_only_lift_cpu_tensors(True)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self._functions = _Functions()
        self._functions.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._functions.__exit__(kind, error, trace)
        torch.cuda._lazy_init, torch.cuda.is_available, lifts, overwrites = self._saved
        torch._C._set_only_lift_cpu_tensors(lifts)
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
        PretendedCuda.current = None

    def wait(self, why: str) -> None:
        """Count a wait of the host."""
        if not self.paused:
            self.waits[f"{why} @ {_place()}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operator on the values, after the checks of the device."""
        name = func._schema.name.split("::")[1]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_cuda = [tensor for tensor in tensors if isinstance(tensor, CudaTensor)]
        on_cpu = [tensor for tensor in tensors if not isinstance(tensor, CudaTensor)]
        target = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
        if name == "_to_copy" and on_cuda and target == "cpu" and self._in_cpp():
            kwargs, target = {**kwargs, "device": None}, None
        self._check_devices(func, name, args, on_cuda, on_cpu, target)
        if name in WAITS and on_cuda:
            self.wait(WAITS[name])
        if not on_cpu and name in MAKING and self._in_cpp():
            target = "cuda"
        if target == "cuda":
            kwargs = {**kwargs, "device": "cpu"}
        if kwargs.get("pin_memory"):
            kwargs = {**kwargs, "pin_memory": False}
        values, options = tree_map(_inner, args), tree_map(_inner, kwargs)
        result = func(*values, **options)
        in_place = bool(args) and isinstance(args[0], Tensor) and name.endswith("_") and not name.endswith("__")
        to_cuda = isinstance(args[0], CudaTensor) if in_place else bool(on_cuda) if target is None else target == "cuda"
        if to_cuda and not self.paused and name not in VIEWS:
            self._count(func._schema.name, (values, options, result))
        known = {id(tensor.inner): tensor for tensor in on_cuda}

        def wrap(value: Any) -> Any:
            if not isinstance(value, Tensor) or not to_cuda:
                return value
            return known[id(value)] if id(value) in known else CudaTensor(value)

        return tree_map(wrap, result)

    def _in_cpp(self) -> bool:
        """Whether a backward pass or a transform of torch.func asks."""
        return torch._C._current_graph_task_id() != -1 or self.transforms > 0

    def _check_devices(
        self, func: Any, name: str, args: Any, on_cuda: list[Any], on_cpu: list[Any], target: str | None
    ) -> None:
        if name == "_to_copy":
            if target is not None and target != ("cuda" if on_cuda else "cpu"):
                self.wait("copy to the device" if target == "cuda" else "copy to the host")
        elif name == "copy_" and on_cuda and on_cpu:
            self.wait("copy to the device" if isinstance(args[0], CudaTensor) else "copy to the host")
        elif on_cuda and name not in MIXING and not self.transforms and any(tensor.dim() for tensor in on_cpu):
            message = f"Expected all tensors to be on the same device, but found cuda:0 and cpu in {func} at {_place()}"
            raise RuntimeError(message)
        elif name in INDEXING and on_cuda:
            indices = [index for index in args[1] if isinstance(index, Tensor)]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.wait("index by truth values")
            if any(not isinstance(index, CudaTensor) for index in indices):
                self.wait("index on the host")
            if not isinstance(args[0], CudaTensor) and any(isinstance(index, CudaTensor) for index in indices):
                raise RuntimeError(f"indices should be on the same device as the indexed tensor (cpu) at {_place()}")

    def _count(self, name: str, values: Any) -> None:
        place = _place()
        self.kernels[name] += KERNELS.get(name, 1)
        self.places[place] += KERNELS.get(name, 1)
        self.bytes += sum(_extent(leaf) for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


class _Move(torch.autograd.Function):
    """Between host and device, differentiable."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, to_device: bool) -> Tensor:
        ctx.to_device = to_device
        running().wait("copy to the device" if to_device else "copy to the host")
        return CudaTensor(tensor.detach().clone()) if to_device else _inner(tensor).detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        running().wait("copy to the host" if ctx.to_device else "copy to the device")
        return _inner(grad) if ctx.to_device else CudaTensor(grad), None


class _Functions(TorchFunctionMode):
    """What C++ would decide by a tensor's device, which it believes to be the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        if func is torch.Tensor.cpu:
            return _moved(args[0], CPU, None)
        if func is torch.Tensor.cuda:
            return _moved(args[0], CUDA, None)
        if func is torch.Tensor.to:
            return _to(*args, **kwargs)
        if func is torch.Tensor.type_as:
            return _moved(args[0], args[1].device, args[1].dtype)
        mode = running()
        in_transform = torch._C._functorch.maybe_current_level() is not None
        if (
            func is torch.Tensor.new_tensor
            and (isinstance(args[0], CudaTensor) or in_transform)
            and "device" not in kwargs
        ):
            mode.wait("copy to the device")
            with torch._C._DisableFuncTorch():
                return CudaTensor(torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}))
        if getattr(func, "__name__", "").startswith("new_") and args and isinstance(args[0], CudaTensor):
            kwargs = {"device": CUDA, **kwargs}
        if func is torch.tensor and _is_cuda(kwargs.get("device")):
            mode.wait("copy to the device")
            return CudaTensor(torch.tensor(*args, **{**kwargs, "device": "cpu"}))
        mode.transforms += in_transform
        try:
            return func(*map(_indexed, args), **{name: _indexed(value) for name, value in kwargs.items()})
        finally:
            mode.transforms -= in_transform


def running() -> PretendedCuda:
    """The device in use."""
    assert PretendedCuda.current is not None, "a CudaTensor outside of PretendedCuda"
    return PretendedCuda.current


def to_cuda(value: Any) -> Any:
    """A tensor, or a NamedTuple of tensors, on the pretended device; None stays None."""
    if value is None:
        return None
    return value.to("cuda") if isinstance(value, Tensor) else type(value)(*map(to_cuda, value))


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, CudaTensor) else value


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _indexed(value: Any) -> Any:
    """CUDA's device with its number."""
    if isinstance(value, torch.device) and value.type == "cuda" and value.index is None:
        return CUDA
    return CUDA if isinstance(value, str) and value == "cuda" else value


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """`Tensor.to` in all its forms."""
    device, dtype, copy = kwargs.get("device"), kwargs.get("dtype"), kwargs.get("copy", False)
    for position, value in enumerate((*args, kwargs["other"]) if "other" in kwargs else args):
        if isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, str | torch.device):
            device = value
        elif isinstance(value, bool) and position == 3:
            copy = value
    result = _moved(tensor, None if device is None else torch.device(device), dtype)
    layout = kwargs.get("memory_format")
    if layout is not None and layout is not torch.preserve_format and result.ndim == 4:
        result = result.contiguous(memory_format=layout)
    return result.clone() if copy and result is tensor else result


def _moved(tensor: Tensor, device: torch.device | None, dtype: torch.dtype | None) -> Tensor:
    if dtype is not None and tensor.dtype != dtype:
        tensor = torch.ops.aten._to_copy(tensor, dtype=dtype)
    if device is None or (device.type == "cuda") == isinstance(tensor, CudaTensor):
        return tensor
    return _Move.apply(tensor, device.type == "cuda")  # type: ignore[return-value]


def _extent(tensor: Tensor) -> int:
    """Bytes of a tensor; an expanded one occupies what it repeats."""
    size = tensor.numel() * tensor.element_size()
    for length, step in zip(tensor.shape, tensor.stride(), strict=True):
        size = size // length if step == 0 and length > 1 else size
    return size


def _place() -> str:
    """The innermost line of the project's code outside of the tests."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(ROOT) and "/tests/" not in name and "/.venv/" not in name:
            return f"{name.removeprefix(ROOT + '/')}:{frame.f_lineno}"
        frame = frame.f_back
    return "(a backward pass)"
