import os
import pickle
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.run.attempts import Attempts
from pipeline.stages.child_process import ChildCrashError, ChildProcess
from pipeline.stages.isolation import ATTEMPTS, Isolating, run_in_child, trial_name
from pipeline.stages.stage import StageFailure, run_stage
from pipeline.storage.store import open_storage

ROWS = pa.schema([(name, pa.string()) for name in ("identity_id", "item_id", "result")])
INPUTS = ROWS.append(pa.field("shard", pa.int32()))


@dataclass(frozen=True, kw_only=True)
class Work:
    """Fills in who shared the call, and dies of certain items, alone or together."""

    deadly: tuple[str, ...] = ()
    deadly_together: tuple[str, ...] = ()
    fails: str = ""

    @property
    def inputs(self) -> pa.Schema:
        return INPUTS

    @property
    def outputs(self) -> pa.Schema:
        return ROWS

    def load(self) -> int:
        return os.getpid()

    def __call__(self, loaded: int, table: pa.Table) -> pa.Table:
        items = table.column("item_id").to_pylist()
        assert loaded == os.getpid()
        if set(items) & set(self.deadly) or (self.deadly_together and set(items) >= set(self.deadly_together)):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails in items:
            raise ValueError("no crash")
        rows = [row | {"result": f"with {' '.join(items)}"} for row in table.to_pylist()]
        return pa.Table.from_pylist(rows, schema=ROWS)


def give_up(rows: pa.Table, message: str) -> pa.Table:
    return pa.Table.from_pylist([row | {"result": "given up"} for row in rows.to_pylist()], schema=ROWS)


def isolating(root: Path, **work: Any) -> Isolating:
    stage = Work(**work)
    return Isolating(
        first=stage, apart=stage, attempts=Attempts(open_storage(root)), name="work", unit="item_id", give_up=give_up
    )


def block(*items: str) -> pa.Table:
    """Items named after their persons: a1 is one of a."""
    rows = [{"identity_id": item[0], "item_id": item, "result": None, "shard": 3} for item in items]
    return pa.Table.from_pylist(rows, schema=INPUTS)


def results(table: pa.Table) -> dict[str, str]:
    return dict(zip(table.column("item_id").to_pylist(), table.column("result").to_pylist(), strict=True))


def run_after_crashes(stage: Isolating, root: Path, table: pa.Table) -> dict[str, str]:
    for _ in range(ATTEMPTS):
        Attempts(open_storage(root)).begin("00003-work")
    return results(run_stage(stage, stage.load(), table))


def counts(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "attempts").iterdir())


def test_what_does_not_crash_runs_in_the_worker(tmp_path: Path) -> None:
    stage = isolating(tmp_path)
    result = run_stage(stage, stage.load(), block("a1", "b1"))
    assert result.column("result").to_pylist() == ["with a1 b1"] * 2
    assert counts(tmp_path) == []


def test_the_culprit_is_given_up_and_its_person_goes_on(tmp_path: Path) -> None:
    """As a scheduler goes about it: a block whose worker died is run again, in a new one."""
    stage = pickle.dumps(isolating(tmp_path, deadly=("b2",)))
    table = block("a1", "a2", "b1", "b2", "b3", "c1")
    with ChildProcess() as worker:
        for _ in range(ATTEMPTS):
            with pytest.raises(ChildCrashError):
                worker.call(run_in_child, 60, stage, table)
        found = results(worker.call(run_in_child, 60, stage, table))
    assert list(found) == table.column("item_id").to_pylist()
    assert found == {
        "a1": "with a1 a2",
        "a2": "with a1 a2",
        "b1": "with b1 b3",
        "b2": "given up",
        "b3": "with b1 b3",
        "c1": "with c1",
    }
    assert counts(tmp_path) == []


def test_a_person_deadly_as_a_whole_is_given_up(tmp_path: Path) -> None:
    stage = isolating(tmp_path, deadly_together=("a1", "a2"))
    found = run_after_crashes(stage, tmp_path, block("a1", "a2", "b1"))
    assert found == {"a1": "given up", "a2": "given up", "b1": "with b1"}


def test_what_kills_the_worker_itself_is_given_up_too(tmp_path: Path) -> None:
    """The machine's memory killer may choose the worker instead of its child: then it dies with a trial begun."""
    stage = isolating(tmp_path)
    for item in ("b1", "c1"):
        for _ in range(ATTEMPTS - (item == "c1")):
            Attempts(open_storage(tmp_path)).begin(trial_name("00003-work", [item]))
    found = run_after_crashes(stage, tmp_path, block("a1", "b1", "c1"))
    assert found == {"a1": "with a1", "b1": "given up", "c1": "with c1"}


def test_a_machine_on_which_everything_crashes_is_not_held_against_the_items(tmp_path: Path) -> None:
    stage = isolating(tmp_path, deadly=("a1", "b1"))
    with pytest.raises(StageFailure, match="00003-work: working on any of a, b ends the process"):
        run_after_crashes(stage, tmp_path, block("a1", "b1"))
    only = isolating(tmp_path, deadly=("a1",))
    assert run_after_crashes(only, tmp_path, block("a1")) == {"a1": "given up"}


def test_an_error_is_no_crash(tmp_path: Path) -> None:
    stage = isolating(tmp_path, fails="b1")
    for beginnings in (0, ATTEMPTS):
        for _ in range(beginnings):
            Attempts(open_storage(tmp_path)).begin("00003-work")
        with pytest.raises(StageFailure, match=r"Work on .*b1: ValueError: no crash"):
            run_stage(stage, stage.load(), block("a1", "b1"))
        assert counts(tmp_path) == []
