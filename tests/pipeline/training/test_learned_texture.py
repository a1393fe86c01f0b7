import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ops.errors import ModelFileError, OutputError
from ops.texture.pca import PcaTexture, save_pca_texture
from ops.weights.bundle import ModelBundle, ModelRef
from ops.weights.registry import sha256_of
from pipeline.input.planner import PlanConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.run.record import LEARNED_TEXTURE, read_record, write_record
from pipeline.run.shards import SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.storage.store import open_storage
from pipeline.training.learned_texture import (
    AUTO,
    NEVER,
    OUTCOME_FILE,
    choose_texture,
    sample_size,
    with_texture,
)
from pipeline.training.texture_learning import RECORD_FILE


def run_of(folder: Path, people: int) -> ReconstructConfig:
    """A run of so many people, whose photos nobody opens."""
    for person in range(people):
        (folder / "people" / f"{person:03d}").mkdir(parents=True)
        (folder / "people" / f"{person:03d}" / "a.jpg").touch()
    return ReconstructConfig(input=folder / "people", output=folder / "out")


@pytest.fixture
def texture_file(tmp_path: Path) -> Path:
    path = tmp_path / "texture.safetensors"
    save_pca_texture(PcaTexture(mean=torch.rand(3, 8, 8), basis=torch.rand(2, 3, 8, 8), uv_layout="any"), path)
    return path


def test_an_input_of_fifty_people_is_learned_from(tmp_path: Path, embedded: ModelBundle) -> None:
    choice = choose_texture(run_of(tmp_path, 60), embedded, AUTO)
    assert choice.what == "learn"
    assert "60 of 60 people" in choice.line


def test_a_large_input_is_sampled(tmp_path: Path, embedded: ModelBundle) -> None:
    assert [sample_size(people) for people in (50, 100, 300, 400, 100_000)] == [50, 60, 90, 120, 120]
    assert "60 of 70 people" in choose_texture(run_of(tmp_path, 70), embedded, AUTO).line


def test_an_interrupted_learning_goes_on_with_its_sample(tmp_path: Path, embedded: ModelBundle) -> None:
    config = run_of(tmp_path, 80)
    record = {"fingerprint": {"configuration": {"people": 66}}}
    folder = tmp_path / "out" / LEARNED_TEXTURE
    folder.mkdir(parents=True)
    (folder / RECORD_FILE).write_text(json.dumps(record))
    assert choose_texture(config, embedded, AUTO).sample == 66


def test_a_smaller_input_keeps_the_painted_texture(tmp_path: Path, embedded: ModelBundle) -> None:
    choice = choose_texture(run_of(tmp_path, 49), embedded, AUTO)
    assert choice.what == "keep"
    assert "takes 50 people, the input has 49" in choice.line
    assert with_texture(choice, run_of(tmp_path / "x", 1), embedded, "embedded", print) is embedded


def test_auto_leaves_other_settings_alone(tmp_path: Path, embedded: ModelBundle) -> None:
    config = run_of(tmp_path, 60)
    generator = replace(embedded, texture=ModelRef(kind="gan", path=None, sha256=None))
    regressed = replace(config, fit=config.fit.by("fastganfit"))
    limited = replace(config, plan=PlanConfig(limit=55))
    choices = [
        choose_texture(config, embedded, NEVER),
        choose_texture(config, embedded, AUTO, usual=False),
        choose_texture(config, generator, AUTO),
        choose_texture(regressed, embedded, AUTO),
        choose_texture(limited, embedded, AUTO),
    ]
    assert [choice.what for choice in choices] == ["keep"] * 5
    assert len({choice.line for choice in choices}) == 5


def test_a_file_is_taken_with_its_checksum(tmp_path: Path, embedded: ModelBundle, texture_file: Path) -> None:
    config = run_of(tmp_path, 2)
    bundle = with_texture(choose_texture(config, embedded, str(texture_file)), config, embedded, "embedded", print)
    assert bundle.texture == ModelRef(kind="pca", path=texture_file, sha256=sha256_of(texture_file))
    assert bundle.regressor == embedded.regressor
    with pytest.raises(ModelFileError, match="absent"):
        choose_texture(config, embedded, str(tmp_path / "absent.safetensors"))


def test_a_run_keeps_what_it_has_learned(tmp_path: Path, embedded: ModelBundle, texture_file: Path) -> None:
    config = run_of(tmp_path, 60)
    folder = tmp_path / "out" / LEARNED_TEXTURE
    folder.mkdir(parents=True)
    texture_file.rename(folder / "texture.safetensors")
    sha256 = sha256_of(folder / "texture.safetensors")
    (folder / OUTCOME_FILE).write_text(json.dumps({"texture": sha256}))
    choice = choose_texture(config, embedded, AUTO)
    assert choice.what == "use"
    assert choice.texture is not None
    assert with_texture(choice, config, embedded, "embedded", print).texture.sha256 == sha256
    assert read_record(open_storage(tmp_path / "out")) is None


def test_a_run_that_began_with_the_painted_texture_keeps_it(tmp_path: Path, embedded: ModelBundle) -> None:
    config = run_of(tmp_path, 60)
    summary = ShardSummary(shard=0, fingerprint="f", items=1, identities={}, frames={}, fit_seconds=0.0)
    with ShardStore(open_storage(tmp_path / "out")).writing(0) as folder:
        (folder / SUCCESS_NAME).write_text(summary.to_json())
    write_record(open_storage(tmp_path / "out"), {})
    choice = choose_texture(config, embedded, AUTO)
    assert choice.what == "keep"
    assert "began" in choice.line


@pytest.mark.ray
def test_too_few_usable_people_are_remembered(local_ray: object, tmp_path: Path, embedded: ModelBundle) -> None:
    config = run_of(tmp_path, 60)
    choice = choose_texture(config, embedded, AUTO)
    fewer = replace(config, people=frozenset(f"{number:03d}" for number in range(10)))
    lines: list[str] = []
    assert with_texture(choice, fewer, embedded, "embedded", lines.append) is embedded
    assert any("the input has 10" in line for line in lines)
    assert "too few people" in choose_texture(config, embedded, AUTO).line


def test_learning_does_not_write_into_the_input(tmp_path: Path, embedded: ModelBundle) -> None:
    config = run_of(tmp_path, 60)
    inside = replace(config, output=tmp_path / "people" / "out")
    with pytest.raises(OutputError, match="outside the input"):
        choose_texture(inside, embedded, AUTO)
    assert not (tmp_path / "people" / "out").exists()
