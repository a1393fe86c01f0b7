"""Tiny ONNX files written on the spot, and a photo."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ops.files.photo import decode_photo

WriteOnnx = Callable[..., Path]


@pytest.fixture
def write_onnx(tmp_path: Path) -> WriteOnnx:
    """Writes a graph of one input "x" from nodes and constants, and returns the file's path."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        shape: Sequence[int | str],
        constants: dict[str, np.ndarray] | None = None,
        *,
        outputs: Sequence[str] = ("y",),
        opset: int = 13,
        output_type: int = onnx.TensorProto.FLOAT,
    ) -> Path:
        graph = helper.make_graph(
            list(nodes),
            "tiny",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(name, output_type, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        path = tmp_path / f"tiny_{len(list(tmp_path.iterdir()))}.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture
def random(rng: object) -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture(scope="session")
def astronaut(model_dir: Path) -> np.ndarray:
    path = model_dir.parent / "photos" / "astronaut.png"
    if not path.is_file():
        pytest.skip(f"needs the photo {path}")
    return decode_photo(path.read_bytes()).image_rgb
