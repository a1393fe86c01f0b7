"""Which items belong together: persons, and shards of persons; and what a grown input adds to an earlier plan.

Works on columns, not on objects: ten million images of a million persons are planned in minutes and a few gigabytes.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from ops.errors import ConfigurationError
from pipeline.input.listing import LISTED, stem_of
from pipeline.tables.schema import ITEMS

UInts = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
pc: Any = pyarrow.compute
Bools = npt.NDArray[np.bool_]

PLANNED_ITEMS = pa.schema([pa.field("shard", pa.int32()), *LISTED, pa.field("surplus", pa.bool_())])
"""The items of a plan by shard, those of a person together and by uri."""

PLANNED_IDENTITIES = pa.schema(
    [("identity_id", pa.large_string()), ("shard", pa.int32()), ("items", pa.int32()), ("images", pa.int32())]
)
"""The persons of a plan, in the order of their items; `images` counts those that are used, sampled frames included."""


FrameChoice = Literal["uniform", "best"]
SHARD_SIZE = 16
"""Images of a shard where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """How the input is divided."""

    shard_size: int | None = None
    """Images (sampled frames included) of a shard; a person is never divided, so a shard may have more.
    Default: as many as a GPU fits together, 16 on the CPU."""
    frames: int = 5
    """Frames of every clip that are used."""
    frame_choice: FrameChoice = "uniform"
    """Which ones. uniform: the middle frames of equal parts of the clip. best: six times as many are looked at; sharp
    ones with open eyes and a closed mouth that differ in yaw and time are chosen."""
    max_images: int = 64
    """Images of one person that are used; the rest are rejected as surplus."""
    limit: int | None = None
    """Use the first so many persons only."""

    def __post_init__(self) -> None:
        counts = (self.shard_size, self.frames, self.max_images, self.limit)
        if any(count is not None and count < 1 for count in counts):
            raise ConfigurationError(
                "expected shard_size, frames, max_images and limit of at least 1, got "
                f"{self.shard_size}, {self.frames}, {self.max_images} and {self.limit}"
            )
        if self.frame_choice not in get_args(FrameChoice):
            raise ConfigurationError(
                f"expected a frame_choice out of {', '.join(get_args(FrameChoice))}, got {self.frame_choice!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Known:
    """What earlier plans hold: the newest planned state of every person."""

    identity_ids: pa.Array
    versions: UInts
    """Of every item, see `item_versions`; sorted."""
    item_keys: UInts
    """Of the same items; sorted on their own."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """New shards; the same input, configuration and history give the same plan, in whatever order files are listed."""

    items: pa.Table
    """Of `LISTED`, in the order of the input."""
    order: Ints
    """Positions in `items`, by shard, person and uri."""
    item_shards: npt.NDArray[np.int32]
    surplus: Bools
    """Both in that order."""
    identities: pa.Table
    """Rows of `PLANNED_IDENTITIES`."""
    first_shard: int
    shard_count: int
    listed: int
    """Items of the input within the limit, planned now or earlier."""
    removed: int
    """Items of earlier plans that the input no longer has."""

    @property
    def item_count(self) -> int:
        """Input files planned."""
        return len(self.order)

    @property
    def image_count(self) -> int:
        """Images and frames that are used."""
        return pc.sum(self.identities.column("images")).as_py() or 0

    def rows(self, start: int = 0, stop: int | None = None) -> pa.Table:
        """Some rows of `PLANNED_ITEMS`, in order; only these are copied."""
        chosen = slice(start, stop)
        taken = self.items.take(pa.array(self.order[chosen]))
        taken = taken.append_column("shard", pa.array(self.item_shards[chosen]))
        taken = taken.append_column("surplus", pa.array(self.surplus[chosen]))
        return taken.select(PLANNED_ITEMS.names).cast(PLANNED_ITEMS)


def item_versions(item_keys: UInts, sizes: pa.ChunkedArray, times: pa.ChunkedArray) -> UInts:
    """A number that changes when a file's size or time does; 64 bits, so equal ones are the same version."""
    mixed = item_keys
    for column in (sizes, times):
        values: Any = pc.fill_null(column, -1).to_numpy()
        mixed = _mix(mixed ^ _mix(values.astype(np.int64).view(np.uint64)))
    return mixed


def plan_shards(
    items: pa.Table,
    config: PlanConfig,
    known: Known | None = None,
    *,
    first_shard: int = 0,
    since_ns: int | None = None,
) -> Plan:
    """Persons in the order of their ids, the items of a person by uri, filled into shards one after the other.

    With a history, those persons are planned who have an item that their newest plan lacks (a new file, or one whose
    size or time has changed), with all their items; with `since_ns`, only those with such an item modified after it.

    Args:
        items: rows of `LISTED`.
        config: how they are divided.
        known: what earlier plans hold.
        first_shard: number of the first new shard.
        since_ns: nanoseconds since 1970.

    Raises:
        ConfigurationError: `since_ns` for an input that does not tell when its files were modified.
    """
    persons, names = _persons(items)
    inside = persons < (config.limit or len(names))
    wanted = _wanted(items, persons, names, inside, known, since_ns)
    chosen = np.flatnonzero(wanted[persons])
    order = chosen[_sorted(items, persons, chosen)]
    frames = pc.if_else(pc.equal(items.column("kind"), "video"), config.frames, 1).to_numpy()
    images = frames.astype(np.int64)[order]
    person_of = persons[order]
    starts = np.flatnonzero(np.diff(person_of, prepend=-1))
    counts = np.diff(starts, append=len(order))
    running = np.cumsum(images)
    within = running - np.repeat(running[starts] - images[starts], counts)
    first = np.zeros(len(order), bool)
    first[starts] = True
    surplus = (within > config.max_images) & ~first
    used = np.add.reduceat(np.where(surplus, 0, images), starts) if len(starts) else starts
    shards = first_shard + _filled(used, config.shard_size or SHARD_SIZE)
    identities = pa.table(
        [names.take(pa.array(person_of[starts])), pa.array(shards), pa.array(counts), pa.array(used)],
        names=PLANNED_IDENTITIES.names,
    ).cast(PLANNED_IDENTITIES)
    return Plan(
        items=items,
        order=order,
        item_shards=np.repeat(shards, counts).astype(np.int32),
        surplus=surplus,
        identities=identities,
        first_shard=first_shard,
        shard_count=int(shards[-1]) - first_shard + 1 if len(shards) else 0,
        listed=int(np.count_nonzero(inside)),
        removed=0 if known is None else _missing(known.item_keys, items, inside),
    )


def block_of(rows: pa.Table) -> pa.Table:
    """Rows of `PLANNED_ITEMS` as the first stage takes them."""
    pairs = zip(rows.column("item_id").to_pylist(), rows.column("identity_id").to_pylist(), strict=True)
    columns: dict[str, Any] = {name: rows.column(name) for name in rows.column_names}
    columns["stem"] = pa.array([stem_of(item_id, identity_id) for item_id, identity_id in pairs], pa.string())
    columns["location"] = pc.coalesce(rows.column("location"), rows.column("uri"))
    return pa.table({name: columns[name] for name in ITEMS.names}).cast(ITEMS).combine_chunks()


def _persons(items: pa.Table) -> tuple[Ints, pa.Array]:
    """The person of every item as a number, in the order of the ids; and the ids in that order."""
    encoded = items.column("identity_id").dictionary_encode().unify_dictionaries()
    names: pa.Array = encoded.chunk(0).dictionary
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    by_name = pc.sort_indices(names).to_numpy()
    rank = np.empty(len(by_name), np.int64)
    rank[by_name] = np.arange(len(by_name))
    return rank[codes], names.take(pa.array(by_name))


def _wanted(
    items: pa.Table, persons: Ints, names: pa.Array, inside: Bools, known: Known | None, since_ns: int | None
) -> Bools:
    """Which persons are to be planned."""
    changed = inside
    if known is not None:
        keys = items.column("item_key").to_numpy()
        versions = item_versions(keys, items.column("size_bytes"), items.column("modified_ns"))
        never = pc.is_null(pc.index_in(names, value_set=known.identity_ids)).to_numpy(zero_copy_only=False)
        changed = inside & (~_contains(known.versions, versions) | never[persons])
    if since_ns is not None:
        times = items.column("modified_ns")
        if times.null_count == len(times):
            raise ConfigurationError(
                "--since needs to know when the files were modified: expected a folder, or a manifest with a column "
                "modified"
            )
        newer = pc.fill_null(pc.greater_equal(times, since_ns), False).to_numpy()
        changed = changed & newer
    wanted = np.zeros(len(names), bool)
    wanted[persons[changed]] = True
    return wanted


def _sorted(items: pa.Table, persons: Ints, chosen: Ints) -> Ints:
    """The order of the chosen items by person, uri and id."""
    keys = {"person": pa.array(persons[chosen])}
    for name in ("uri", "item_id"):
        column = items.column(name)
        keys[name] = column if len(chosen) == items.num_rows else column.take(pa.array(chosen))
    return pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys]).to_numpy()


def _filled(used: Ints, shard_size: int) -> Ints:
    """The shard of every person: a new one begins where the next person would overfill it."""
    shards = np.empty(len(used), np.int64)
    shard, size = 0, 0
    for position, images in enumerate(used.tolist()):
        if size and size + images > shard_size:
            shard, size = shard + 1, 0
        shards[position] = shard
        size += images
    return shards


def _missing(known: UInts, items: pa.Table, inside: Bools) -> int:
    keys: Any = items.column("item_key").to_numpy()
    return int(np.count_nonzero(~_contains(np.sort(keys[inside]), known)))


def _contains(ordered: UInts, values: UInts) -> Bools:
    """Which values are among sorted ones."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    places = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return ordered[places] == values


def _mix(values: UInts) -> UInts:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the value."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
