from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.micc import Setting
from ops.errors import ConfigurationError
from pipeline.input.listing import Item, table_of
from pipeline.input.planner import PlanConfig, plan_shards
from pipeline.micc.reconstruction_files import open_reconstructions
from pipeline.run.plans import read_plans, write_current
from pipeline.run.shards import SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.storage.store import open_storage


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_folders_of_meshes_in_any_spelling(tmp_path: Path) -> None:
    first = touch(tmp_path / "subject_01" / "Indoor-Cooperative.obj")
    touch(tmp_path / "subject_01" / "Indoor-Cooperative.glb")
    second = touch(tmp_path / "Subject_2" / "meshes" / "ptz_outdoor.PLY")
    touch(tmp_path / "subject_03" / "notes.obj")
    found = open_reconstructions(tmp_path)
    assert not found.is_run
    assert found.find("subject_01", Setting.COOPERATIVE).path == first
    assert found.find("subject_02", Setting.OUTDOOR).path == second
    missing = found.find("subject_03", Setting.INDOOR)
    assert (missing.path, missing.reason) == (None, "missing_reconstruction")
    assert "subject_03 PTZ-Indoor" in missing.message


def test_runs_tell_why_a_mesh_is_missing(tmp_path: Path) -> None:
    root = open_storage(tmp_path)
    store = ShardStore(root)
    (tmp_path / "run.json").write_text("{}")
    rows = [
        ("subject_01/Indoor-Cooperative", "ok", "", "", "meshes/a.glb"),
        ("subject_01/PTZ-Indoor", "failed", "unreadable", "no usable image: 1 failed unreadable", None),
        ("somebody", "ok", "", "", "meshes/b.glb"),
    ]
    names = ("identity_id", "status", "reason", "message", "mesh_path")
    with store.writing(0) as folder:
        pq.write_table(
            pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), folder / "identities.parquet"
        )
        summary = ShardSummary(shard=0, fingerprint="", items=3, identities={}, frames={}, fit_seconds=0.0)
        (folder / SUCCESS_NAME).write_text(summary.to_json())
    planned = plan_shards(
        table_of(Item(f"a-{number:016x}", row[0], "u", "u", "image") for number, row in enumerate(rows)), PlanConfig()
    )
    facts = {"input": "", "layout": "", "planned": ""}
    write_current(root, read_plans(root).add(planned, None, facts).current([0]))
    found = open_reconstructions(tmp_path)
    assert found.is_run
    assert found.find("subject_01", Setting.COOPERATIVE).path == tmp_path / "shards" / "00000" / "meshes" / "a.glb"
    failed = found.find("subject_01", Setting.INDOOR)
    assert (failed.path, failed.reason) == (None, "no_reconstruction")
    assert failed.message == "failed unreadable: no usable image: 1 failed unreadable"


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="found no folder"):
        open_reconstructions(tmp_path / "gone")
    touch(tmp_path / "mesh.obj")
    with pytest.raises(ConfigurationError, match="Indoor-Cooperative"):
        open_reconstructions(tmp_path)
