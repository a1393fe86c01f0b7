"""Reads the arrays out of a pickle without running anything in it.

A pickle is a program. This reader lets it build plain containers and its own inert stand-ins for numpy arrays, scipy
sparse matrices, chumpy variables and TensorFlow networks; the first name of anything else ends the reading. Array
contents are interpreted here, for plain number types only, so not even numpy's own unpickling sees the file.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Never, TypeVar, cast

import numpy as np

from ops.errors import ModelFormatError

Content = TypeVar("Content")
_BYTE_ORDERS = ("<", ">", "|", "=")


class Inert:
    """Stands for an object of a library that is neither needed nor imported; holds its state and does nothing."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Type:
    """Stands for numpy.dtype: a code such as f8, and a byte order."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(cast(tuple[object, ...], state)) > 1 and state[1] in _BYTE_ORDERS:
            self.order = str(state[1])

    def numpy_type(self) -> np.dtype[np.generic]:
        if not isinstance(self.code, str) or self.code[:1] not in "fiub" or not self.code[1:].isdecimal():
            raise ModelFormatError(f"expected arrays of plain numbers, got type {self.code!r}")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for numpy.ndarray."""

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def numpy_array(self) -> np.ndarray:
        match self.state:
            case (_, tuple() as shape, _Type() as kind, bool() | int() as fortran, bytes() | str() as data):
                content = data.encode("latin-1") if isinstance(data, str) else data
                order = "F" if fortran else "C"
                return np.frombuffer(content, kind.numpy_type()).reshape(cast(tuple[int, ...], shape), order=order)
            case _:
                raise ModelFormatError("expected an array of plain numbers")


class Scalar(Inert):
    """Stands for a numpy scalar: a type and the bytes of one number."""

    def __init__(self, kind: object = None, data: object = None, *_: object) -> None:
        super().__init__()
        self._kind, self._data = kind, data

    def numpy_array(self) -> np.ndarray:
        """The number as an array without axes."""
        data = self._data.encode("latin-1") if isinstance(self._data, str) else self._data
        if not isinstance(self._kind, _Type) or not isinstance(data, bytes):
            raise ModelFormatError("expected a plain number")
        return np.frombuffer(data, self._kind.numpy_type()).reshape(())


def _rebuild_array(*_: object) -> _Array:
    return _Array()


def _array_from_buffer(data: object, kind: object, shape: object, order: object = "C", *_: object) -> _Array:
    array = _Array()
    array.state = (1, shape, kind, order == "F", bytes(data) if isinstance(data, bytearray) else data)
    return array


def _rebuild_object(*_: object) -> Inert:
    return Inert()


def _encode(text: object, encoding: object = "latin1", *_: object) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ModelFormatError("expected text in latin-1")
    return text.encode("latin-1")


_STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _rebuild_array,
    ("numpy._core.multiarray", "_reconstruct"): _rebuild_array,
    ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy.core.multiarray", "scalar"): Scalar,
    ("numpy._core.multiarray", "scalar"): Scalar,
    ("scipy.sparse.csc", "csc_matrix"): Inert,
    ("scipy.sparse._csc", "csc_matrix"): Inert,
    ("chumpy.ch", "Ch"): Inert,
    ("tfutil", "Network"): Inert,
    ("copy_reg", "_reconstructor"): _rebuild_object,
    ("copyreg", "_reconstructor"): _rebuild_object,
    ("__builtin__", "object"): Inert,
    ("builtins", "object"): Inert,
    ("__builtin__", "set"): set,
    ("builtins", "set"): set,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Callable[..., object]:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise ModelFormatError(f"it refers to {module}.{name}, which is refused: nothing was executed") from None

    def persistent_load(self, pid: object, /) -> Never:
        raise ModelFormatError(f"it refers to the outside object {pid!r}, which is refused: nothing was executed")


class PickledNetwork(NamedTuple):
    """A network of NVIDIA's TensorFlow GAN code: what it is called, how it was set up, and its variables in order."""

    name: str
    settings: dict[str, object]
    arrays: dict[str, np.ndarray]


def read_pickled_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named arrays of a pickled dictionary (Python 2 or 3), numpy or chumpy ones.

    Raises:
        ModelFormatError: anything else, naming the first class or function that is refused.
    """

    def arrays(content: object) -> dict[str, np.ndarray]:
        if not isinstance(content, dict):
            raise ModelFormatError(f"expected a dictionary, got {type(content).__name__}")
        entries = cast(dict[object, object], content)
        return {name: _array(entries.get(name), name) for name in names}

    return _read(path, arrays)


def read_pickled_networks(path: Path) -> list[PickledNetwork]:
    """The networks of a pickled tuple; the source code they carry is not looked at.

    Raises:
        ModelFormatError: anything else, naming the first class or function that is refused.
    """

    def networks(content: object) -> list[PickledNetwork]:
        entries = cast(tuple[object, ...], content) if isinstance(content, tuple | list) else (content,)
        return [_network(entry) for entry in entries]

    return _read(path, networks)


def _read(path: Path, interpret: Callable[[object], Content]) -> Content:
    try:
        with path.open("rb") as file:
            content: object = _Reader(file, encoding="latin1").load()
        return interpret(content)
    except ModelFormatError as error:
        raise ModelFormatError(f"cannot read {path}: {error}") from error
    except Exception as error:
        # A hostile or damaged pickle can end in any exception of the unpickler.
        raise ModelFormatError(f"{path} is not a sound pickle: {type(error).__name__}: {error}") from error


def _network(value: object) -> PickledNetwork:
    state = value.state if isinstance(value, Inert) else None
    if not isinstance(state, dict):
        raise ModelFormatError(f"expected networks, got {type(value).__name__}")
    entries = cast(dict[object, object], state)
    match entries:
        case {
            "version": 2,
            "name": str() as name,
            "static_kwargs": dict() as settings,
            "variables": list() as variables,
        }:
            pairs = cast(list[tuple[str, object]], variables)
            return PickledNetwork(
                name, cast(dict[str, object], settings), {key: _variable(array, key) for key, array in pairs}
            )
        case _:
            raise ModelFormatError("expected a network of version 2 with its name, static_kwargs and variables")


def _variable(value: object, name: str) -> np.ndarray:
    """An array, or a lone number that numpy pickled as a scalar."""
    if isinstance(value, Scalar):
        return value.numpy_array()
    return _array(value, name)


def _array(value: object, name: str) -> np.ndarray:
    if isinstance(value, Inert) and isinstance(value.state, dict):
        value = cast(dict[object, object], value.state).get("x")
    if not isinstance(value, _Array):
        raise ModelFormatError(f"it lacks the array {name}")
    return value.numpy_array()
