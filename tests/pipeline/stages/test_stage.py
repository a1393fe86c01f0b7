from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest

from pipeline.stages.stage import Fused, Placement, Stage, StageFailure, apply_stage, naming, run_stage

NUMBERS = pa.schema([("item_id", pa.string()), ("value", pa.int64())])


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """Adds what it loaded, and misbehaves on request."""

    addend: int
    trouble: str = ""

    @property
    def inputs(self) -> pa.Schema:
        return NUMBERS

    @property
    def outputs(self) -> pa.Schema:
        return NUMBERS

    def load(self) -> int:
        return self.addend

    def __call__(self, loaded: int, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        for row in rows:
            with naming(self, row["item_id"]):
                row["value"] += loaded
                if self.trouble == "raise" and row["item_id"] == "b":
                    raise KeyError("surprise")
        if self.trouble == "lose":
            rows.pop()
        if self.trouble == "invent":
            rows.append({"item_id": "z", "value": 0})
        schema = pa.schema([("item_id", pa.string())]) if self.trouble == "narrow" else NUMBERS
        return pa.Table.from_pylist(rows, schema=schema)


def block(*names: str) -> pa.Table:
    return pa.table({"item_id": list(names), "value": [1] * len(names)}, schema=NUMBERS)


def run(stage: Stage, table: pa.Table) -> Any:
    return run_stage(stage, stage.load(), table).to_pydict()


def test_fused_stages_run_one_after_the_other() -> None:
    fused = Fused(stages=(Arithmetic(addend=1), Arithmetic(addend=10)))
    assert run(fused, block("a", "b"))["value"] == [12, 12]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("raise", "Arithmetic on b: KeyError: 'surprise'"),
        ("lose", "lost or made up the items c"),
        ("invent", "lost or made up the items z"),
        ("narrow", "expected columns"),
    ],
)
def test_broken_promises_name_the_stage_and_the_item(trouble: str, words: str) -> None:
    for stage in (Arithmetic(addend=1, trouble=trouble), Fused(stages=(Arithmetic(addend=1, trouble=trouble),))):
        with pytest.raises(StageFailure, match=words):
            run(stage, block("a", "b", "c"))


def test_errors_outside_a_row_name_the_block() -> None:
    class Broken(Arithmetic):
        def __call__(self, loaded: int, table: pa.Table) -> pa.Table:
            raise ValueError("whole block")

    with pytest.raises(StageFailure, match="Broken on a, b: ValueError: whole block"):
        run(Broken(addend=1), block("a", "b"))


@pytest.mark.ray
def test_ray_gives_a_stage_one_block_at_a_time(local_ray: Any) -> None:
    tables = [block(*(f"{number}-{row}" for row in range(number + 1))) for number in range(5)]
    dataset = local_ray.data.from_arrow(tables)
    for addend in (1, 10):
        dataset = apply_stage(dataset, CountRows(addend=addend), Placement(workers=1, cpus=0.25))
    results = [batch.to_pydict() for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow")]
    assert sorted(len(result["value"]) for result in results) == [1, 2, 3, 4, 5]
    assert all(set(result["value"]) == {12 + 1000 * 2 * len(result["value"])} for result in results)


@pytest.mark.ray
def test_blocks_stay_whole_on_gpus_too(local_ray: Any) -> None:
    dataset = local_ray.data.from_arrow([block("a", "b")])
    planned = apply_stage(dataset, Arithmetic(addend=1), Placement(workers=1, cpus=0.25, gpus=1.0))
    assert "StageWorker" in repr(planned)


@dataclass(frozen=True, kw_only=True)
class CountRows(Arithmetic):
    """Adds also a thousand a row of the block."""

    def __call__(self, loaded: int, table: pa.Table) -> pa.Table:
        values = [value + loaded + 1000 * table.num_rows for value in table.column("value").to_pylist()]
        return pa.table({"item_id": table.column("item_id"), "value": values}, schema=NUMBERS)


@pytest.mark.ray
def test_a_failure_in_a_worker_reaches_the_driver_with_its_item(local_ray: Any) -> None:
    dataset = local_ray.data.from_arrow([block("a", "b")])
    dataset = apply_stage(dataset, Arithmetic(addend=1, trouble="raise"), Placement(workers=1, cpus=0.25))
    with pytest.raises(Exception, match="Arithmetic on b: KeyError"):
        dataset.take_all()
