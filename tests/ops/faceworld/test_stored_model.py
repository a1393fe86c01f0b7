from pathlib import Path

import pytest
import torch

from ops.face.morphable_model import MorphableModel
from ops.faceworld import stored_model
from ops.faceworld.stored_model import SOURCES, faceworld_path, load_or_build_faceworld

build = load_or_build_faceworld.__wrapped__


def test_the_stored_model_is_the_built_one_and_is_not_built_again(
    world_model: MorphableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(tmp_path).checksum() == world_model.checksum()
    monkeypatch.setattr(stored_model, "faceworld_model", None)
    stored = build(tmp_path)
    assert stored.checksum() == world_model.checksum()
    assert stored.metadata == world_model.metadata
    assert stored.region_names == world_model.region_names
    assert all(torch.equal(stored.regions[name], mask) for name, mask in world_model.regions.items())


def test_a_damaged_file_is_replaced_and_a_place_that_cannot_be_written_does_not_matter(
    world_model: MorphableModel, tmp_path: Path
) -> None:
    path = faceworld_path(tmp_path)
    path.write_bytes(b"cut short")
    assert build(tmp_path).checksum() == world_model.checksum()
    assert path.stat().st_size > 1e7
    (tmp_path / "file").touch()
    assert build(tmp_path / "file").checksum() == world_model.checksum()


def test_the_name_follows_the_code_that_builds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SOURCES:
        (tmp_path / f"{name}.py").write_text("one")
    monkeypatch.setattr(stored_model, "__file__", str(tmp_path / "stored_model.py"))
    before = faceworld_path(tmp_path)
    assert faceworld_path(tmp_path) == before
    (tmp_path / "head.py").write_text("two")
    assert faceworld_path(tmp_path) != before
