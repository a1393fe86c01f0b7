"""Plans in the output: numbered generations, each of them written once and never changed.

::

    OUT/plans/00000/items.parquet       every planned file, by shard
                    identities.parquet  every planned person, its shard and its numbers of files and images
                    plan.json           written last: what the generation is
    OUT/current.parquet                 which shard holds the current rows of which person

A later run of the same command on a grown input adds a generation, with new shards for the persons that are new or have
new files. Where a person is in several shards, the newest committed one holds its current rows; the older shards stay
as they are.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from ops.errors import OutputError
from pipeline.input.planner import PLANNED_IDENTITIES, PLANNED_ITEMS, Known, Plan, item_versions
from pipeline.run.shards import folder_of
from pipeline.storage.folders import CommittedFolders
from pipeline.storage.lease import Fence, LeaseLostError
from pipeline.storage.parquet import read_table
from pipeline.storage.store import Storage

PLANS, PLAN_NAME = "plans", "plan.json"
CURRENT_FILE = "current.parquet"
ITEMS_FILE, IDENTITIES_FILE = "items.parquet", "identities.parquet"
_ROW_GROUP = 16_384
_SLICE = 1 << 20
pc: Any = pyarrow.compute

CURRENT = pa.schema(
    [
        ("identity_id", pa.large_string()),
        ("shard", pa.int32()),
        ("folder", pa.string()),
        ("generation", pa.int32()),
        ("items", pa.int32()),
    ]
)
"""`current.parquet`: the rows of a person in `identities.parquet` and `frames.parquet` of this folder are its current
ones; rows of the person elsewhere are superseded."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What `plan.json` says."""

    generation: int
    first_shard: int
    shard_count: int
    items: int
    identities: int
    images: int
    """Images and sampled frames that are used."""
    input: str
    layout: str
    planned: str
    """When, as ISO 8601."""

    @property
    def folder(self) -> str:
        """Relative to the output."""
        return f"{PLANS}/{self.generation:05d}"

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The inverse of what is stored.

        Raises:
            ValueError: the text is no generation.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class PlanStore:
    """All generations of an output, as they were when this was made by `read_plans`."""

    root: Storage
    generations: tuple[Generation, ...]

    @property
    def next_shard(self) -> int:
        """The first number that no plan uses."""
        return self.generations[-1].first_shard + self.generations[-1].shard_count if self.generations else 0

    def add(self, plan: Plan, fence: Fence | None, facts: Mapping[str, str]) -> "PlanStore":
        """Store a plan as the next generation; gives the store with it.

        Args:
            plan: made with `first_shard=self.next_shard`.
            fence: of the lease.
            facts: the fields `input`, `layout` and `planned`.

        Raises:
            LeaseLostError: another driver has taken over the output.
        """
        generation = Generation(
            generation=len(self.generations),
            first_shard=plan.first_shard,
            shard_count=plan.shard_count,
            items=plan.item_count,
            identities=plan.identities.num_rows,
            images=plan.image_count,
            **facts,
        )
        with _folders(self.root, fence).writing(f"{generation.generation:05d}") as folder:
            with pq.ParquetWriter(folder / ITEMS_FILE, PLANNED_ITEMS) as writer:
                for start in range(0, plan.item_count, _SLICE):
                    writer.write_table(plan.rows(start, start + _SLICE), row_group_size=_ROW_GROUP)
            pq.write_table(plan.identities, folder / IDENTITIES_FILE)
            text = json.dumps(asdict(generation), indent=2, sort_keys=True)
            (folder / PLAN_NAME).write_text(text)
        if self.root.read(f"{generation.folder}/{PLAN_NAME}") != text.encode():
            raise LeaseLostError(f"{self.root}/{generation.folder} was planned by another run at the same time")
        return PlanStore(self.root, (*self.generations, generation))

    @cached_property
    def identities(self) -> pa.Table:
        """The persons of all generations, oldest first: `PLANNED_IDENTITIES` and `generation`."""
        tables = [
            read_table(self.root, f"{generation.folder}/{IDENTITIES_FILE}", PLANNED_IDENTITIES.names).append_column(
                "generation", pa.array(np.full(generation.identities, generation.generation, np.int32))
            )
            for generation in self.generations
        ]
        schema = PLANNED_IDENTITIES.append(pa.field("generation", pa.int32()))
        return pa.concat_tables([schema.empty_table(), *tables])

    def newest(self) -> pa.Table:
        """The newest plan of every person, whether done or not."""
        return self.identities.filter(pa.array(_last_of_each(self.identities.column("identity_id"))))

    def known(self) -> Known:
        """What a new listing is compared with."""
        newest = _last_of_each(self.identities.column("identity_id"))
        keys: list[npt.NDArray[np.uint64]] = [np.zeros(0, np.uint64)]
        versions = [np.zeros(0, np.uint64)]
        start = 0
        for generation in self.generations:
            stop = start + generation.identities
            counts: Any = self.identities.column("items").slice(start, generation.identities).to_numpy()
            mask = np.repeat(newest[start:stop], counts)
            names = ["item_key", "size_bytes", "modified_ns"]
            items = read_table(self.root, f"{generation.folder}/{ITEMS_FILE}", names)
            item_keys: Any = items.column("item_key").to_numpy()
            versions.append(item_versions(item_keys, items.column("size_bytes"), items.column("modified_ns"))[mask])
            keys.append(item_keys[mask])
            start = stop
        identity_ids = pc.unique(self.identities.column("identity_id"))
        return Known(
            identity_ids=identity_ids,
            versions=np.sort(np.concatenate(versions)),
            item_keys=np.sort(np.concatenate(keys)),
        )

    def pending(self, committed: Iterable[int]) -> list[int]:
        """The planned shards that are not committed, ascending."""
        done = set(committed)
        return [shard for shard in range(self.next_shard) if shard not in done]

    def items_of(self, shards: Iterable[int]) -> tuple[int, int, int]:
        """How many files, persons and images some shards have."""
        chosen = self.identities.filter(pc.is_in(self.identities.column("shard"), pa.array(list(shards), pa.int32())))
        return (
            pc.sum(chosen.column("items")).as_py() or 0,
            chosen.num_rows,
            pc.sum(chosen.column("images")).as_py() or 0,
        )

    def images_of(self, shards: Iterable[int]) -> dict[int, int]:
        """How many images each of some shards has."""
        wanted = pa.array(list(shards), pa.int32())
        chosen = self.identities.filter(pc.is_in(self.identities.column("shard"), value_set=wanted))
        counted = chosen.select(["shard", "images"]).group_by("shard").aggregate([("images", "sum")])
        return dict(zip(counted.column("shard").to_pylist(), counted.column("images_sum").to_pylist(), strict=True))

    def current(self, committed: Iterable[int]) -> pa.Table:
        """Rows of `CURRENT`: the newest committed shard of every person that has one."""
        done = pa.array(sorted(committed), pa.int32())
        rows = self.identities.filter(pc.is_in(self.identities.column("shard"), value_set=done))
        rows = rows.filter(pa.array(_last_of_each(rows.column("identity_id"))))
        folders = pa.array([folder_of(shard) for shard in rows.column("shard").to_pylist()], pa.string())
        return rows.append_column("folder", folders).select(CURRENT.names).cast(CURRENT)

    def superseded(self, committed: Iterable[int]) -> pa.Table:
        """The columns `identity_id` and `shard` of committed rows that are not current."""
        done = pa.array(sorted(committed), pa.int32())
        rows = self.identities.filter(pc.is_in(self.identities.column("shard"), value_set=done))
        old = rows.filter(pa.array(~_last_of_each(rows.column("identity_id"))))
        return old.select(["identity_id", "shard"])


