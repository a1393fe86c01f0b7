"""A stage is a function of a whole block; this is the one place that hands stages to Ray Data.

Every stage is safe to retry, takes and gives tables of a fixed schema, and loses no item: each item id that enters
leaves again, whatever became of it.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from pipeline.tables.logs import log_to_stderr


class Stage(Protocol):
    """A step of the pipeline: a frozen dataclass of settings, sent to the workers."""

    @property
    def inputs(self) -> pa.Schema:
        """The columns it takes."""
        ...

    @property
    def outputs(self) -> pa.Schema:
        """The columns it gives."""
        ...

    def load(self) -> Any:
        """What it needs in memory, such as networks: made once a worker."""
        ...

    def __call__(self, loaded: Any, table: pa.Table) -> pa.Table:
        """Process one block."""
        ...


@dataclass(frozen=True, kw_only=True)
class Fused:
    """Several stages in one worker, one after the other: no copies between processes, one start-up."""

    stages: Sequence[Stage]

    def __post_init__(self) -> None:
        for first, second in zip(self.stages, self.stages[1:], strict=False):
            assert first.outputs.equals(second.inputs), f"{_name(first)} does not give what {_name(second)} takes"

    @property
    def inputs(self) -> pa.Schema:
        """Those of the first."""
        return self.stages[0].inputs

    @property
    def outputs(self) -> pa.Schema:
        """Those of the last."""
        return self.stages[-1].outputs

    def load(self) -> list[Any]:
        """Load all stages."""
        return [stage.load() for stage in self.stages]

    def __call__(self, loaded: list[Any], table: pa.Table) -> pa.Table:
        """Process one block by all stages."""
        for stage, resources in zip(self.stages, loaded, strict=True):
            table = run_stage(stage, resources, table)
        return table


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A pool of workers of fixed size, and what each of them is given."""

    workers: int
    cpus: float
    """Logical CPUs of a worker: what Ray counts."""
    threads: int = 1
    """Threads a worker computes with."""
    gpus: float = 0.0


class StageFailure(RuntimeError):
    """A stage met something it was not built for; the message names the stage and the items."""


def run_stage(stage: Stage, loaded: Any, table: pa.Table) -> pa.Table:
    """Run a stage on one block and check what it promises.

    Raises:
        StageFailure: it raised, changed the schema or lost an item.
    """
    assert table.schema.equals(stage.inputs), f"{_name(stage)}: expected {stage.inputs}, got {table.schema}"
    entered = _item_ids(table)
    try:
        result = stage(loaded, table)
    except StageFailure:
        raise
    except Exception as error:
        items = ", ".join(sorted(entered)[:8]) + (", ..." if len(entered) > 8 else "") or "a shard's number"
        raise StageFailure(f"{_name(stage)} on {items}: {type(error).__name__}: {error}") from error
    if not result.schema.equals(stage.outputs):
        raise StageFailure(f"{_name(stage)}: expected columns {stage.outputs}, got {result.schema}")
    if entered and "item_id" in result.column_names and (lost := entered ^ _item_ids(result)):
        raise StageFailure(f"{_name(stage)} lost or made up the items {', '.join(sorted(lost))}")
    return result


@contextmanager
def naming(stage: Stage, row_id: str) -> Generator[None]:
    """Name the row in whatever unexpected error the block raises."""
    try:
        yield
    except StageFailure:
        raise
    except Exception as error:
        raise StageFailure(f"{_name(stage)} on {row_id}: {type(error).__name__}: {error}") from error


class StageWorker:
    """What Ray Data keeps alive in a worker process: a stage and what it loaded."""

    def __init__(self, stage: Stage, threads: int) -> None:
        log_to_stderr()
        use_threads(threads)
        self.stage = stage
        try:
            self.loaded = stage.load()
        except Exception as error:
            raise StageFailure(f"{_name(stage)} could not be loaded: {type(error).__name__}: {error}") from error

    def __call__(self, table: pa.Table) -> pa.Table:
        """Process one block."""
        # Ray hands over blocks that lost field-level metadata or gained chunks; the columns are what counts.
        return run_stage(self.stage, self.loaded, table.select(self.stage.inputs.names).cast(self.stage.inputs))


def apply_stage(dataset: Any, stage: Stage, placement: Placement) -> Any:
    """The Ray dataset with a stage mapped over its blocks by a fixed pool of workers."""
    import ray.data

    worker: Callable[..., Any] = StageWorker
    # map_batches itself refuses whole blocks as batches on GPUs.
    return dataset.map_batches_internal(
        worker,
        fn_constructor_args=(stage, placement.threads),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=placement.workers),
        num_cpus=placement.cpus,
        num_gpus=placement.gpus or None,
    )


def use_threads(count: int) -> None:
    """Limit the numerical libraries of this process to so many threads."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(count)
    import cv2
    import torch

    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def _item_ids(table: pa.Table) -> set[str]:
    return set(table.column("item_id").to_pylist()) if "item_id" in table.column_names else set()


def _name(stage: Stage) -> str:
    return type(stage).__name__
