"""The people of a run as data files for its gallery, one a block of shards.

A run that adds shards rewrites the blocks it changed and holds one of them in memory.

::

    OUT/report/data/people-00003.js    the current people in shards 192 to 255
    OUT/report/data/blocks.json        what each of these files was made from
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from pipeline.run.shards import folder_of
from pipeline.run.summary import label_of
from pipeline.storage.parquet import read_table
from pipeline.storage.store import Storage, in_parallel

DATA = "report/data"
BLOCKS_FILE = f"{DATA}/blocks.json"
BLOCK_SHARDS = 64
FORMAT = 1
"""Changes when the data files do."""
SCORES = ("judge_similarity", "identity_similarity", "landmark_error")
_COLUMNS = ("identity_id", "status", "reason", "n_images", "n_ok", "page_path", *SCORES)


@dataclass
class _Block:
    """Columns of one data file."""

    shards: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in ("id", "page", "shard", "label", "images", "ok", *SCORES)}
    )

    def add(self, shard: int, rows: Iterable[Mapping[str, Any]], superseded: frozenset[str]) -> None:
        """Add the current people of a shard."""
        self.shards.append(shard)
        for row in rows:
            if row["identity_id"] in superseded:
                continue
            label = label_of(row["status"], row["reason"])
            if label not in self.labels:
                self.labels.append(label)
            values = {
                "id": row["identity_id"],
                "page": row["page_path"],
                "shard": len(self.shards) - 1,
                "label": self.labels.index(label),
                "images": row["n_images"],
                "ok": row["n_ok"],
            }
            values |= {name: None if row[name] is None else round(row[name], 4) for name in SCORES}
            for name, value in values.items():
                self.columns[name].append(value)

    def script(self) -> bytes:
        """The data file."""
        folders = [folder_of(shard) for shard in self.shards]
        content = {"folders": folders, "labels": self.labels} | self.columns
        return f"ganfit.people({json.dumps(content, separators=(',', ':'))});\n".encode()


def write_people(
    root: Storage, shards: Sequence[int], superseded: Mapping[int, frozenset[str]]
) -> list[dict[str, Any]]:
    """Bring the data files up to date and list them: name, people and digest of each, in order.

    Args:
        root: the output.
        shards: all that are committed, ascending.
        superseded: shards with rows that are no longer current, and whose.
    """
    known = _read_blocks(root)
    blocks: dict[int, list[int]] = {}
    for shard in shards:
        blocks.setdefault(shard // BLOCK_SHARDS, []).append(shard)
    found: dict[str, dict[str, Any]] = {}
    for number, members in sorted(blocks.items()):
        name = f"people-{number:05d}.js"
        digest = _digest(members, superseded)
        entry = known.get(name)
        if entry is None or entry["digest"] != digest:
            entry = {"name": name, "people": _write_block(root, name, members, superseded), "digest": digest}
        found[name] = entry
    for name in known.keys() - found.keys():
        root.remove(f"{DATA}/{name}")
    if found != known:
        root.write(BLOCKS_FILE, json.dumps({"format": FORMAT, "blocks": list(found.values())}, indent=1).encode())
    return list(found.values())


def _write_block(root: Storage, name: str, shards: Sequence[int], superseded: Mapping[int, frozenset[str]]) -> int:
    block = _Block()
    read = {folder_of(shard): shard for shard in shards}
    tables = in_parallel(lambda folder: read_table(root, f"{folder}/identities.parquet", _COLUMNS).to_pylist(), read)
    for shard, rows in zip(read.values(), tables, strict=True):
        block.add(shard, rows, superseded.get(shard, frozenset()))
    root.write(f"{DATA}/{name}", block.script())
    return len(block.columns["id"])


def _read_blocks(root: Storage) -> dict[str, dict[str, Any]]:
    try:
        content: Any = json.loads(root.read(BLOCKS_FILE))
    except (FileNotFoundError, ValueError):
        return {}
    return {entry["name"]: entry for entry in content["blocks"]} if content.get("format") == FORMAT else {}


def _digest(shards: Sequence[int], superseded: Mapping[int, frozenset[str]]) -> str:
    """Of all that decides the content of a block: committed shards never change."""
    content = [(shard, sorted(superseded.get(shard, ()))) for shard in shards]
    return blake2b(json.dumps(content).encode(), digest_size=8).hexdigest()
