"""Whether an output accounts for its input: every item once among the current rows, and no file without an owner."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.store import Storage, open_storage

ALWAYS = {"run.json", "current.parquet"}


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What came out."""

    current: Counter[str]
    """Current rows by uri: of a photo one, of a clip one a frame."""
    statuses: dict[str, str]
    """`status reason` of the last row, by uri."""
    orphans: list[str]

    def check(self, files: Iterable[Path]) -> None:
        """Every file has its rows, and there is nothing else.

        Raises:
            AssertionError: saying what differs.
        """
        wanted = {str(path) for path in files}
        assert set(self.current) == wanted, f"rows without files or files without rows: {set(self.current) ^ wanted}"
        twice = {uri for uri, count in self.current.items() if count > 1 and not uri.endswith(".mp4")}
        assert not twice, f"several current rows of {twice}"
        assert not self.orphans, f"files that belong to nothing: {self.orphans}"


def read_ledger(output: str) -> Ledger:
    """The current rows of an output, and its files."""
    root = open_storage(output)
    current: Counter[str] = Counter()
    statuses: dict[str, str] = {}
    for folder, people in _current(root).items():
        frames = _table(root, f"{folder}/frames.parquet", ["identity_id", "uri", "frame_index", "status", "reason"])
        rows = [row for row in frames.to_pylist() if row["identity_id"] in people]
        keys = Counter((row["uri"], row["frame_index"]) for row in rows)
        assert max(keys.values()) == 1, f"{folder} has rows twice"
        current.update(row["uri"] for row in rows)
        statuses.update({row["uri"]: f"{row['status']} {row['reason']}".strip() for row in rows})
    return Ledger(current=current, statuses=statuses, orphans=_orphans(root))


def _current(root: Storage) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in _table(root, "current.parquet", ["identity_id", "folder"]).to_pylist():
        found.setdefault(row["folder"], set()).add(row["identity_id"])
    return found


def _table(root: Storage, name: str, columns: list[str]) -> pa.Table:
    return pq.read_table(pa.BufferReader(root.read(name)), columns=columns)


def _orphans(root: Storage) -> list[str]:
    """Files outside of what the output promises to hold."""
    names = {entry.name for entry in root.entries(recursive=True) if entry.is_file}
    known = ALWAYS | {name for name in names if name.startswith("report/")}
    known |= set(sorted(name for name in names if name.startswith("lease/"))[-1:])
    for name in names:
        folder, _, last = name.rpartition("/")
        if last == "_SUCCESS.json":
            content: dict[str, Any] = json.loads(root.read(name))
            known |= {name, f"{folder}/_COMMIT.json", *(f"{folder}/{file}" for file in content["files"])}
        if last == "plan.json":
            known |= {name, *(f"{folder}/{file}" for file in ("items.parquet", "identities.parquet", "_COMMIT.json"))}
    return sorted(names - known)
