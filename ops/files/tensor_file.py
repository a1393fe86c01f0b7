"""Files of named tensors and a description: safetensors, written whole or not at all, with the usual permissions."""

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ops.errors import MissingModelFileError, ModelFormatError


class TensorFile(NamedTuple):
    """What such a file holds."""

    metadata: dict[str, str]
    tensors: dict[str, Tensor]
    """On the CPU."""


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors of any device; folders are made, and an earlier file stays until this one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        # The library replaces files by ones that only their owner may read; a plain open gives the right mode.
        partial.touch()
        mode = partial.stat().st_mode
        save_file(stored, partial, metadata=dict(metadata) if metadata else None)
        _sort_header(partial)
        partial.chmod(mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _sort_header(path: Path) -> None:
    """Order the description by its names, which the library leaves to chance: equal content gives equal files."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        assert len(ordered) == size
        file.seek(8)
        file.write(ordered)


def read_tensor_file(path: Path, what: str, advice: str = "") -> TensorFile:
    """Everything in a file of `write_tensor_file`, which ought to be `what` ("a texture model").

    Raises:
        MissingModelFileError: there is no such file; the message ends in the advice.
        ModelFormatError: it is not safetensors, or damaged.
    """
    with _opened(path, what, advice) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return TensorFile(file.metadata() or {}, tensors)


def read_tensor_file_metadata(path: Path, what: str, advice: str = "") -> dict[str, str]:
    """The description alone, without reading the tensors; raises as `read_tensor_file` does."""
    with _opened(path, what, advice) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path, what: str, advice: str) -> Generator[safe_open]:
    if not path.is_file():
        raise MissingModelFileError(f"expected {what} at {path}, found no file{advice and '; '}{advice}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ModelFormatError(f"expected {what} at {path}, found no sound safetensors file: {error}") from error
