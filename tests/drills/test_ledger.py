"""The ledger notices what drills are there to notice."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.drills.ledger import read_ledger

Row = tuple[str, str, int | None]


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [tmp_path / name for name in ("a1.jpg", "a2.jpg", "b1.mp4")]


@pytest.fixture
def output(tmp_path: Path, photos: list[Path]) -> Path:
    """Two persons, of whom a was made again in another shard."""
    out = tmp_path / "out"
    rows: dict[str, list[Row]] = {
        "00000": [("a", str(photos[0]), None), ("b", str(photos[2]), 3), ("b", str(photos[2]), 7)],
        "00001": [("a", str(photos[0]), None), ("a", str(photos[1]), None)],
    }
    for shard, content in rows.items():
        write_shard(out / "shards" / shard, content)
    current = [("a", "shards/00001"), ("b", "shards/00000")]
    pq.write_table(table(("identity_id", "folder"), current), out / "current.parquet")
    (out / "lease").mkdir()
    for name in ("run.json", "lease/00002.json"):
        (out / name).write_text("{}")
    return out


def write_shard(folder: Path, rows: list[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    full = [(person, uri, frame, "ok", "") for person, uri, frame in rows]
    names = ("identity_id", "uri", "frame_index", "status", "reason")
    pq.write_table(table(names, full), folder / "frames.parquet")
    (folder / "_SUCCESS.json").write_text(json.dumps({"files": {"frames.parquet": 1}}))


def table(names: tuple[str, ...], rows: list[Any]) -> pa.Table:
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def test_an_output_in_order_passes(output: Path, photos: list[Path]) -> None:
    ledger = read_ledger(str(output))
    ledger.check(photos)
    assert ledger.current == {str(photos[0]): 1, str(photos[1]): 1, str(photos[2]): 2}
    assert ledger.statuses[str(photos[1])] == "ok"


@pytest.mark.parametrize(
    "name",
    ["attempts/00000-fit/x.json", "shards/.tmp-00001-f/frames.parquet", "shards/00001/x.glb", "lease/00001.json"],
)
def test_a_file_without_an_owner_is_noticed(output: Path, photos: list[Path], name: str) -> None:
    (output / name).parent.mkdir(parents=True, exist_ok=True)
    (output / name).touch()
    with pytest.raises(AssertionError, match="belong to nothing"):
        read_ledger(str(output)).check(photos)


def test_a_lost_and_an_invented_file_are_noticed(output: Path, photos: list[Path]) -> None:
    for wrong in (photos[:2], [*photos, photos[0].with_name("c.jpg")]):
        with pytest.raises(AssertionError, match="rows without files or files without rows"):
            read_ledger(str(output)).check(wrong)


def test_a_row_too_many_is_noticed(output: Path, photos: list[Path]) -> None:
    write_shard(output / "shards" / "00000", [("b", str(photos[2]), 3), ("b", str(photos[0]), None)])
    with pytest.raises(AssertionError, match="several current rows"):
        read_ledger(str(output)).check(photos)
    write_shard(output / "shards" / "00000", [("b", str(photos[2]), 3), ("b", str(photos[2]), 3)])
    with pytest.raises(AssertionError, match="has rows twice"):
        read_ledger(str(output))
