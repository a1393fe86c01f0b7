"""Which items belong together: persons, and shards of persons."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa

from ops.errors import ConfigurationError
from pipeline.schema import ITEMS
from pipeline.sources import Item


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """How the input is divided."""

    shard_size: int = 16
    """Images (sampled frames included) a shard; a person is never divided, so a shard may have more."""
    frames: int = 5
    """Frames drawn uniformly from every clip."""
    max_images: int = 64
    """Images of one person that are used; the rest are rejected as surplus."""
    limit: int | None = None
    """Use the first so many persons only."""

    def __post_init__(self) -> None:
        if min(self.shard_size, self.frames, self.max_images) < 1 or (self.limit is not None and self.limit < 1):
            raise ConfigurationError(
                "expected shard_size, frames, max_images and limit of at least 1, got "
                f"{self.shard_size}, {self.frames}, {self.max_images} and {self.limit}"
            )


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Some persons with all their items: the unit of work, of a block and of a commit."""

    index: int
    items: tuple[Item, ...]
    surplus: frozenset[str]
    """Ids of the items beyond `PlanConfig.max_images` of their person."""

    def table(self) -> pa.Table:
        """The block handed to the first stage, rows of a person together."""
        columns = {
            "shard": [self.index] * len(self.items),
            "surplus": [item.item_id in self.surplus for item in self.items],
        }
        for name in set(ITEMS.names) - set(columns):
            columns[name] = [getattr(item, name) for item in self.items]
        return pa.table(columns).select(ITEMS.names).cast(ITEMS)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All shards of a run; the same input and configuration give the same plan, in whatever order files are listed."""

    shards: tuple[Shard, ...]
    identity_count: int

    @property
    def item_count(self) -> int:
        """Input files planned."""
        return sum(len(shard.items) for shard in self.shards)

    def digest(self) -> str:
        """sha256 over which item is in which shard."""
        digest = sha256()
        for shard in self.shards:
            for item in shard.items:
                digest.update(f"{shard.index}\0{item.item_id}\0{item.identity_id}\0".encode())
        return digest.hexdigest()


def plan_shards(items: Sequence[Item], config: PlanConfig) -> Plan:
    """Persons in the order of their ids, the items of a person by uri, filled into shards one after the other."""
    persons: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        persons[item.identity_id].append(item)
    shards: list[Shard] = []
    waiting: list[Item] = []
    surplus: set[str] = set()
    size = 0
    chosen = sorted(persons)[: config.limit]
    for identity in chosen:
        ordered = sorted(persons[identity], key=lambda item: (item.uri, item.item_id))
        used = _used(ordered, config)
        images = sum(_image_count(item, config) for item in ordered[:used])
        if waiting and size + images > config.shard_size:
            shards.append(Shard(index=len(shards), items=tuple(waiting), surplus=frozenset(surplus)))
            waiting, surplus, size = [], set(), 0
        waiting.extend(ordered)
        surplus.update(item.item_id for item in ordered[used:])
        size += images
    if waiting:
        shards.append(Shard(index=len(shards), items=tuple(waiting), surplus=frozenset(surplus)))
    return Plan(shards=tuple(shards), identity_count=len(chosen))


def _image_count(item: Item, config: PlanConfig) -> int:
    return config.frames if item.kind == "video" else 1


def _used(ordered: Sequence[Item], config: PlanConfig) -> int:
    """How many of a person's items stay within `max_images`; always at least one."""
    total = 0
    for position, item in enumerate(ordered):
        total += _image_count(item, config)
        if total > config.max_images:
            return max(position, 1)
    return len(ordered)
