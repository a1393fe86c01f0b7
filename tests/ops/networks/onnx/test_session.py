from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.onnx.graph import OnnxGraph
from ops.networks.onnx.session import OnnxSession


def test_a_session_answers_as_the_graph_does(write_onnx: Callable[..., Path], random: np.random.Generator) -> None:
    weight = random.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    path = write_onnx(nodes, (2, 3, 8, 8), {"w": weight})
    images = torch.from_numpy(random.standard_normal((2, 3, 8, 8)).astype(np.float32))
    (expected,), (found,) = OnnxGraph.from_file(path)(images).outputs, OnnxSession(path)(images).outputs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_files_that_are_no_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match="found none"):
        OnnxSession(tmp_path / "absent.onnx")
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no network")
    with pytest.raises(ModelFormatError, match="is not an ONNX network"):
        OnnxSession(other)
