"""How a run stands: read from its output alone, from anywhere, while it goes on and afterwards."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ops.errors import OutputError
from pipeline.run.accounts import take_account
from pipeline.run.plans import read_plans
from pipeline.run.progress import Progress, read_progress
from pipeline.run.record import read_record
from pipeline.run.shards import ShardStore
from pipeline.run.summary import duration_text, total
from pipeline.storage.lease import EXPIRY_S, Owner, current_owner
from pipeline.storage.store import Storage

RUNNING, COMPLETE, STOPPED = "running", "complete", "stopped"


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run at one moment."""

    output: str
    state: str
    """running, complete, or stopped: the same command continues it."""
    shards: int
    shards_committed: int
    items: int
    """Input files planned, newest plan of every person."""
    items_done: int
    frames: Mapping[str, int]
    """Current images and sampled frames by `status` or `status reason`."""
    identities: Mapping[str, int]
    images_per_minute: float | None
    """Images and frames committed by the latest run, over its time."""
    seconds_left: float | None
    """At that pace; None where nothing is running or nothing was committed yet."""
    owner: str
    """Who holds the output, or held it last: host, process and submission."""
    heartbeat_age_s: float | None
    latest_run: Mapping[str, Any]
    """Its entry in run.json."""
    progress: Progress | None = None
    """Image by image, as the running driver stored it last; None where none runs, or it has not said anything yet."""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"progress": self.progress and self.progress.to_json()}


def read_status(root: Storage) -> RunStatus:
    """The status of an output.

    Raises:
        OutputError: it is no output of a reconstruction, or damaged.
    """
    record = read_record(root)
    if record is None:
        raise OutputError(f"expected the output of a reconstruction, and {root} has no run.json")
    plans, committed, owner = read_plans(root), ShardStore(root).summaries(), current_owner(root)
    account = take_account(plans, committed)
    now = time.time()
    age = None if owner is None else max(0.0, now - owner.beat)
    running = owner is not None and not owner.released and now - owner.beat < EXPIRY_S
    state = RUNNING if running else COMPLETE if len(committed) == plans.next_shard else STOPPED
    latest: dict[str, Any] = (record.get("runs") or [{}])[-1]
    shards = len(committed) - latest.get("shards_before", 0)
    frames = sum(total(committed.values(), "frames").values())
    seconds = _elapsed_s(latest, owner, now if running else None)
    pace = 60 * (frames - latest.get("frames_before", 0)) / seconds if seconds and shards > 0 else None
    left = seconds / shards * (plans.next_shard - len(committed)) if running and seconds and shards > 0 else None
    progress = read_progress(root) if running else None
    if progress is not None and owner is not None and progress.time < owner.started:
        progress = None  # of an earlier run that was killed
    if progress is not None:
        pace, left = progress.per_minute, progress.seconds_left
    return RunStatus(
        output=str(root),
        state=state,
        shards=plans.next_shard,
        shards_committed=len(committed),
        items=account.planned_items,
        items_done=account.items,
        frames=account.frames,
        identities=account.identities,
        images_per_minute=pace,
        seconds_left=left,
        owner=_name(owner),
        heartbeat_age_s=age,
        latest_run=latest,
        progress=progress,
    )


def status_text(status: RunStatus) -> str:
    """For people."""
    share = status.shards_committed / status.shards if status.shards else 1.0
    lines = [
        f"{status.output}: {status.state}",
        f"{status.shards_committed} of {status.shards} shards ({100 * share:.1f} %), "
        f"{status.items_done} of {status.items} input files",
    ]
    if status.progress is not None:
        lines.append(f"this run: {status.progress.text()}")
    elif status.images_per_minute is not None:
        left = "" if status.seconds_left is None else f", {duration_text(status.seconds_left)} left"
        lines.append(f"{status.images_per_minute:.1f} images per minute{left}")
    if status.heartbeat_age_s is not None:
        verb = "held" if status.state == RUNNING else "last held"
        lines.append(f"{verb} by {status.owner}, heartbeat {duration_text(status.heartbeat_age_s)} ago")
    lines.append("")
    lines.append(f"{'':28}{'images':>10}{'people':>10}")
    for label in sorted({*status.frames, *status.identities}):
        lines.append(f"{label:28}{status.frames.get(label, 0):>10}{status.identities.get(label, 0):>10}")
    return "\n".join(lines)


def _elapsed_s(run: Mapping[str, Any], owner: Owner | None, now: float | None) -> float | None:
    """Seconds from the start of a run to its end, its last sign of life, or now."""
    if "started" not in run:
        return None
    finished = run.get("finished")
    last_sign = owner.beat if owner else None
    end = now or (datetime.fromisoformat(finished).timestamp() if finished else last_sign)
    return None if end is None else max(0.0, end - datetime.fromisoformat(run["started"]).timestamp())


def _name(owner: Owner | None) -> str:
    if owner is None:
        return "nobody"
    return f"{owner.host}, process {owner.pid}" + (f", submission {owner.submission_id}" if owner.submission_id else "")
