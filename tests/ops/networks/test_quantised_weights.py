import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.quantised_weights import manifest_of, read_quantised_weights

ENTRIES = [
    {"name": "a/w", "shape": [2, 2], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}},
    {"name": "b", "shape": [3], "dtype": "float32"},
]
CONTENT = bytes([0, 1, 2, 255]) + np.array([1.5, -2.0, 0.25], "<f4").tobytes()


def write(folder: Path, content: bytes = CONTENT, entries: object = ENTRIES) -> Path:
    path = folder / "net.bin"
    path.write_bytes(content)
    manifest_of(path).write_text(json.dumps([{"weights": entries, "paths": ["net.bin"]}]))
    return path


def test_bytes_become_minimum_plus_scale_times_byte(tmp_path: Path) -> None:
    found = read_quantised_weights(write(tmp_path))
    assert list(found) == ["a/w", "b"]
    torch.testing.assert_close(found["a/w"], torch.tensor([[-1.0, -0.5], [0.0, 126.5]]))
    torch.testing.assert_close(found["b"], torch.tensor([1.5, -2.0, 0.25]))


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"\0"])
def test_weights_of_another_length_are_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"net\.bin"):
        read_quantised_weights(write(tmp_path, content))


def test_both_files_must_be_there(tmp_path: Path) -> None:
    path = write(tmp_path)
    manifest_of(path).unlink()
    with pytest.raises(MissingModelFileError, match=r"found no net-weights_manifest\.json"):
        read_quantised_weights(path)
    with pytest.raises(MissingModelFileError, match=r"found no other\.bin"):
        read_quantised_weights(tmp_path / "other.bin")
