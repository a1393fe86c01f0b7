"""OUT/report/index.html: the totals of a run and its contact sheets, in one file that loads nothing from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline.run.shards import ShardSummary, folder_of
from pipeline.run.summary import RunSummary
from pipeline.storage.store import Storage
from pipeline.tables.schema import Status

REPORT_FILE = "report/index.html"
MAX_SHEETS = 200
"""Contact sheets on the page; those of the newest shards."""
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd }
td + td, th + th { text-align: right } img { max-width: 100% } summary { cursor: pointer }
pre { background: #f5f5f5; padding: 1rem; overflow: auto }
"""


def write_report(
    root: Storage,
    summary: RunSummary,
    shards: Sequence[ShardSummary],
    record: Mapping[str, Any],
    superseded: Mapping[int, frozenset[str]],
) -> str:
    """Write the page and return where it is; the sheets stay in the shards and are shown from there.

    Args:
        root: the output.
        summary: its totals.
        shards: all that are committed.
        record: content of run.json.
        superseded: shards with rows that are no longer current, and whose.
    """
    labels = sorted({*summary.frames, *summary.identities}, key=lambda label: (label.split()[0] != Status.OK, label))
    rows = "".join(
        f"<tr><td>{escape(label)}</td><td>{summary.frames.get(label, 0)}</td>"
        f"<td>{summary.identities.get(label, 0)}</td></tr>"
        for label in labels
    )
    shown = [shard for shard in shards if len(superseded.get(shard.shard, ())) < sum(shard.identities.values())]
    sheets = "".join(_sheet(shard, superseded.get(shard.shard, frozenset())) for shard in shown[-MAX_SHEETS:])
    if len(shown) > MAX_SHEETS:
        sheets = f"<p>The contact sheets of the {MAX_SHEETS} newest shards:</p>{sheets}"
    configuration = {name: record.get(name) for name in ("fingerprint", "configuration", "models", "versions")}
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Reconstructions</title>'
        f"<style>{_STYLE}</style><h1>Reconstructions</h1>"
        f"<p>{summary.items} of {summary.planned_items} input files, {sum(summary.identities.values())} identities, "
        f"{len(shards)} shards.</p>"
        f"<table><tr><th>status</th><th>images</th><th>identities</th></tr>{rows}</table>"
        f"<details><summary>configuration</summary><pre>{escape(json.dumps(configuration, indent=2, default=str))}"
        f"</pre></details>{sheets}</html>"
    )
    root.write(REPORT_FILE, page.encode())
    return f"{root}/{REPORT_FILE}"


def _sheet(shard: ShardSummary, superseded: frozenset[str]) -> str:
    source = f"../{folder_of(shard.shard)}/contact_sheet.png"
    counts = ", ".join(f"{count} {label}" for label, count in shard.frames.items())
    people = ", ".join(sorted(superseded))
    remark = f"<p>Superseded by a later shard: {escape(people)}</p>" if people else ""
    return (
        f"<h2>Shard {shard.shard:05d}</h2><p>{escape(counts)}</p>{remark}"
        f'<img loading="lazy" src="{source}" alt="contact sheet of shard {shard.shard}">'
    )