class PlannedShards:
    """Reads the items of single shards out of the stored plans; keeps its files open."""

    def __init__(self, store: PlanStore) -> None:
        self._store = store
        self._firsts = [generation.first_shard for generation in store.generations]
        self._open: dict[int, tuple[pq.ParquetFile, list[tuple[int, int]]]] = {}

    def rows(self, shard: int) -> pa.Table:
        """The rows of `PLANNED_ITEMS` of a shard."""
        file, spans = self._file(bisect_right(self._firsts, shard) - 1)
        groups = [group for group, (low, high) in enumerate(spans) if low <= shard <= high]
        table = self._store.root.patiently(lambda: file.read_row_groups(groups))
        return table.filter(pc.equal(table.column("shard"), shard))

    def _file(self, generation: int) -> tuple[pq.ParquetFile, list[tuple[int, int]]]:
        if generation not in self._open:
            filesystem, base = self._store.root.filesystem()
            path = f"{base}/{self._store.generations[generation].folder}/{ITEMS_FILE}"
            file = self._store.root.patiently(lambda: pq.ParquetFile(filesystem.open_input_file(path)))
            column = file.schema_arrow.get_field_index("shard")
            groups = (file.metadata.row_group(group).column(column) for group in range(file.num_row_groups))
            self._open[generation] = file, [(group.statistics.min, group.statistics.max) for group in groups]
        return self._open[generation]


def read_plans(root: Storage, fence: Fence | None = None) -> PlanStore:
    """The plans of an output.

    Raises:
        OutputError: one of them is damaged or missing.
    """
    folders = _folders(root, fence)
    found = folders.read_all()
    try:
        generations = tuple(Generation.from_json(text) for _, text in sorted(found.items()))
    except ValueError as error:
        raise OutputError(f"{root}/{PLANS} holds a damaged {PLAN_NAME} ({error}): choose another output") from error
    if [generation.generation for generation in generations] != list(range(len(generations))):
        raise OutputError(f"{root}/{PLANS} lacks a generation, found {', '.join(sorted(found))}: choose another output")
    return PlanStore(root, generations)


def remove_half_plans(root: Storage, fence: Fence | None, store: PlanStore) -> None:
    """Finish or delete what killed runs left half written."""
    _folders(root, fence).remove_leftovers(f"{generation.generation:05d}" for generation in store.generations)


def write_current(root: Storage, table: pa.Table) -> None:
    """Replace `current.parquet`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    root.write(CURRENT_FILE, sink.getvalue().to_pybytes())


def read_current(root: Storage) -> pa.Table:
    """The content of `current.parquet`.

    Raises:
        OutputError: there is none.
    """
    try:
        return pq.read_table(pa.BufferReader(root.read(CURRENT_FILE)))
    except (OSError, pa.ArrowException) as error:
        raise OutputError(
            f"{root}/{CURRENT_FILE} cannot be read ({error}): run ganfit reconstruct to its end first"
        ) from error


def _folders(root: Storage, fence: Fence | None) -> CommittedFolders:
    return CommittedFolders(root=root, parent=PLANS, marker=PLAN_NAME, fence=fence)


def _last_of_each(names: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which rows are the last of their name."""
    mask = np.zeros(len(names), bool)
    if len(names):
        encoded = names.dictionary_encode().unify_dictionaries()
        codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
        last = np.zeros(len(encoded.chunk(0).dictionary), np.int64)
        last[codes] = np.arange(len(codes))  # of repeated places, the last assignment stays
        mask[last] = True
    return mask
