"""Runs compiled kernels over the images of a batch, one thread per image.

Plain Python threads around kernels that release the interpreter lock: a thread pool of its own (OpenMP's, numba's)
would spin beside torch's between the calls, and compiling for one costs seconds. An image is computed by one thread
in one fixed order, so its result depends neither on the thread count nor on the rest of the batch.
"""

import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from ops.geometry.compiled import compiled


def image_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that works on one image; the machine code is cached on disk."""
    # Tests wrap every function in run-time shape checks, which cannot be compiled.
    return compiled(inspect.unwrap(function), nogil=True, error_model="numpy")


def kernel_part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only compiled functions call; it is cached as part of them."""
    return njit(nogil=True, error_model="numpy")(inspect.unwrap(function))


def float32_array(tensor: Tensor) -> NDArray[np.float32]:
    """The tensor as a C-contiguous array, sharing memory where it can.

    Raises:
        TypeError: the tensor is not float32 on the CPU, which is all the compiled kernels take.
    """
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        message = f"expected a float32 tensor on the cpu, got {tensor.dtype} on {tensor.device}"
        raise TypeError(message)
    return tensor.detach().contiguous().numpy()


def int32_array(tensor: Tensor) -> NDArray[np.int32]:
    """The tensor as a C-contiguous array, sharing memory where it can.

    Raises:
        TypeError: the tensor is not int32 on the CPU.
    """
    if tensor.dtype != torch.int32 or tensor.device.type != "cpu":
        message = f"expected an int32 tensor on the cpu, got {tensor.dtype} on {tensor.device}"
        raise TypeError(message)
    return tensor.detach().contiguous().numpy()


def check_shape(name: str, tensor: Tensor, *expected: int | None) -> None:
    """Refuse a tensor of another shape, None standing for any size: compiled kernels do not check their indices.

    Raises:
        ValueError: the shapes differ.
    """
    if tensor.dim() != len(expected) or any(e not in (None, n) for e, n in zip(expected, tensor.shape, strict=True)):
        wanted = ", ".join("*" if size is None else str(size) for size in expected)
        message = f"expected {name} of shape ({wanted}), got shape {tuple(tensor.shape)}"
        raise ValueError(message)


def check_triangles(triangles: Tensor, vertices: int) -> None:
    """Refuse triangles that would read outside the vertices.

    Raises:
        ValueError: an index is negative or too large, or these are not triangles.
    """
    check_shape("triangles", triangles, None, 3)
    if len(triangles):
        low, high = (int(bound) for bound in triangles.aminmax())
        if low < 0 or high >= vertices:
            message = f"expected triangles over {vertices} vertices, got indices from {low} to {high}"
            raise ValueError(message)


def for_each_image(
    kernel: Callable[..., None], batched: Sequence[NDArray[Any]], shared: Sequence[NDArray[Any] | float] = ()
) -> None:
    """Call `kernel(*[a[i] for a in batched], *shared)` for every image i of the batch.

    Uses up to `torch.get_num_threads()` threads; the kernel writes its results into its arguments.
    """
    images = len(batched[0])
    threads = min(images, torch.get_num_threads())

    def run(image: int) -> None:
        kernel(*(array[image] for array in batched), *shared)

    if threads <= 1:
        for image in range(images):
            run(image)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, range(images)))
