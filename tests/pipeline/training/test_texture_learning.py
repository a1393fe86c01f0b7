"""A texture model learned by the pipeline from an album of the face world."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ops.errors import ConfigurationError, FingerprintMismatchError
from ops.files.tensor_file import read_tensor_file
from ops.fit.config import faceworld_preset
from ops.texture.pca import load_pca_texture
from ops.weights.bundle import ModelBundle, resolve_bundle
from pipeline.cluster.session import ClusterConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.stages.stage import run_stage
from pipeline.storage.store import open_storage
from pipeline.training import texture_iterations
from pipeline.training.texture_iterations import BLOCKS, LearningModels, SketchPeople, blocks_of, sketch_file
from pipeline.training.texture_learning import (
    LearningConfig,
    TooFewPeopleError,
    bundle_text,
    learn_texture,
    short_fit,
)
from pipeline.training.texture_people import MEASURES, Selection, draw_of, people_file

CLUSTER = ClusterConfig(num_gpus=0, fit_workers=1, prepare_workers=1)
SELECTION = Selection(min_judge=-1.0, max_landmark_error=1.0, min_seen=0.05, hold_out=0.7)


def config_of(album: Path, output: Path, **changes: Any) -> LearningConfig:
    config = LearningConfig(
        input=album,
        output=output,
        steps=(3, 2),
        rounds=2,
        iterations=2,
        least_people=2,
        modes=12,
        local_modes=20,
        side=128,
        selection=SELECTION,
        fit=faceworld_preset(),
        cluster=CLUSTER,
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def learned(local_ray: Any, album: Path, embedded: ModelBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of two rounds; one person of four is held out."""
    output = tmp_path_factory.mktemp("learned") / "out"
    assert sum(draw_of(f"person_{number:02d}") < SELECTION.hold_out for number in range(4)) == 1
    found = learn_texture(config_of(album, output), embedded, "embedded")
    assert found.people == 3
    return output


@pytest.mark.ray
def test_every_person_has_a_row_that_says_whether_it_was_used(learned: Path) -> None:
    table = pq.read_table(learned / "learning.parquet")
    assert table.schema.equals(MEASURES)
    rows = {row["identity_id"]: row for row in table.to_pylist()}
    assert sorted(rows) == [f"person_{number:02d}" for number in range(4)]
    assert sum(row["used"] for row in rows.values()) == 3
    (kept_back,) = (row for row in rows.values() if row["held_out"])
    assert (kept_back["used"], kept_back["reason"]) == (False, "held_out")
    assert all(0.05 < row["seen"] < 1 for row in rows.values() if row["used"])


@pytest.mark.ray
def test_the_bundle_holds_the_learned_texture_with_its_checksum(learned: Path, embedded: ModelBundle) -> None:
    bundle = resolve_bundle(learned / "bundle.yaml")
    assert bundle.name == "embedded-learned"
    assert bundle.texture.kind == "pca"
    assert bundle.regressor is not None
    assert embedded.regressor is not None
    assert bundle.regressor.sha256 == embedded.regressor.sha256
    data = (learned / "texture.safetensors").read_bytes()
    assert bundle.texture.sha256 == hashlib.sha256(data).hexdigest()
    assert bundle.shape == embedded.shape
    texture = load_pca_texture(learned / "texture.safetensors")
    assert texture.basis.shape == (20, 3, 128, 128)
    assert bool((texture.mean == texture.mean.flip(-1)).all())
    assert bool(((texture.basis == texture.basis.flip(-1)) | (texture.basis == -texture.basis.flip(-1))).all())


@pytest.mark.ray
def test_the_report_shows_modes_people_and_reasons(learned: Path) -> None:
    page = (learned / "report" / "index.html").read_text()
    assert "3 of 4 were learned from" in page
    assert "held_out" in page
    assert "better" in page
    for name in ("modes.png", "people_00.png"):
        assert name in page
        assert (learned / "report" / name).stat().st_size > 1000


@pytest.mark.ray
def test_a_finished_learning_is_read_and_another_one_refused(learned: Path, album: Path, embedded: ModelBundle) -> None:
    before = (learned / "texture.safetensors").stat().st_mtime_ns
    lines: list[str] = []
    assert learn_texture(config_of(album, learned), embedded, "embedded", lines.append).people == 3
    assert (learned / "texture.safetensors").stat().st_mtime_ns == before
    assert any("finished" in line for line in lines)
    with pytest.raises(FingerprintMismatchError, match="configuration"):
        learn_texture(config_of(album, learned, modes=8), embedded, "embedded")


