from pathlib import Path

import pytest
import torch

from ops.errors import ConfigurationError
from ops.face.dense_points import choose_dense_points
from ops.face.morphable_model import MorphableModel
from ops.faceworld.shape import faceworld_model
from ops.networks.dense_landmarks import ARCHITECTURE, DenseNetwork
from ops.networks.embedded_blocks import save_weights
from ops.weights.bundle import ModelRef, load_dense

POINTS = 150


def test_a_dense_network_is_loaded_for_its_own_shape_model_only(tmp_path: Path) -> None:
    shape = faceworld_model()
    torch.manual_seed(0)
    dense = choose_dense_points(shape, POINTS)
    save_weights(DenseNetwork(dense).eval(), tmp_path / "own.safetensors", ARCHITECTURE)
    foreign = dense._replace(vertices=torch.cat((dense.vertices[:1] + 1, dense.vertices[1:])))
    save_weights(DenseNetwork(foreign).eval(), tmp_path / "foreign.safetensors", ARCHITECTURE)
    assert torch.equal(_loaded(tmp_path / "own.safetensors", shape), dense.vertices)
    with pytest.raises(ConfigurationError, match="another shape model"):
        _loaded(tmp_path / "foreign.safetensors", shape)


def _loaded(path: Path, shape: MorphableModel) -> torch.Tensor:
    return load_dense(ModelRef(kind="dense", path=path, sha256=None), shape).dense.vertices
