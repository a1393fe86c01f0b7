"""Making the pending shards on Ray, and going on with what is left when machines are lost."""

import dataclasses
import re
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa

from ops.errors import ConfigurationError, OutputError
from pipeline.cluster.session import FITS_PER_PREPARE, ClusterConfig, Pools, check_fits, check_gpu, cluster_pools
from pipeline.run.history import Pace
from pipeline.run.shards import ShardSummary
from pipeline.run.summary import count_ok, duration_text
from pipeline.stages.stage import Placement, Stage, StageFailure, apply_stage
from pipeline.storage.lease import LeaseLostError
from pipeline.tables.metrics import record_waiting
from pipeline.tables.schema import PENDING

WAVE = 4096
"""Shards handed to Ray at a time: the driver's memory does not grow with the input."""
LOOK_S = 5.0
"""How often the cluster is looked at."""
LOSS_S = 60.0
"""Machines that are gone for so long, while no shard is committed, are not waited for any longer."""


class NodesLostError(Exception):
    """Workers wait for machines that do not come back; the message says what is missing."""


def make_shards(
    ray: Any,
    config: ClusterConfig,
    stages: Callable[[Pools], tuple[Stage, Stage]],
    pending: Callable[[], Sequence[int]],
    committed: Callable[[ShardSummary], None],
    pace: Pace,
    say: Callable[[str], None],
    *,
    fits_per_prepare: float = FITS_PER_PREPARE,
) -> None:
    """Make shards until none is pending.

    Args:
        ray: connected.
        config: how wide.
        stages: prepare and commit stages for certain pools.
        pending: the shards that are not committed, asked for again after a loss.
        committed: called with each committed shard.
        pace: kept up to date.
        say: receives the lines of progress.
        fits_per_prepare: see `plan_pools`.

    Raises:
        ConfigurationError: the cluster cannot run one worker of each kind.
        OutputError: the output cannot be written any more.
        StageFailure: something unexpected.
    """
    started = time.monotonic()
    total = len(pending())
    while shards := pending():
        pools = cluster_pools(config, ray, shards=len(shards), fits_per_prepare=fits_per_prepare, say=say)
        check_gpu(ray, pools)
        say(f"{pools.fit.workers} fit workers on {pools.device}, {pools.fit.threads} threads each")
        pace.workers = max(pace.workers, pools.fit.workers)
        pace.hosts = sorted({*pace.hosts, *(node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"])})
        record_waiting(len(shards))
        watch = NodeWatch(resources=ray.cluster_resources, pools=pools, patience_s=max(LOSS_S, config.node_timeout_s))
        try:
            with failures_of_stages(ray), watch:
                for summary in stream_shards(ray, shards, stages(pools), (pools.prepare, pools.fit)):
                    watch.saw(summary)
                    committed(summary)
                    pace.new.append(summary)
                    pace.seconds = time.monotonic() - started
                    record_waiting(total - len(pace.new))
                    say(progress_line(pace.new, total, pace.seconds))
        except NodesLostError as lost:
            say(f"{lost}: going on with the machines that are left")
            config = dataclasses.replace(config, node_timeout_s=max(config.node_timeout_s, LOOK_S))


def stream_shards(
    ray: Any, shards: Sequence[int], stages: Sequence[Stage], placements: Sequence[Placement]
) -> Generator[ShardSummary]:
    """Send shards through stages, from their numbers to their summaries, and give each as soon as it is committed."""
    blocks = (pa.table({"shard": [shard]}, schema=PENDING) for shard in shards)
    for block in stream_blocks(ray, blocks, stages, placements):
        yield from map(ShardSummary.from_json, block.column("summary").to_pylist())


def stream_blocks(
    ray: Any, blocks: Iterable[pa.Table], stages: Sequence[Stage], placements: Sequence[Placement]
) -> Generator[pa.Table]:
    """Send blocks through stages, `WAVE` of them at a time, and give each result as soon as it is there."""
    waiting = iter(blocks)
    while wave := list(islice(waiting, WAVE)):
        dataset = ray.data.from_arrow(wave)
        for stage, placement in zip(stages, placements, strict=True):
            dataset = apply_stage(dataset, stage, placement)
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)


class NodeWatch:
    """Interrupts its block with NodesLostError when workers wait for machines that never return.

    A lost machine's worker is started again elsewhere, and what it was doing waits for that. Where there is no other
    place it would wait for ever, so the work is handed out anew: at most the shards in flight are redone.
    Works in the main thread, by a signal; elsewhere nothing is watched.
    """

    def __init__(self, *, resources: Callable[[], Mapping[str, float]], pools: Pools, patience_s: float) -> None:
        self._resources = resources
        self._pools = pools
        self._patience_s = patience_s
        self._last_commit = time.monotonic()
        self._missing = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="nodes", daemon=True)

    def saw(self, summary: ShardSummary) -> None:
        """A shard was committed: the workers are alive, and shards may take as long as this one."""
        self._last_commit = time.monotonic()
        self._patience_s = max(self._patience_s, 2 * summary.fit_seconds)

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGUSR1, self._interrupt)
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
            signal.signal(signal.SIGUSR1, self._old)

    def _watch(self) -> None:
        gone_since: float | None = None
        while not self._stop.wait(LOOK_S):
            try:
                check_fits((self._pools.prepare, self._pools.fit), self._resources())
                gone_since = None
                continue
            except ConfigurationError as error:
                self._missing = str(error)
            gone_since = gone_since or time.monotonic()
            if time.monotonic() - max(gone_since, self._last_commit) > self._patience_s:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
                return

    def _interrupt(self, number: int, frame: Any) -> None:
        if not self._stop.is_set():
            raise NodesLostError(self._missing)


@contextmanager
def failures_of_stages(ray: Any) -> Generator[None]:
    """Raise a stage's failure in a worker as that failure; Ray's own account of it stays as the cause.

    Raises:
        OutputError: the failure is that the output cannot be written.
        StageFailure: any other.
    """
    try:
        yield
    except ray.exceptions.RayError as error:
        found = re.findall(rf"{StageFailure.__name__}: (.+)", str(error))
        if not found:
            raise
        for kind in (OutputError, LeaseLostError):
            if about_output := re.search(rf"\b{kind.__name__}: (.+)", found[-1]):
                raise kind(about_output[1]) from error
        raise StageFailure(found[-1]) from error


def progress_line(new: Sequence[ShardSummary], total: int, seconds: float) -> str:
    """What is said when a shard is committed."""
    last = new[-1]
    counts = ", ".join(f"{count} {label}" for label, count in last.frames.items())
    faces = sum(count_ok(summary.frames) for summary in new)
    left = seconds / len(new) * (total - len(new))
    return (
        f"shard {last.shard:05d} ({len(new)}/{total}): {counts}; "
        f"{60 * faces / seconds:.2f} faces per minute, {duration_text(left)} left"
    )
