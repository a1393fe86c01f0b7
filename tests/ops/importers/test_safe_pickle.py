import collections
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csc_matrix

from ops.errors import ModelFormatError
from ops.importers.safe_pickle import read_pickled_arrays

VALUES = np.arange(12, dtype=np.float64).reshape(4, 3) / 7


def write(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<u4", "|u1", "|b1"])
def test_numpy_arrays_of_every_protocol(tmp_path: Path, protocol: int, dtype: str) -> None:
    array = VALUES.astype(dtype)
    path = write(tmp_path / "a.pkl", {"a": array, "b": np.asfortranarray(array), "n": 5}, protocol)
    found = read_pickled_arrays(path, ("a", "b"))
    for value in found.values():
        assert value.dtype == array.dtype
        assert np.array_equal(value, array)


def python2_array(array: np.ndarray) -> bytes:
    """An array of float64 as Python 2 pickles it: text opcodes for bytes, the old module names."""
    shape = b"".join(b"K" + bytes([size]) for size in array.shape)
    data = array.astype("<f8").tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01("
        + shape
        + b"tcnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(data))
        + data
        + b"tb"
    )


def test_a_python_2_pickle(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}(U\x01a" + python2_array(VALUES) + b"u.")
    assert np.array_equal(read_pickled_arrays(tmp_path / "a.pkl", ("a",))["a"], VALUES)


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for chumpy.ch while writing; reading must not need it."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    module.Select = type("Select", (), {"__module__": "chumpy.ch"})
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", module)
    return module


@pytest.mark.parametrize("protocol", [0, 2])
def test_chumpy_variables_and_sparse_matrices(
    chumpy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    variable = chumpy.Ch()
    variable.__dict__ |= {"x": VALUES, "_dirty_vars": {"x"}, "_itr": None}
    path = write(tmp_path / "a.pkl", {"a": variable, "J": csc_matrix(np.eye(3)), "s": np.float64(3)}, protocol)
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    assert np.array_equal(read_pickled_arrays(path, ("a",))["a"], VALUES)
    with pytest.raises(ModelFormatError, match="lacks the array J"):
        read_pickled_arrays(path, ("J",))


class Calls:
    """Pickles as a call of a function with arguments: what a hostile file does."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_hostile_pickle_is_refused_by_name_and_does_nothing(tmp_path: Path, protocol: int) -> None:
    target = tmp_path / "touched"
    path = write(tmp_path / "evil.pkl", {"a": Calls(os.system, f"touch {target}")}, protocol)
    with pytest.raises(ModelFormatError, match=r"refers to (posix|nt)\.system, which is refused"):
        read_pickled_arrays(path, ("a",))
    assert not target.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 - the file does act where it is executed
    assert target.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Calls(eval, "1"), "eval"),
        (Calls(getattr, "a", "upper"), "getattr"),
        (Calls(np.load, "file"), "load"),
        (collections.OrderedDict(), r"collections\.OrderedDict"),
        (Path("/"), "PosixPath"),
    ],
)
def test_everything_else_is_refused_by_name(tmp_path: Path, content: object, name: str) -> None:
    with pytest.raises(ModelFormatError, match=rf"refers to .*{name}, which is refused"):
        read_pickled_arrays(write(tmp_path / "a.pkl", {"a": VALUES, "b": content}), ("a",))


def test_chumpy_expressions_are_refused_by_name(chumpy: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pkl", {"a": chumpy.Select()})
    with pytest.raises(ModelFormatError, match=r"refers to chumpy\.ch\.Select"):
        read_pickled_arrays(path, ("a",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a sound pickle"),
        (b"just text", "not a sound pickle"),
        (pickle.dumps({"a": VALUES})[:-40], "not a sound pickle"),
        (pickle.dumps([VALUES]), "expected a dictionary, got list"),
        (pickle.dumps({"b": VALUES}), "lacks the array a"),
        (pickle.dumps({"a": [1, 2]}), "lacks the array a"),
        (pickle.dumps({"a": np.array([{}, []], dtype=object)}), "plain numbers"),
        (pickle.dumps({"a": np.array(["x"])}), "plain numbers"),
        (b"\x80\x04Vsomewhere\nQ.", "outside object"),
        (b"\x80\x02\x82\x01.", "not a sound pickle"),
        (b"\x80\x02cnumpy\nndarray\n}b.", "not a sound pickle"),
    ],
)
def test_damaged_and_foreign_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ModelFormatError, match=words):
        read_pickled_arrays(tmp_path / "a.pkl", ("a",))


def test_an_array_whose_shape_lies_is_refused(tmp_path: Path) -> None:
    content = b"\x80\x02}(U\x01a" + python2_array(VALUES).replace(b"K\x04K\x03t", b"K\x05K\x03t") + b"u."
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(ModelFormatError, match="cannot reshape"):
        read_pickled_arrays(tmp_path / "a.pkl", ("a",))
