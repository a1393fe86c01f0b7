import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ops.errors import ConfigurationError, OutputError
from ops.files.photo import encode_png
from pipeline.run.plans import read_plans, write_current
from pipeline.run.reader import open_run
from pipeline.run.shards import ShardStore
from pipeline.storage.store import Storage, open_storage
from pipeline.tables.schema import PICTURES

WriteOutput = Callable[..., None]


def image(name: str, status: str = "ok", **person: Any) -> dict[str, Any]:
    return {"image_id": name, "status": status, "person": person}


FIRST = {"anna": [image("a0")], "bob": [image("b0", "rejected")], "cy": [image("c0"), image("c1")]}
SECOND = {"anna": [image("a0", "failed"), image("a1", "failed")], "dora": [image("d0")]}


def test_rows_are_the_newest_of_every_person(root: Storage, write_output: WriteOutput) -> None:
    write_output(root, FIRST, SECOND)
    run = open_run(root)
    people = run.people().set_index("identity_id")
    assert people["status"].to_dict() == {"anna": "failed", "bob": "rejected", "cy": "ok", "dora": "ok"}
    assert people.loc["anna", "folder"] > people.loc["bob", "folder"]
    assert sorted(run.frames(["status"])["identity_id"]) == ["anna", "anna", "bob", "cy", "cy", "dora"]
    assert [row["identity_id"] for _, row in run.rows("identities", ["status"])] == [*people.index]
    assert run.frame("a0")["status"] == "failed"
    assert run.person("dora") == {
        "identity_id": "dora", "reason": "", "message": "", "status": "ok", "n_images": 1,
        "folder": people.loc["dora", "folder"],
    }  # fmt: skip


def test_a_run_under_way_shows_what_is_committed_and_a_finished_one_what_it_ended_with(
    tmp_path: Path, write_output: WriteOutput
) -> None:
    root = open_storage(tmp_path)
    write_output(root, FIRST)
    write_current(root, read_plans(root).current(ShardStore(root).summaries()))
    write_output(root, SECOND, record={"runs": [{"outcome": "complete"}, {"started": "now"}]})
    assert len(open_run(root).people()) == 4
    root.write("run.json", json.dumps({"runs": [{"outcome": "complete"}]}).encode())
    assert len(open_run(root).people()) == 3, "as current.parquet says"


def test_an_output_without_shards_has_no_rows(tmp_path: Path) -> None:
    root = open_storage(tmp_path)
    root.write("run.json", b"{}")
    assert open_run(root).people(["status"]).columns.tolist() == ["identity_id", "status", "folder"]
    assert len(open_run(tmp_path).frames()) == 0


def test_what_is_not_there_is_named(root: Storage, write_output: WriteOutput) -> None:
    with pytest.raises(OutputError, match="expected a run"):
        open_run(root)
    write_output(root, FIRST)
    run = open_run(root)
    with pytest.raises(ConfigurationError, match=r"expected an identity_id of the run .*, got 'nobody'"):
        run.mesh("nobody")
    with pytest.raises(ConfigurationError, match=r"expected an image_id of the run .*, got 'anna'"):
        run.camera("anna")
    with pytest.raises(ConfigurationError, match="got 'b0': rejected"):
        run.posed_mesh("b0")


def test_pictures_are_laid_over_one_another(tmp_path: Path, write_output: WriteOutput) -> None:
    root = open_storage(tmp_path)
    write_output(root, {"anna": [image("a0", texture_path="textures/anna.png")]})

    def flat(*colour: int) -> np.ndarray:
        return np.full((2, 2, len(colour)), colour, np.uint8)

    crop, render = flat(10, 20, 30, 255), flat(200, 100, 50, 255)
    crop[0, 0, 3], render[1, 1, 3] = 0, 0
    stored = {
        "identity_id": "anna", "image_id": "a0", "crop_png": encode_png(crop), "render_png": encode_png(render),
        "shape_png": encode_png(flat(7, 7, 7)),
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist([stored], schema=PICTURES), tmp_path / "shards/00000/pictures.parquet")
    root.write("shards/00000/textures/anna.png", encode_png(flat(1, 2, 3)))
    pictures = open_run(tmp_path).pictures("anna")
    assert pictures.image_id == "a0"
    assert pictures.input[0].tolist() == [[225, 225, 225], [10, 20, 30]]
    assert pictures.render[:, 1].tolist() == [[200, 100, 50], [10, 20, 30]]
    assert pictures.texture[0, 0].tolist() == [1, 2, 3]
    assert pictures.shape[0, 0].tolist() == [7, 7, 7]
