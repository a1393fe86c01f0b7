"""Files of named tensors."""

import os
import stat
from pathlib import Path

import pytest
import torch

from ops.errors import MissingModelFileError, ModelFormatError
from ops.files.tensor_file import read_tensor_file, write_tensor_file


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.safetensors"
    tensors = {"view": torch.arange(6.0).reshape(2, 3).T, "whole": torch.tensor([1, 2], dtype=torch.int8)}
    write_tensor_file(path, tensors, {"format": "test"})
    metadata, found = read_tensor_file(path, "tensors")
    assert metadata == {"format": "test"}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert os.listdir(path.parent) == [path.name]


def test_others_may_read_it_as_any_file(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_text("")
    path = tmp_path / "file.safetensors"
    write_tensor_file(path, {"a": torch.zeros(1)})
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_tensor_file(path, {"a": torch.ones(1)})
    shared = torch.zeros(2)
    with pytest.raises(RuntimeError):
        write_tensor_file(path, {"a": shared, "b": shared})
    assert torch.equal(read_tensor_file(path, "tensors").tensors["a"], torch.ones(1))
    assert os.listdir(tmp_path) == [path.name]


def test_says_what_is_missing_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    with pytest.raises(MissingModelFileError, match=r"expected a model at .*found no file; make one"):
        read_tensor_file(path, "a model", "make one")
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")
    with pytest.raises(ModelFormatError, match=r"expected a model at .*no sound safetensors file"):
        read_tensor_file(path, "a model")


def test_equal_content_gives_equal_bytes_whatever_the_order_of_the_description(tmp_path: Path) -> None:
    names = [f"name {number} ü" for number in range(12)]  # twelve names have one order by chance in 479 million
    for path, order in ((tmp_path / "a", names), (tmp_path / "b", names[::-1])):
        write_tensor_file(path, {"x": torch.ones(3)}, {name: name for name in order})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_tensor_file(tmp_path / "a", "tensors").metadata == {name: name for name in names}
