"""Surviving items that kill the process that works on them.

The scheduler repeats a block whose worker died, for ever. So each beginning is counted on disk; a block that was begun
three times and never ended is processed in a child process, person by person, and the persons that kill it item by
item. Items that kill it alone are marked as failed; whoever shares a person or a shard with them goes on without them.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.run.attempts import Attempts
from pipeline.stages.child_process import ChildCrashError, ChildProcess
from pipeline.stages.stage import Stage, StageFailure, run_stage
from pipeline.tables.logs import log_event
from pipeline.tables.metrics import record_repeat

ATTEMPTS = 3
"""Attempts in a worker before a block is processed in a child process."""


class _Loaded(NamedTuple):
    stages: list[Any]
    child: ChildProcess


@dataclass(frozen=True, kw_only=True)
class Isolating:
    """A chain of stages that survives items that kill its process."""

    first: Stage
    """What persons pass independently of each other."""
    apart: Stage
    """What a child process does in its place: the same, and a rehearsal of what else may crash."""
    rest: Stage | None = None
    """What follows for the whole block."""
    attempts: Attempts
    name: str
    """What the work is called in counts and logs."""
    unit: str
    """The column that tells items apart, in what `first` takes and gives."""
    give_up: Callable[[pa.Table, str], pa.Table]
    """The result of `first` for rows that it cannot process, with a message."""

    @property
    def inputs(self) -> pa.Schema:
        """Those of the first stage."""
        return self.first.inputs

    @property
    def outputs(self) -> pa.Schema:
        """Those of the last stage."""
        return self._stages()[-1].outputs

    def load(self) -> _Loaded:
        """What the stages need; the child process starts when there is need."""
        return _Loaded([stage.load() for stage in self._stages()], ChildProcess())

    def __call__(self, loaded: _Loaded, table: pa.Table) -> pa.Table:
        """Process one block, as its history advises."""
        shard = int(table.column("shard")[0].as_py())
        work = f"{shard:05d}-{self.name}"
        attempt = self.attempts.begin(work)
        try:
            if attempt > 1:
                record_repeat(self.name)
                log_event("attempt", shard=shard, stage=self.name, attempt=attempt)
            if attempt <= ATTEMPTS:
                table = run_stage(self.first, loaded.stages[0], table)
            else:
                table = self._person_by_person(loaded.child, work, table)
            return run_stage(self.rest, loaded.stages[1], table) if self.rest else table
        finally:
            self.attempts.end(work)

    def _stages(self) -> list[Stage]:
        return [self.first, self.rest] if self.rest else [self.first]

    def _person_by_person(self, child: ChildProcess, work: str, table: pa.Table) -> pa.Table:
        """The block's result, with those given up that kill the child.

        Raises:
            StageFailure: there are several persons and all of them do, which is no fault of theirs.
        """
        persons = list(_split(table, "identity_id"))
        results = [self._person(child, work, rows) for rows in persons]
        if len(persons) > 1 and not any(result is not None for result in results):
            names = ", ".join(rows.column("identity_id")[0].as_py() for rows in persons)
            raise StageFailure(
                f"{work}: working on any of {names} ends the process. Look for the cause in the machine (memory, "
                "drivers), then run the same command again"
            )
        return pa.concat_tables(
            self._given_up(rows) if result is None else result for result, rows in zip(results, persons, strict=True)
        )

    def _person(self, child: ChildProcess, work: str, rows: pa.Table) -> pa.Table | None:
        """A person's result without the items that kill the child alone; None where nothing is left of it."""
        whole = self._try(child, work, rows)
        if whole is not None:
            return whole
        items = list(_split(rows, self.unit))
        alive = [len(items) > 1 and self._try(child, work, item) is not None for item in items]
        if not any(alive) or all(alive):
            return None
        survivors = pa.concat_tables(item for item, good in zip(items, alive, strict=True) if good)
        together = self._try(child, work, survivors)
        if together is None:
            return None
        fatal = pa.concat_tables(item for item, good in zip(items, alive, strict=True) if not good)
        result = pa.concat_tables([together, self._given_up(fatal)])
        order = _distinct(rows, self.unit)
        positions = [order.index(name) for name in result.column(self.unit).to_pylist()]
        return result.take(np.argsort(positions, kind="stable"))

    def _try(self, child: ChildProcess, work: str, rows: pa.Table) -> pa.Table | None:
        """The result for some rows from the child; None where it dies of them, or this process did time and again."""
        items = _distinct(rows, self.unit)
        trial = trial_name(work, items)
        if self.attempts.begin(trial) > ATTEMPTS:
            return None
        try:
            return child.call(run_in_child, None, pickle.dumps(self.apart), rows)
        except ChildCrashError as error:
            log_event("crash", stage=self.name, items=items, ending=str(error))
            return None
        finally:
            self.attempts.end(trial)

    def _given_up(self, rows: pa.Table) -> pa.Table:
        log_event("worker_crash", stage=self.name, items=_distinct(rows, self.unit))
        return self.give_up(rows, f"working on it ({self.name}) ended the process every time")


def trial_name(work: str, items: Sequence[str]) -> str:
    """What a trial of some items in the child is called in the counts."""
    return f"{work}-{blake2b(repr(list(items)).encode(), digest_size=8).hexdigest()}"


def run_in_child(stage: bytes, table: pa.Table) -> pa.Table:
    """Run a pickled stage on one block: what the child does."""
    return run_stage(*_loaded(stage), table)


@lru_cache(maxsize=1)
def _loaded(pickled: bytes) -> tuple[Stage, Any]:
    stage: Stage = pickle.loads(pickled)  # noqa: S301 - written by the worker that started this process
    return stage, stage.load()


def _distinct(table: pa.Table, column: str) -> list[str]:
    return list(dict.fromkeys(table.column(column).to_pylist()))


def _split(table: pa.Table, column: str) -> Iterator[pa.Table]:
    """The rows of each value of a column, in the order of first appearance."""
    values = table.column(column).to_pylist()
    for wanted in dict.fromkeys(values):
        yield table.filter(pa.array([value == wanted for value in values]))
