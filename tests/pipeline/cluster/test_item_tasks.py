import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.errors import ConfigurationError, FingerprintMismatchError, OutputError
from pipeline.cluster.item_tasks import ItemStore, TaskConfig, open_run, run_items, source_checksum
from pipeline.run.record import Fingerprint
from pipeline.stages.stage import StageFailure
from pipeline.storage.store import open_storage


@dataclass(frozen=True)
class Number:
    value: int
    version: str = "1"

    @property
    def item_id(self) -> str:
        return f"number_{self.value}"


@dataclass(frozen=True)
class Square:
    """Squares numbers; negative ones are rejected, 13 breaks, 99 kills its worker."""

    def __call__(self, item: Number, folder: Path) -> dict[str, Any]:
        import os

        if item.value == 13:
            raise RuntimeError("thirteen")
        if item.value == 99:
            os._exit(1)
        (folder / "square.txt").write_text(str(item.value**2))
        status, reason = ("ok", "") if item.value >= 0 else ("rejected", "negative")
        return {"status": status, "reason": reason, "message": "", "square": item.value**2}

    def crashed(self, item: Number, message: str) -> dict[str, Any]:
        return {"status": "failed", "reason": "worker_crash", "message": message}


def fingerprint(code: str = "a") -> Fingerprint:
    return Fingerprint(configuration={"power": 2}, models={}, code=code)


def numbers(*values: int) -> list[Number]:
    return [Number(value) for value in values]


def test_items_become_folders_once_and_rows_keep_their_order(tmp_path: Path) -> None:
    store = open_run(open_storage(tmp_path), None, fingerprint(), {"kind": "test"})
    said: list[str] = []
    rows = run_items(store, numbers(3, -2), Square(), TaskConfig(workers=0), said.append)
    assert [row["square"] for row in rows] == [9, 4]
    assert said == ["1/2 number_3: ok", "2/2 number_-2: rejected negative: "]
    written = (tmp_path / "items" / "number_3" / "square.txt").stat().st_mtime_ns
    again = run_items(store, numbers(5, 3, -2), Square(), TaskConfig(workers=0, chunk=7))
    assert [row["square"] for row in again] == [25, 9, 4]
    assert (tmp_path / "items" / "number_3" / "square.txt").stat().st_mtime_ns == written
    assert json.loads((tmp_path / "run.json").read_text())["kind"] == "test"


def test_an_item_whose_files_changed_is_made_again_and_no_other(tmp_path: Path) -> None:
    store = open_run(open_storage(tmp_path), None, fingerprint(), {})
    run_items(store, numbers(3, 4), Square(), TaskConfig(workers=0))
    kept = (tmp_path / "items" / "number_3" / "square.txt").stat().st_mtime_ns
    made = (tmp_path / "items" / "number_4" / "square.txt").stat().st_mtime_ns
    said: list[str] = []
    rows = run_items(store, [Number(3), Number(4, "2")], Square(), TaskConfig(workers=0), said.append)
    assert [row["square"] for row in rows] == [9, 16]
    assert said[0] == "1 of 2 are made again, as their files changed: number_4"
    assert (tmp_path / "items" / "number_3" / "square.txt").stat().st_mtime_ns == kept
    assert (tmp_path / "items" / "number_4" / "square.txt").stat().st_mtime_ns > made
    assert sorted(path.name for path in (tmp_path / "items").iterdir()) == ["number_3", "number_4"]


def test_the_unexpected_names_its_item_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    store = open_run(open_storage(tmp_path), None, fingerprint(), {})
    with pytest.raises(StageFailure, match="number_13: RuntimeError: thirteen"):
        run_items(store, numbers(1, 13, 2), Square(), TaskConfig(workers=0))
    assert sorted(path.name for path in (tmp_path / "items").iterdir()) == ["number_1"]


def test_leftovers_go_and_other_runs_do_not_mix(tmp_path: Path) -> None:
    store = open_run(open_storage(tmp_path), None, fingerprint(), {})
    run_items(store, numbers(1), Square(), TaskConfig(workers=0))
    (tmp_path / "items" / ".tmp-number_2-00000000").mkdir()
    open_run(open_storage(tmp_path), None, fingerprint(), {})
    assert [path.name for path in (tmp_path / "items").iterdir()] == ["number_1"]
    with pytest.raises(FingerprintMismatchError, match=r"holds 1 items of another run; what differs: code\."):
        open_run(open_storage(tmp_path), None, fingerprint("b"), {})


def test_foreign_folders_and_damaged_items_are_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(OutputError, match=r"holiday\.jpg"):
        open_run(open_storage(tmp_path), None, fingerprint(), {})
    (tmp_path / "items" / "number_1").mkdir(parents=True)
    with pytest.raises(OutputError, match="no readable row"):
        ItemStore(open_storage(tmp_path)).row("number_1")
    with pytest.raises(ConfigurationError, match="workers >= 0"):
        TaskConfig(workers=-1)


def test_the_checksum_follows_the_source() -> None:
    assert source_checksum("ops/geometry/mesh.py") == source_checksum("ops/geometry/mesh.py")
    assert source_checksum("ops/geometry/mesh.py") != source_checksum("ops/geometry/mesh.py", "ops/registration")


@pytest.mark.ray
@pytest.mark.slow
def test_on_ray_a_crash_costs_one_item(local_ray: Any, tmp_path: Path) -> None:
    # Ray's workers must find the classes of this file: pickled by value.
    import sys

    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    store = open_run(open_storage(tmp_path), None, fingerprint(), {})
    rows = run_items(store, numbers(1, 99, 2, -3), Square(), TaskConfig(workers=2, chunk=2))
    with pytest.raises(StageFailure, match="number_13"):
        run_items(store, numbers(13), Square(), TaskConfig(workers=1))
    assert [row["status"] for row in rows] == ["ok", "failed", "ok", "rejected"]
    assert rows[1]["reason"] == "worker_crash"
