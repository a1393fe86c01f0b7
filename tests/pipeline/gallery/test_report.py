import json
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ops.face.morphable_model import MorphableModel
from pipeline.gallery.people import BLOCK_SHARDS, BLOCKS_FILE, DATA
from pipeline.gallery.report import ASSETS, REPORT, ReportContent, write_report
from pipeline.run.shards import ShardSummary, folder_of
from pipeline.run.summary import RunSummary, total
from pipeline.storage.store import Storage
from pipeline.tables.schema import ModelSizes, identities_schema

NOBODY: Mapping[int, frozenset[str]] = {}


def add_shard(root: Storage, index: int, *people: str) -> ShardSummary:
    rows = [
        {"identity_id": name, "status": "ok", "reason": "", "n_images": 2, "n_ok": 1, "page_path": f"gallery/{name}.js",
         "judge_similarity": 0.5}
        for name in people
    ]  # fmt: skip
    sink = pa.BufferOutputStream()
    schema = identities_schema(ModelSizes(identity=1, expression=1, texture=1))
    pq.write_table(pa.Table.from_pylist(rows, schema), sink)
    root.write(f"{folder_of(index)}/identities.parquet", sink.getvalue().to_pybytes())
    return ShardSummary(
        shard=index, fingerprint="f", items=len(people), identities={"ok": len(people)}, frames={"ok": len(people)},
        fit_seconds=1.0,
    )  # fmt: skip


def report(
    root: Storage,
    shards: list[ShardSummary],
    shape: MorphableModel,
    superseded: Mapping[int, frozenset[str]] = NOBODY,
    *,
    judged: bool = True,
) -> str:
    summary = RunSummary(
        items=2, planned_items=2, identities=total(shards, "identities"), frames=total(shards, "frames"),
        new_frames_ok=1, seconds=1.0, fit_seconds=1.0, fit_workers=1, judged=judged,
    )  # fmt: skip
    record = {"configuration": {"input": "<script>alert(1)</script>"}, "secret": "not shown"}
    content = ReportContent(summary=summary, shards=shards, record=record, superseded=superseded)
    return write_report(root, content, lambda: shape)


def data_of(root: Storage, name: str) -> Any:
    text = root.read(f"{DATA}/{name}").decode()
    return json.loads(text[text.index("(") + 1 : text.rindex(")")])


def test_the_report_lists_the_current_people_of_all_shards(root: Storage, tiny_shape: MorphableModel) -> None:
    shards = [add_shard(root, 0, "anna", "bob"), add_shard(root, 1, "cy"), add_shard(root, BLOCK_SHARDS, "anna")]
    where = report(root, shards, tiny_shape, {0: frozenset(["anna"])})
    assert where == f"{root}/report/index.html"
    run = data_of(root, "run.js")
    assert [(block["name"], block["people"]) for block in run["blocks"]] == [
        ("people-00000.js", 2),
        ("people-00001.js", 1),
    ]
    assert "secret" not in run["record"]
    first, second = (data_of(root, block["name"]) for block in run["blocks"])
    assert first["id"] == ["bob", "cy"]
    assert [first["folders"][shard] for shard in first["shard"]] == ["shards/00000", "shards/00001"]
    assert first["page"] == ["gallery/bob.js", "gallery/cy.js"]
    assert (second["id"], second["judge_similarity"], second["landmark_error"]) == (["anna"], [0.5], [None])


def test_a_run_that_adds_people_rewrites_the_blocks_it_changes(root: Storage, tiny_shape: MorphableModel) -> None:
    shards = [add_shard(root, index, f"p{index}") for index in (0, BLOCK_SHARDS, 2 * BLOCK_SHARDS)]
    report(root, shards, tiny_shape)
    for number in range(3):  # what is written again loses this mark
        name = f"{DATA}/people-{number:05d}.js"
        root.write(name, root.read(name) + b"// as it was\n")
    shards.append(add_shard(root, 2 * BLOCK_SHARDS + 1, "p0"))
    report(root, shards, tiny_shape, {0: frozenset(["p0"])})
    kept = [b"as it was" in root.read(f"{DATA}/people-{number:05d}.js") for number in range(3)]
    assert kept == [False, True, False]
    assert data_of(root, "people-00000.js")["id"] == []


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"format": 0, "blocks": []}'])
def test_a_damaged_list_of_blocks_is_made_again(tmp_path: Any, tiny_shape: MorphableModel, damage: bytes) -> None:
    root = Storage(str(tmp_path))
    shards = [add_shard(root, 0, "anna")]
    report(root, shards, tiny_shape)
    before = root.read(BLOCKS_FILE)
    root.write(BLOCKS_FILE, damage)
    report(root, shards, tiny_shape)
    assert root.read(BLOCKS_FILE) == before


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path: Any, tiny_shape: MorphableModel) -> None:
    root = Storage(str(tmp_path))
    report(root, [add_shard(root, 0, "anna")], tiny_shape)
    page = root.read(f"{REPORT}/index.html").decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy.group(1).startswith("default-src 'none';")
    assert not re.search(r"unsafe|http|\*", policy.group(1))
    sources = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert sources == ["gallery.css", "gallery.js", "data/run.js"]
    for name in ASSETS:
        if name.startswith("three"):
            continue
        addresses = re.findall(rb"https?://[^\"']*", root.read(f"{REPORT}/{name}"))
        assert set(addresses) <= {b"http://www.w3.org/2000/svg"}, "a name, which nobody asks for"


def test_the_report_of_a_run_without_a_judge_says_so(root: Storage, tiny_shape: MorphableModel) -> None:
    shards = [add_shard(root, 0, "anna")]
    report(root, shards, tiny_shape)
    assert data_of(root, "run.js")["remark"] == ""
    report(root, shards, tiny_shape, judged=False)
    assert "no judge" in data_of(root, "run.js")["remark"]
