"""The runs of one output, as `run.json` lists them under `runs`: when, where, how wide, how they ended."""

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pipeline.run.shards import ShardSummary
from pipeline.run.summary import total

KEPT = 100
"""Runs that are listed; the oldest leave."""
Outcome = Literal["complete", "interrupted", "failed"]


@dataclass(kw_only=True)
class Pace:
    """How the shards of a run go."""

    new: list[ShardSummary] = field(default_factory=list)
    seconds: float = 0.0
    """From the start of the workers on."""
    workers: int = 0
    """Fit workers."""
    hosts: list[str] = field(default_factory=list)
    """Machines of the cluster."""


def with_new_run(
    record: Mapping[str, Any] | None, submission_id: str, committed: Mapping[int, ShardSummary]
) -> list[dict[str, Any]]:
    """The runs of an earlier record and, as the last one, a run that begins now."""
    earlier: Sequence[dict[str, Any]] = (record or {}).get("runs", [])
    entry: dict[str, Any] = {
        "started": _now(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "submission_id": submission_id,
        "shards_before": len(committed),
        "frames_before": sum(total(committed.values(), "frames").values()),
    }
    return [*earlier, entry][-KEPT:]


def end_run(entry: dict[str, Any], outcome: Outcome, pace: Pace) -> None:
    """Add to a run's entry how it went."""
    entry |= {
        "finished": _now(),
        "outcome": outcome,
        "seconds": round(pace.seconds, 3),
        "shards": len(pace.new),
        "fit_seconds": round(sum(summary.fit_seconds for summary in pace.new), 3),
        "fit_workers": pace.workers,
        "hosts": pace.hosts,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
