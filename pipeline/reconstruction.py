"""Reconstructing a dataset: from an input to committed shards, resumable at any point."""

import dataclasses
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ops.errors import OutputError
from ops.weights.bundle import ModelBundle
from pipeline.accounts import take_account
from pipeline.cluster import cluster_pools, ray_session
from pipeline.config import ReconstructConfig
from pipeline.graph import commit_stages, prepare_stages
from pipeline.lease import Fence, lease
from pipeline.listing import Listing
from pipeline.models import model_sizes
from pipeline.planner import Plan, plan_shards
from pipeline.plans import PlanStore, read_plans, remove_half_plans, write_current
from pipeline.report import write_report
from pipeline.run_record import (
    Fingerprint,
    check_continuable,
    code_checksum,
    library_versions,
    read_record,
    write_record,
)
from pipeline.schema import PENDING
from pipeline.shards import ShardStore, ShardSummary
from pipeline.sources import list_input
from pipeline.stage import StageFailure, apply_stage
from pipeline.storage import Storage, open_storage
from pipeline.summary import RunSummary, count_ok

Say = Callable[[str], None]
WAVE = 4096
"""Shards handed to Ray at a time: the driver's memory does not grow with the input."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A checked run, ready to start."""

    config: ReconstructConfig
    bundle: ModelBundle
    store: ShardStore
    plans: PlanStore
    fingerprint: Fingerprint
    committed: dict[int, ShardSummary]
    """Grows as the run proceeds."""


def reconstruct(config: ReconstructConfig, bundle: ModelBundle, say: Say = lambda line: None) -> RunSummary:
    """Reconstruct everything that is not yet in the output.

    Args:
        config: the run.
        bundle: verified models.
        say: receives the lines of progress.

    Raises:
        ConfigurationError: an input, setting or cluster that cannot work.
        OutputError: an output that cannot be used, is in use, or holds shards of another configuration.
        StageFailure: something unexpected, with the stage and the items in the message; committed shards stay.
    """
    root = config.root
    check_folders(config, root)
    listing = list_input(config.input, config.layout)
    with lease(root, config.submission_id, say) as fence:
        store = ShardStore(root, fence)
        committed = store.summaries()
        fingerprint = check_run(config, bundle, root, committed)
        if store.remove_leftovers(committed):
            committed = store.summaries()
        plans = _plan(config, root, fence, listing, say)
        run = _Run(config=config, bundle=bundle, store=store, plans=plans, fingerprint=fingerprint, committed=committed)
        record = _record(run, listing)
        write_record(root, record)
        try:
            pace = _run_pending(run, say)
        finally:
            write_current(root, plans.current(committed))
        return _conclude(run, pace, record, say)


def check_folders(config: ReconstructConfig, root: Storage) -> None:
    """Refuse an output that is not ours before anything is written there, or one that would become input.

    Raises:
        OutputError: it is one of these.
    """
    read_record(root)
    source = open_storage(config.input)
    if source.local is not None and root.local is not None:
        inside = source.local.is_dir() and root.local.resolve().is_relative_to(source.local.resolve())
    else:
        inside = f"{root}/".startswith(f"{source}/")
    if inside:
        raise OutputError(f"expected an output outside the input folder {source}, got {root}")


def check_run(
    config: ReconstructConfig, bundle: ModelBundle, root: Storage, committed: Mapping[int, ShardSummary]
) -> Fingerprint:
    """What decides the content of the shards; the same as for those that are there.

    Raises:
        FingerprintMismatchError: it is not.
    """
    fingerprint = Fingerprint(
        configuration=config.computed(), models=_without_paths(bundle.description()), code=code_checksum()
    )
    check_continuable(root, read_record(root), fingerprint, committed)
    return fingerprint


def plan_new(config: ReconstructConfig, listing: Listing, plans: PlanStore) -> Plan:
    """What the input has that no earlier plan holds.

    Raises:
        ConfigurationError: `config.since` for an input that does not tell when its files were modified.
    """
    return plan_shards(
        listing.items,
        config.plan,
        plans.known() if plans.generations else None,
        first_shard=plans.next_shard,
        since_ns=None if config.since is None else int(config.since.timestamp() * 1e9),
    )


