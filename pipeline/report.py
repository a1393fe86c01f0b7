"""OUT/report/index.html: the totals of a run and its contact sheets, in one file that loads nothing from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.schema import Status
from pipeline.shards import ShardStore, ShardSummary, write_atomically
from pipeline.summary import RunSummary

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd }
td + td, th + th { text-align: right } img { max-width: 100% } summary { cursor: pointer }
pre { background: #f5f5f5; padding: 1rem; overflow: auto }
"""


def write_report(root: Path, summary: RunSummary, shards: Sequence[ShardSummary], record: Mapping[str, Any]) -> Path:
    """Write the page and return its path; the sheets stay in the shards and are shown from there."""
    folder = root / "report"
    folder.mkdir(exist_ok=True)
    labels = sorted({*summary.frames, *summary.identities}, key=lambda label: (label.split()[0] != Status.OK, label))
    rows = "".join(
        f"<tr><td>{escape(label)}</td><td>{summary.frames.get(label, 0)}</td>"
        f"<td>{summary.identities.get(label, 0)}</td></tr>"
        for label in labels
    )
    sheets = "".join(_sheet(root, shard) for shard in shards)
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
    path = folder / "index.html"
    write_atomically(path, page)
    return path


def _sheet(root: Path, shard: ShardSummary) -> str:
    source = f"../{ShardStore(root).path(shard.shard).relative_to(root).as_posix()}/contact_sheet.png"
    counts = ", ".join(f"{count} {label}" for label, count in shard.frames.items())
    return (
        f"<h2>Shard {shard.shard:05d}</h2><p>{escape(counts)}</p>"
        f'<img loading="lazy" src="{source}" alt="contact sheet of shard {shard.shard}">'
    )