@pytest.mark.ray
def test_an_interrupted_learning_goes_on_and_ends_with_the_same_bits(
    learned: Path, album: Path, embedded: ModelBundle, tmp_path: Path
) -> None:
    """One round from a finished run, without anybody held out; then again from what an earlier iteration left."""
    selection = replace(SELECTION, hold_out=0.0)
    config = config_of(album, tmp_path / "out", run=learned / "rounds/1/run", rounds=1, selection=selection)
    lines: list[str] = []

    def stop_after_an_iteration(line: str) -> None:
        if line.startswith("iteration 1 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_texture(config, embedded, "embedded", stop_after_an_iteration)
    folder = tmp_path / "out" / "rounds" / "1"
    assert [path.name for path in folder.glob("model_*")] == ["model_1.safetensors"]
    assert not (folder / "iteration_1").exists()
    assert learn_texture(config, embedded, "embedded", lines.append).people == 4
    assert not any(line.startswith("iteration 1 ") for line in lines)
    at_once = replace(config, output=tmp_path / "at once")
    learn_texture(at_once, embedded, "embedded")
    files = [(place / "texture.safetensors").read_bytes() for place in (tmp_path / "out", tmp_path / "at once")]
    assert files[0] == files[1]
    iterations = json.loads((tmp_path / "out" / "learning.json").read_text())["rounds"][0]["iterations"]
    assert [one["people"] for one in iterations] == [4, 4]


@pytest.mark.ray
def test_too_few_people_are_refused_with_the_reasons(
    local_ray: Any, learned: Path, album: Path, embedded: ModelBundle, tmp_path: Path
) -> None:
    config = config_of(album, tmp_path, run=learned / "rounds/1/run", rounds=1, least_people=4)
    with pytest.raises(TooFewPeopleError, match=r"at least 4 people .* found 3; not used: 1 held_out"):
        learn_texture(config, embedded, "embedded")


@pytest.mark.ray
def test_a_large_block_is_sketched_in_parts(
    learned: Path, embedded: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = LearningModels(bundle=embedded, fitted=embedded, side=128, modes=12)
    scatters: list[torch.Tensor] = []
    for people in (64, 2):
        monkeypatch.setattr(texture_iterations, "SKETCHED_PEOPLE", people)
        shutil.copytree(learned / "rounds/1/people", tmp_path / str(people) / "people")
        stage = SketchPeople(folder=open_storage(tmp_path / str(people)), models=models, iteration=1)
        table = pa.table({"block": [0], "files": [[people_file(0)]]}, schema=BLOCKS)
        (row,) = run_stage(stage, stage.load(), table).to_pylist()
        assert row["people"] == 3
        rows = read_tensor_file(tmp_path / str(people) / sketch_file(1, 0), "a sketch").tensors["even"][:, ::97]
        scatters.append(rows.mT @ rows)
    torch.testing.assert_close(scatters[0], scatters[1], atol=1e-4, rtol=1e-3)


def test_blocks_take_whole_shards_and_leave_out_empty_ones() -> None:
    assert blocks_of({0: 40, 1: 0, 2: 30, 3: 64, 4: 5}) == [[0, 2], [3], [4]]
    assert blocks_of({}) == []


def test_a_large_input_has_no_more_blocks_than_the_driver_can_merge() -> None:
    counts = dict.fromkeys(range(3125), 16)
    blocks = blocks_of(counts)
    assert 60 < len(blocks) <= 64
    assert [shard for block in blocks for shard in block] == list(range(3125))


def test_the_learned_bundle_repeats_the_other_roles(embedded: ModelBundle, tmp_path: Path) -> None:
    written = tmp_path / "mine.yaml"
    written.write_text(
        "name: mine\nshape: {kind: ganfit, path: models/a.safetensors, sha256: 00}\ntexture: {kind: x}\n"
        "recognition: {kind: onnx, known: b}\nregressor: {kind: fastganfit, path: r, sha256: 11}\n"
    )
    learned = replace(embedded, name="mine", texture=replace(embedded.texture, kind="pca", sha256="ab" * 32))
    text = bundle_text(written, learned, 7)
    assert f"path: {tmp_path}/models/a.safetensors" in text
    assert "known: b" in text
    assert f"path: {tmp_path}/r" in text
    assert "name: mine-learned" in text
    assert f"sha256: {'ab' * 32}" in text


def test_only_some_people_of_an_input_can_be_reconstructed(album: Path, tmp_path: Path) -> None:
    config = ReconstructConfig(input=album, output=tmp_path, people=frozenset(("person_01", "person_03", "nobody")))
    names = set(config.listing().items.column("identity_id").to_pylist())
    assert names == {"person_01", "person_03"}


def test_learning_needs_something_to_learn_from() -> None:
    with pytest.raises(ConfigurationError, match="an input or a run"):
        LearningConfig(output="out")


def test_fits_to_learn_from_are_short() -> None:
    fit = short_fit(faceworld_preset(), 7)
    assert (fit.steps, fit.second_render, fit.early_stop_window) == (7, False, 0)
    assert fit.images_that_share_texture_prior == 1
