from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError, ModelFormatError
from ops.faceworld.shape import faceworld_model
from ops.networks.embedded_blocks import save_weights
from ops.networks.embedded_recognition import (
    ARCHITECTURE,
    EMBEDDING_SIZE,
    JUDGE_ARCHITECTURE,
    EmbeddedRecognition,
    load_embedded_recognition,
)
from ops.training.datasets import PortraitSet, load_or_render
from ops.training.recognition import score_recognition
from ops.weights.bundle import load_recognition, resolve_bundle


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(EmbeddedRecognition().eval(), tmp_path / "r.safetensors", ARCHITECTURE)
    return tmp_path / "r.safetensors"


def test_stages_are_taps_fine_to_coarse(weights: Path) -> None:
    seen = load_embedded_recognition(weights)(torch.rand(2, 3, 112, 112))
    assert seen.embedding.shape == (2, EMBEDDING_SIZE)
    assert [tuple(feature.shape[2:]) for feature in seen.features] == [(28, 28), (14, 14), (7, 7), (4, 4)]


def test_layers_can_be_chosen(weights: Path) -> None:
    network = load_embedded_recognition(weights, ("stage2",))
    assert network.content_layers == ("stage2",)
    assert [feature.shape[1] for feature in network(torch.rand(1, 3, 112, 112)).features] == [64]
    assert load_embedded_recognition(weights, ())(torch.rand(1, 3, 112, 112)).features == ()
    with pytest.raises(ConfigurationError, match="stage9"):
        load_embedded_recognition(weights, ("stage9",))


def test_the_file_names_the_architecture(tmp_path: Path) -> None:
    path = tmp_path / "judge.safetensors"
    save_weights(EmbeddedRecognition(architecture=JUDGE_ARCHITECTURE).eval(), path, JUDGE_ARCHITECTURE)
    seen = load_embedded_recognition(path)(torch.rand(1, 3, 112, 112))
    assert seen.embedding.shape == (1, EMBEDDING_SIZE)
    assert [feature.shape[1] for feature in seen.features] == [16, 32, 64, 96]
    save_weights(torch.nn.Linear(2, 2), path, "another")
    with pytest.raises(ModelFormatError, match="found another"):
        load_embedded_recognition(path)


def test_is_frozen_and_differentiable_in_the_images(weights: Path) -> None:
    images = torch.rand(1, 3, 112, 112, requires_grad=True)
    network = load_embedded_recognition(weights)
    network(images).embedding.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.slow
def test_knows_people_it_never_saw(tmp_path: Path) -> None:
    people = PortraitSet(first_person=5_000_000, people=12, pictures_each=4)
    pictures = load_or_render(people, faceworld_model(), tmp_path, lambda line: None)
    bundle = resolve_bundle("embedded")
    for network in (bundle.recognition, bundle.judge):
        assert network is not None
        score = score_recognition(load_recognition(network), pictures)
        assert score.accuracy > 0.8
        assert score.same_mean > score.different_mean + 0.2
        assert np.isfinite(score.true_accept)
