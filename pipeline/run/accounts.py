"""What an output holds: current rows counted, whichever shards they are in."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute

from pipeline.run.plans import PlanStore
from pipeline.run.shards import ShardSummary, folder_of
from pipeline.run.summary import label_of, total
from pipeline.storage.parquet import read_table
from pipeline.storage.store import Storage

pc: Any = pyarrow.compute


@dataclass(frozen=True, kw_only=True)
class Account:
    """Planned and done, counted over the newest plan of every person."""

    planned_items: int
    items: int
    """Of those, in committed shards."""
    identities: Mapping[str, int]
    """Current rows by `status` or `status reason`."""
    frames: Mapping[str, int]
    superseded: Mapping[int, frozenset[str]]
    """Shards with rows that are no longer current, and whose."""


def take_account(plans: PlanStore, committed: Mapping[int, ShardSummary]) -> Account:
    """Count an output's current rows; opens the tables of those shards only that hold superseded ones."""
    newest = plans.newest()
    done = newest.filter(pc.is_in(newest.column("shard"), value_set=pa.array(sorted(committed), pa.int32())))
    old: dict[int, set[str]] = {}
    for row in plans.superseded(committed).to_pylist():
        old.setdefault(row["shard"], set()).add(row["identity_id"])
    summaries = [committed[shard] for shard in sorted(committed)]
    identities, frames = Counter(total(summaries, "identities")), Counter(total(summaries, "frames"))
    for shard, people in old.items():
        identities.subtract(_labels(plans.root, f"{folder_of(shard)}/identities.parquet", people))
        frames.subtract(_labels(plans.root, f"{folder_of(shard)}/frames.parquet", people))
    return Account(
        planned_items=pc.sum(newest.column("items")).as_py() or 0,
        items=pc.sum(done.column("items")).as_py() or 0,
        identities=dict(sorted((+identities).items())),
        frames=dict(sorted((+frames).items())),
        superseded={shard: frozenset(people) for shard, people in old.items()},
    )


def _labels(root: Storage, name: str, people: set[str]) -> Counter[str]:
    rows = read_table(root, name, ["identity_id", "status", "reason"]).to_pylist()
    return Counter(label_of(row["status"], row["reason"]) for row in rows if row["identity_id"] in people)
