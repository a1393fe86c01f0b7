from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.input.listing import Item, table_of
from pipeline.input.names import short_hash
from pipeline.input.planner import PlanConfig, plan_shards
from pipeline.run.accounts import take_account
from pipeline.run.plans import PlanStore, read_plans
from pipeline.run.shards import SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.storage.store import Storage

FACTS = {"input": "", "layout": "", "planned": ""}
Rows = dict[str, list[str]]
"""Reasons of a person's images; empty for an ok one."""


def commit(store: ShardStore, index: int, people: Rows) -> None:
    frames = [(name, "rejected" if reason else "ok", reason) for name, reasons in people.items() for reason in reasons]
    identities = [(name, "ok" if "" in reasons else "rejected", "" if "" in reasons else reasons[0])
                  for name, reasons in people.items()]  # fmt: skip

    def counts(rows: Any) -> dict[str, int]:
        labels = [f"{status} {reason}".strip() for _, status, reason in rows]
        return {label: labels.count(label) for label in labels}

    with store.writing(index) as folder:
        for name, rows in (("frames", frames), ("identities", identities)):
            columns = dict(zip(("identity_id", "status", "reason"), map(list, zip(*rows, strict=True)), strict=True))
            pq.write_table(pa.table(columns), folder / f"{name}.parquet")
        summary = ShardSummary(
            shard=index, fingerprint="f", items=len(frames), identities=counts(identities), frames=counts(frames),
            fit_seconds=1.0,
        )  # fmt: skip
        (folder / SUCCESS_NAME).write_text(summary.to_json())


def plan(plans: PlanStore, photos: dict[str, int]) -> PlanStore:
    items = [
        Item(f"{name}{number}-{int(short_hash(f'{name}{number}'), 16):016x}", name, f"{name}{number}", "", "image")
        for name, count in photos.items()
        for number in range(count)
    ]
    known = plans.known() if plans.generations else None
    found = plan_shards(table_of(items), PlanConfig(shard_size=3), known, first_shard=plans.next_shard)
    return plans.add(found, None, FACTS)


def test_each_person_counts_once(root: Storage, tmp_path: Path) -> None:
    store = ShardStore(root)
    plans = plan(read_plans(root), {"anna": 2, "bob": 1, "cy": 2})
    commit(store, 0, {"anna": ["no_face", "no_face"], "bob": ["low_score"]})
    account = take_account(plans, store.summaries())
    assert (account.planned_items, account.items) == (5, 3)
    assert account.identities == {"rejected low_score": 1, "rejected no_face": 1}
    plans = plan(plans, {"anna": 3, "bob": 1, "cy": 2})
    commit(store, 1, {"cy": ["", ""]})
    commit(store, 2, {"anna": ["", "no_face", "no_face"]})
    account = take_account(plans, store.summaries())
    assert (account.planned_items, account.items) == (6, 6)
    assert account.frames == {"ok": 3, "rejected low_score": 1, "rejected no_face": 2}
    assert account.identities == {"ok": 2, "rejected low_score": 1}
    assert account.superseded == {0: frozenset({"anna"})}
