"""Reconstructing a dataset: from an input path to committed shards, resumable at any point."""

import dataclasses
import os
import re
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.errors import OutputError
from ops.weights.bundle import ModelBundle
from pipeline.cluster import ClusterConfig, Pools, check_fits, local_cpus, plan_pools, ray_session
from pipeline.config import ReconstructConfig
from pipeline.graph import commit_stages, prepare_stages
from pipeline.models import model_sizes
from pipeline.planner import Plan, Shard, plan_shards
from pipeline.report import write_report
from pipeline.run_record import (
    Fingerprint,
    check_continuable,
    code_checksum,
    library_versions,
    read_record,
    write_record,
)
from pipeline.shards import ShardStore, ShardSummary, locked
from pipeline.sources import Listing, list_input
from pipeline.stage import StageFailure, apply_stage
from pipeline.summary import RunSummary, count_ok, total

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A checked run, ready to start."""

    config: ReconstructConfig
    bundle: ModelBundle
    listing: Listing
    plan: Plan
    fingerprint: Fingerprint
    record: dict[str, Any]

    @property
    def store(self) -> ShardStore:
        return ShardStore(self.config.output)


def reconstruct(config: ReconstructConfig, bundle: ModelBundle, say: Say = lambda line: None) -> RunSummary:
    """Reconstruct everything that is not yet in the output.

    Args:
        config: the run.
        bundle: verified models.
        say: receives the lines of progress.

    Raises:
        ConfigurationError: an input, setting or cluster that cannot work.
        OutputError: an output that cannot be used, or holds shards of another configuration.
        StageFailure: something unexpected, with the stage and the items in the message; committed shards stay.
    """
    _check_folders(config)
    listing = list_input(config.input, config.layout)
    plan = plan_shards(listing.items, config.plan)
    with locked(config.output):
        run = _check(config, bundle, listing, plan)
        say(_describe(run))
        run.store.remove_leftovers()
        done = [summary for shard in plan.shards if (summary := run.store.summary(shard.index))]
        finished = {summary.shard for summary in done}
        pending = [shard for shard in plan.shards if shard.index not in finished]
        if done:
            say(f"{len(done)} of {len(plan.shards)} shards are there already")
        write_record(config.output, run.record)
        summary = _run_pending(run, pending, done, say)
        run.record["summary"] = summary.to_json()
        write_record(config.output, run.record)
        shards = [found for shard in plan.shards if (found := run.store.summary(shard.index))]
        say(f"report: {write_report(config.output, summary, shards, run.record)}")
    return summary


def _check_folders(config: ReconstructConfig) -> None:
    """Refuse an output that is not ours before anything is written there, or one that would become input."""
    read_record(config.output)
    if config.input.is_dir() and config.output.resolve().is_relative_to(config.input.resolve()):
        raise OutputError(f"expected an output outside the input folder {config.input}, got {config.output}")


def _check(config: ReconstructConfig, bundle: ModelBundle, listing: Listing, plan: Plan) -> _Run:
    old = read_record(config.output)
    models = bundle.description()
    fingerprint = Fingerprint(
        configuration=config.computed(),
        models=_without_paths(models),
        code=code_checksum(),
        input=plan.digest(),
    )
    check_continuable(config.output, old, fingerprint)
    record: dict[str, Any] = {
        "configuration": dataclasses.asdict(config),
        "models": models,
        "versions": library_versions(),
        "input": {
            "layout": listing.layout,
            "items": plan.item_count,
            "identities": plan.identity_count,
            "shards": len(plan.shards),
            "skipped_files": listing.skipped,
            "duplicate_rows": listing.duplicates,
        },
        "fingerprint": fingerprint.digest(),
        "fingerprint_parts": fingerprint.parts(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return _Run(config=config, bundle=bundle, listing=listing, plan=plan, fingerprint=fingerprint, record=record)


def _run_pending(run: _Run, pending: Sequence[Shard], done: Sequence[ShardSummary], say: Say) -> RunSummary:
    new: list[ShardSummary] = []
    seconds, workers = 0.0, 0
    if pending:
        sizes = model_sizes(run.bundle)
        with ray_session(run.config.cluster) as ray:
            pools = _pools(run.config.cluster, ray, len(pending))
            workers = pools.fit.workers
            say(f"{workers} fit workers on {pools.device}, {pools.fit.threads} threads each")
            prepare = prepare_stages(run.config, run.bundle)
            commit = commit_stages(run.config, run.bundle, sizes, pools, run.fingerprint.digest())
            dataset = ray.data.from_arrow([shard.table() for shard in pending])
            dataset = apply_stage(apply_stage(dataset, prepare, pools.prepare), commit, pools.fit)
            started = time.monotonic()
            with _failures_of_stages(ray):
                for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                    new.extend(ShardSummary.from_json(text) for text in block.column("summary").to_pylist())
                    say(_progress(new, len(pending), time.monotonic() - started))
            seconds = time.monotonic() - started
    summaries = [*done, *new]
    return RunSummary(
        items=sum(summary.items for summary in summaries),
        planned_items=run.plan.item_count,
        identities=total(summaries, "identities"),
        frames=total(summaries, "frames"),
        new_frames_ok=sum(count_ok(summary.frames) for summary in new),
        seconds=seconds,
        fit_seconds=sum(summary.fit_seconds for summary in new),
        fit_workers=workers,
    )


@contextmanager
def _failures_of_stages(ray: Any) -> Generator[None]:
    """Raise a stage's failure in a worker as that failure; Ray's own account of it stays as the cause."""
    try:
        yield
    except ray.exceptions.RayError as error:
        found = re.findall(rf"{StageFailure.__name__}: (.+)", str(error))
        if not found:
            raise
        raise StageFailure(found[-1]) from error


def _pools(config: ClusterConfig, ray: Any, pending: int) -> Pools:
    resources: dict[str, float] = ray.cluster_resources()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    pools = plan_pools(
        config,
        cpus=resources.get("CPU", float(local_cpus())),
        gpus=int(resources.get("GPU", 0)),
        memory_bytes=memory,
        shards=pending,
    )
    check_fits((pools.prepare, pools.fit), resources)
    return pools


def _without_paths(models: dict[str, Any]) -> dict[str, Any]:
    return {
        role: {key: value for key, value in entry.items() if key != "path"} if isinstance(entry, dict) else entry
        for role, entry in models.items()
    }


def _describe(run: _Run) -> str:
    listing, plan = run.listing, run.plan
    text = (
        f"{plan.item_count} files of {plan.identity_count} identities in {len(plan.shards)} shards "
        f"(layout {listing.layout}, models {run.bundle.name}, fingerprint {run.fingerprint.digest()})"
    )
    text += f"; {listing.skipped} other files skipped" if listing.skipped else ""
    return text + (f"; {listing.duplicates} duplicate rows skipped" if listing.duplicates else "")


def _progress(new: Sequence[ShardSummary], pending: int, seconds: float) -> str:
    last = new[-1]
    counts = ", ".join(f"{count} {label}" for label, count in last.frames.items())
    faces = sum(count_ok(summary.frames) for summary in new)
    left = seconds / len(new) * (pending - len(new))
    return (
        f"shard {last.shard:05d} ({len(new)}/{pending}): {counts}; "
        f"{60 * faces / seconds:.2f} faces a minute, {_duration(left)} left"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
