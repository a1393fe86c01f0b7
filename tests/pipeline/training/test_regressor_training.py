import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError
from ops.training.loop import Schedule
from ops.training.peers import Peers
from ops.training.regressor import RegressorTrainingConfig
from ops.training.regressor_samples import RegressorSamples
from ops.weights.bundle import ModelBundle, resolve_bundle
from pipeline.training import regressor_training
from pipeline.training.regressor_training import (
    CHECKPOINT,
    REGRESSOR,
    RegressorRun,
    portrait_set,
    with_looks,
)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """People of the face world in photo-like portraits, as those of other shape models are."""
    monkeypatch.setattr(regressor_training, "FACE_WORLD", "no kind")
    monkeypatch.setattr(regressor_training, "PORTRAITS_A_PART", 4)


def interrupted(line: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("streamed")
def test_a_training_on_portraits_equals_one_that_was_interrupted_while_drawing_and_learning(
    embedded: ModelBundle, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    said: list[str] = []
    portrait_set(embedded, whole / "samples", range(8), said.append)
    assert said[-1].startswith("photographed 8 of 8 people")
    with pytest.raises(KeyboardInterrupt):
        portrait_set(embedded, broken / "samples", range(8), interrupted)
    portrait_set(embedded, broken / "samples", range(8), said.append)
    for part in ("00000", "00001"):
        for name in RegressorSamples._fields:
            first, second = (np.load(folder / "samples" / part / f"{name}.npy") for folder in (whole, broken))
            np.testing.assert_array_equal(first, second)

    def run(folder: Path, steps: int) -> RegressorRun:
        return RegressorRun(
            bundle=embedded,
            samples=(folder / "samples",),
            output=folder,
            schedule=Schedule(steps=steps, batch=2, learning_rate=1e-3, checkpoint_every=1),
            config=RegressorTrainingConfig(start_share=0.5),
        )

    def stop_at_the_first_score(line: str) -> None:
        if line.startswith("held out"):
            raise KeyboardInterrupt

    run(whole, 2)(said.append, Peers())
    with pytest.raises(KeyboardInterrupt):
        run(broken, 2)(stop_at_the_first_score, Peers())
    assert torch.load(broken / CHECKPOINT, weights_only=True)["step"] == 1
    run(broken, 2)(said.append, Peers())
    assert (whole / REGRESSOR).read_bytes() == (broken / REGRESSOR).read_bytes()


def test_looks_are_those_of_another_bundle_with_the_same_shape_model(embedded: ModelBundle) -> None:
    worn = with_looks(embedded, resolve_bundle("embedded-gan"))
    assert worn.texture == resolve_bundle("embedded-gan").texture
    assert (worn.shape, worn.recognition) == (embedded.shape, embedded.recognition)
    other = dataclasses.replace(embedded, shape=dataclasses.replace(embedded.shape, sha256="ab" * 32))
    with pytest.raises(ConfigurationError, match="expected looks of a bundle with the shape model"):
        with_looks(embedded, other)
