"""Reconstructing a dataset: from an input to committed shards, resumable at any point."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ops.errors import OutputError
from ops.weights.bundle import ModelBundle, load_shape
from pipeline.cluster.execution import make_shards
from pipeline.cluster.progress import Show, watching
from pipeline.cluster.session import Pools, default_shard_size, ray_session
from pipeline.gallery.report import ReportContent, write_report
from pipeline.input.listing import Listing
from pipeline.input.planner import Plan, plan_shards
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.graph import commit_stages, prepare_stages
from pipeline.reconstruct.grouping import group_people
from pipeline.run.accounts import take_account
from pipeline.run.attempts import Attempts
from pipeline.run.history import Outcome, Pace, end_run, with_new_run
from pipeline.run.plans import PlanStore, read_plans, remove_half_plans, write_current
from pipeline.run.record import (
    Fingerprint,
    check_continuable,
    code_checksum,
    library_versions,
    read_record,
    write_record,
)
from pipeline.run.shards import MIXED, ShardStore, ShardSummary
from pipeline.run.summary import RunSummary, count_ok
from pipeline.stages.models import model_sizes
from pipeline.stages.stage import Stage
from pipeline.storage.lease import Fence, lease
from pipeline.storage.store import Storage, as_output_errors, open_storage

Say = Callable[[str], None]


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


def reconstruct(
    config: ReconstructConfig,
    bundle: ModelBundle,
    say: Say = lambda line: None,
    show: Show = lambda progress: None,
) -> RunSummary:
    """Reconstruct everything that is not yet in the output.

    Args:
        config: the run.
        bundle: verified models.
        say: receives the lines of progress.
        show: receives how far the run is, once a second, in another thread.

    Raises:
        ConfigurationError: an input, setting or cluster that cannot work.
        OutputError: an output that cannot be used, is in use, or holds shards of another configuration.
        StageFailure: something unexpected, with the stage and the items in the message; committed shards stay.
    """
    config.check_models(bundle)
    root = config.root
    check_folders(config, root)
    listing = config.listing()
    with lease(root, config.submission_id, say) as fence, as_output_errors(root):
        earlier = read_record(root)
        store = ShardStore(root, fence)
        committed = store.summaries()
        fingerprint = check_run(config, bundle, root, committed)
        if store.remove_leftovers(committed):
            committed = store.summaries()
        if listing.layout == "cluster":
            listing = group_people(config, bundle, root, fence, fingerprint.digest(), listing, say, show)
        plans, found = _plan(config, root, fence, listing, say)
        del listing  # of millions of files it is gigabytes, and the run goes on for days
        run = _Run(config=config, bundle=bundle, store=store, plans=plans, fingerprint=fingerprint, committed=committed)
        record = _record(run, found, with_new_run(earlier, config.submission_id, committed))
        pace = Pace()
        outcome: Outcome = "failed"
        write_record(root, record)
        try:
            _make_pending(run, pace, say, show)
            outcome = "complete"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            end_run(record["runs"][-1], outcome, pace)
            if fence.held():
                # In this order: where the record names an outcome, the current rows are those of that run's end.
                write_current(root, plans.current(committed))
                write_record(root, record)
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
        dataclasses.replace(config.plan, shard_size=config.plan.shard_size or default_shard_size(config.cluster)),
        plans.known() if plans.generations else None,
        first_shard=plans.next_shard,
        since_ns=None if config.since is None else int(config.since.timestamp() * 1e9),
    )


def describe_plan(plan: Plan, plans: PlanStore, listing: Listing) -> str:
    """A line about the input and what is new in it."""
    text = f"{plan.listed} files (layout {listing.layout}{f': {listing.person}' if listing.person else ''})"
    skipped = listing.skipped_text()
    text += f"; {skipped}" if skipped else ""
    text += f"; {listing.duplicates} duplicate rows skipped" if listing.duplicates else ""
    if plans.generations:
        text += f"; {plan.identities.num_rows} identities are new or have new files"
        text += f"; {plan.removed} files of earlier runs are gone, their results stay" if plan.removed else ""
    return text


def _plan(
    config: ReconstructConfig, root: Storage, fence: Fence, listing: Listing, say: Say
) -> tuple[PlanStore, dict[str, Any]]:
    """The plans of the output with a new generation for what is new, and what the record says of the input."""
    plans = read_plans(root)
    remove_half_plans(root, fence, plans)
    plan = plan_new(config, listing, plans)
    say(describe_plan(plan, plans, listing))
    found = {
        "layout": listing.layout,
        "items": plan.listed,
        "new_items": plan.item_count,
        "removed_items": plan.removed,
        "skipped_files": sum(listing.skipped.values()),
        "skipped_by_suffix": dict(sorted(listing.skipped.items())),
        "duplicate_rows": listing.duplicates,
    }
    if not plan.item_count:
        return plans, found
    facts = {
        "input": str(open_storage(config.input)),
        "layout": listing.layout,
        "planned": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    plans = plans.add(plan, fence, facts)
    say(f"{plan.item_count} files of {plan.identities.num_rows} identities planned in {plan.shard_count} shards")
    return plans, found


def _record(run: _Run, found: Mapping[str, Any], runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    plans = run.plans
    # Without what the URIs may hold of credentials.
    places = {"input": str(open_storage(run.config.input)), "output": str(run.store.root)}
    return {
        "configuration": dataclasses.asdict(run.config) | places | {"people": _count(run.config.people)},
        "models": run.bundle.description(),
        "versions": library_versions(),
        "input": {
            **found,
            "identities": plans.newest().num_rows,
            "shards": plans.next_shard,
            "generations": len(plans.generations),
        },
        "fingerprint": run.fingerprint.digest(),
        "fingerprint_parts": run.fingerprint.parts(),
        "runs": runs,
    }


def _make_pending(run: _Run, pace: Pace, say: Say, show: Show) -> None:
    """Make every planned shard that is not committed; adds them to `run.committed`."""
    if run.committed:
        say(f"{len(run.committed)} of {run.plans.next_shard} shards are there already")
    if not run.plans.pending(run.committed):
        return
    say("load the models; a texture that is not in the cache yet is painted first")
    sizes = model_sizes(run.bundle)

    def stages(pools: Pools) -> tuple[Stage, Stage]:
        commit = commit_stages(run.config, run.bundle, sizes, pools, run.store, run.fingerprint.digest())
        return prepare_stages(run.config, run.bundle), commit

    images = run.plans.images_of(run.plans.pending(run.committed))
    with ray_session(run.config.cluster) as ray, watching(ray, images, run.store.root, show) as watcher:

        def committed(summary: ShardSummary) -> None:
            run.committed[summary.shard] = summary
            watcher.commit(summary.shard)

        make_shards(
            ray,
            run.config.cluster,
            stages,
            lambda: run.plans.pending(run.committed),
            committed,
            pace=pace,
            say=say,
            fits_per_prepare=run.config.fits_per_prepare,
        )


def _conclude(run: _Run, pace: Pace, record: dict[str, Any], say: Say) -> RunSummary:
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
        judged=run.bundle.judge is not None,
        mixed=dict([pair for shard in sorted(run.committed) for pair in run.committed[shard].mixed.items()][:MIXED]),
        doubtful=dict(
            [pair for shard in sorted(run.committed) for pair in run.committed[shard].doubtful.items()][:MIXED]
        ),
    )
    root = run.store.root
    if summary.complete:
        Attempts(root).clear()
    write_record(root, record | {"summary": summary.to_json()})
    shards = [run.committed[shard] for shard in sorted(run.committed)]
    content = ReportContent(summary=summary, shards=shards, record=record, superseded=account.superseded)
    say(f"report: {write_report(root, content, lambda: load_shape(run.bundle.shape))}")
    return summary


def _count(people: frozenset[str] | None) -> int | None:
    return None if people is None else len(people)


def _without_paths(models: dict[str, Any]) -> dict[str, Any]:
    return {
        role: {key: value for key, value in entry.items() if key != "path"} if isinstance(entry, dict) else entry
        for role, entry in models.items()
    }