def describe_plan(plan: Plan, plans: PlanStore, listing: Listing) -> str:
    """A line about the input and what is new in it."""
    text = f"{plan.listed} files (layout {listing.layout})"
    text += f"; {listing.skipped} other files skipped" if listing.skipped else ""
    text += f"; {listing.duplicates} duplicate rows skipped" if listing.duplicates else ""
    if plans.generations:
        text += f"; {plan.identities.num_rows} identities are new or have new files"
        text += f"; {plan.removed} files of earlier runs are gone, their results stay" if plan.removed else ""
    return text


def _plan(config: ReconstructConfig, root: Storage, fence: Fence, listing: Listing, say: Say) -> PlanStore:
    """The plans of the output with a new generation for what is new."""
    plans = read_plans(root)
    remove_half_plans(root, fence, plans)
    plan = plan_new(config, listing, plans)
    say(describe_plan(plan, plans, listing))
    if not plan.item_count:
        return plans
    facts = {
        "input": str(open_storage(config.input)),
        "layout": listing.layout,
        "planned": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    plans = plans.add(plan, fence, facts)
    say(f"{plan.item_count} files of {plan.identities.num_rows} identities planned in {plan.shard_count} shards")
    return plans


def _record(run: _Run, listing: Listing) -> dict[str, Any]:
    plans = run.plans
    return {
        "configuration": dataclasses.asdict(run.config),
        "models": run.bundle.description(),
        "versions": library_versions(),
        "input": {
            "layout": listing.layout,
            "items": sum(generation.items for generation in plans.generations[-1:]),
            "identities": plans.newest().num_rows,
            "shards": plans.next_shard,
            "generations": len(plans.generations),
            "skipped_files": listing.skipped,
            "duplicate_rows": listing.duplicates,
        },
        "fingerprint": run.fingerprint.digest(),
        "fingerprint_parts": run.fingerprint.parts(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """How the shards of this run went."""

    new: Sequence[ShardSummary] = ()
    seconds: float = 0.0
    workers: int = 0


def _run_pending(run: _Run, say: Say) -> _Pace:
    """Make every planned shard that is not committed; adds them to `run.committed`."""
    pending = run.plans.pending(run.committed)
    if run.committed:
        say(f"{len(run.committed)} of {run.plans.next_shard} shards are there already")
    if not pending:
        return _Pace()
    sizes = model_sizes(run.bundle)
    new: list[ShardSummary] = []
    with ray_session(run.config.cluster) as ray:
        pools = cluster_pools(run.config.cluster, ray, shards=len(pending), say=say)
        say(f"{pools.fit.workers} fit workers on {pools.device}, {pools.fit.threads} threads each")
        prepare = prepare_stages(run.config, run.bundle)
        commit = commit_stages(run.config, run.bundle, sizes, pools, run.store, run.fingerprint.digest())
        started = time.monotonic()
        for first in range(0, len(pending), WAVE):
            blocks = [pa.table({"shard": [shard]}, schema=PENDING) for shard in pending[first : first + WAVE]]
            dataset = ray.data.from_arrow(blocks)
            dataset = apply_stage(apply_stage(dataset, prepare, pools.prepare), commit, pools.fit)
            with _failures_of_stages(ray):
                for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                    for text in block.column("summary").to_pylist():
                        new.append(ShardSummary.from_json(text))
                        run.committed[new[-1].shard] = new[-1]
                    say(_progress(new, len(pending), time.monotonic() - started))
        seconds = time.monotonic() - started
    return _Pace(new=new, seconds=seconds, workers=pools.fit.workers)


def _conclude(run: _Run, pace: _Pace, record: dict[str, Any], say: Say) -> RunSummary:
    """Count everything, and write the report."""
    account = take_account(run.plans, run.committed)
    summary = RunSummary(
        items=account.items,
        planned_items=account.planned_items,
        identities=account.identities,
        frames=account.frames,
        new_frames_ok=sum(count_ok(summary.frames) for summary in pace.new),
        seconds=pace.seconds,
        fit_seconds=sum(summary.fit_seconds for summary in pace.new),
        fit_workers=pace.workers,
    )
    root = run.store.root
    write_record(root, record | {"summary": summary.to_json()})
    shards = [run.committed[shard] for shard in sorted(run.committed)]
    say(f"report: {write_report(root, summary, shards, record, account.superseded)}")
    return summary


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


def _without_paths(models: dict[str, Any]) -> dict[str, Any]:
    return {
        role: {key: value for key, value in entry.items() if key != "path"} if isinstance(entry, dict) else entry
        for role, entry in models.items()
    }


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
