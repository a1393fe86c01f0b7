"""The layout `cluster`: a first pass over an unlabelled input that finds out which files show one person."""

import dataclasses
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute

from ops.weights.bundle import ModelBundle
from pipeline.cluster.execution import failures_of_stages, stream_blocks
from pipeline.cluster.progress import Show
from pipeline.cluster.session import ClusterConfig, ray_session
from pipeline.input.listing import Listing
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.graph import face_stages
from pipeline.run.attempts import Attempts
from pipeline.run.groups import (
    check_people,
    face_folders,
    face_keys,
    find_people,
    read_faces,
    read_people,
    write_people,
)
from pipeline.run.progress import Progress
from pipeline.stages.grouping import EmbedItems, StoreFaces, give_up_faces
from pipeline.stages.isolation import Isolating
from pipeline.stages.stage import Fused, Placement
from pipeline.storage.lease import Fence
from pipeline.storage.store import Storage
from pipeline.tables.schema import ITEMS

BLOCK = 64
"""Items of a block: what is committed together, and redone after an interruption."""
SAY_S = 30.0
"""Between two lines about the pass."""
pc: Any = pyarrow.compute


def group_people(
    config: ReconstructConfig,
    bundle: ModelBundle,
    root: Storage,
    fence: Fence,
    fingerprint: str,
    listing: Listing,
    say: Callable[[str], None],
    show: Show,
) -> Listing:
    """The listing with the persons that recognition finds; stores them as `people.parquet`.

    Only files that are new, or have changed, are looked at; blocks of them that were finished are not looked at again.

    Raises:
        FingerprintMismatchError: the output's persons were found with other settings.
    """
    assert bundle.people is not None, "the configuration checks it"
    earlier = check_people(root, read_people(root), fingerprint)
    folders = face_folders(root, fence)
    folders.remove_leftovers(folders.read_all())
    faces, free = read_faces(root, fingerprint)
    keys = face_keys(listing.items)
    missing = [position for position, key in enumerate(keys) if key not in faces]
    if missing:
        say(f"{len(missing)} of {len(keys)} files to be looked at: who is on them?")
        work = grouping_stage(config, bundle, root, StoreFaces(root=root, fence=fence, fingerprint=fingerprint))
        blocks = list(range(0, len(missing), BLOCK))
        tables = (
            items_block(listing.items, keys, missing[start : start + BLOCK], free + n) for n, start in enumerate(blocks)
        )
        _embed(config.cluster, work, tables, len(blocks), len(missing), say, show)
        faces, _ = read_faces(root, fingerprint)
    people = find_people(listing.items, faces, bundle.people.cluster, earlier)
    write_people(root, people, fingerprint)
    grouped = with_people(listing, people)
    shown = sum(faces[key] is not None for key in keys)
    say(f"{shown} of {len(keys)} files show a face; {root}/people.parquet says whose")
    return grouped


def assigned_people(listing: Listing, root: Storage) -> Listing:
    """The listing with the persons that earlier runs found; other files are persons of their own."""
    people = read_people(root)
    if people is None:
        return listing
    pairs = zip(people.column("face_key").to_pylist(), people.column("identity_id").to_pylist(), strict=True)
    person_of = dict(pairs)
    ids = listing.items.column("identity_id").to_pylist()
    names = [person_of.get(key) or own for key, own in zip(face_keys(listing.items), ids, strict=True)]
    return _with_names(listing, names)


def with_people(listing: Listing, people: pa.Table) -> Listing:
    """The listing with the persons of `people`, which has its rows in the same order."""
    return _with_names(listing, people.column("identity_id").to_pylist())


def _with_names(listing: Listing, names: list[str]) -> Listing:
    place = listing.items.schema.get_field_index("identity_id")
    field = listing.items.schema.field(place)
    items = listing.items.set_column(place, field, pa.chunked_array([pa.array(names, field.type)]))
    return dataclasses.replace(listing, items=items)


def items_block(items: pa.Table, keys: list[str], positions: list[int], number: int) -> pa.Table:
    """Some items as the first stage takes them: each a person of its own, called by its face key."""
    rows = items.take(positions)
    names = [keys[position] for position in positions]
    columns: Mapping[str, Any] = {
        "shard": pa.array([number] * len(positions)),
        "item_id": rows.column("item_id"),
        "identity_id": pa.array(names),
        "stem": pa.array(names),
        "uri": rows.column("uri"),
        "location": pc.coalesce(rows.column("location"), rows.column("uri")),
        "kind": rows.column("kind"),
        "surplus": pa.array([False] * len(positions)),
    }
    return pa.table({name: columns[name] for name in ITEMS.names}).cast(ITEMS).combine_chunks()


def grouping_stage(config: ReconstructConfig, bundle: ModelBundle, root: Storage, store: StoreFaces) -> Isolating:
    """From planned items to stored embeddings, in one worker."""
    chain = Fused(stages=(*face_stages(config, bundle), EmbedItems(recognition=bundle.recognition)))
    return Isolating(
        first=chain,
        apart=chain,
        rest=store,
        attempts=Attempts(root),
        name="group",
        unit="item_id",
        give_up=give_up_faces,
    )


def _embed(
    cluster: ClusterConfig,
    work: Isolating,
    blocks: Generator[pa.Table],
    count: int,
    total: int,
    say: Callable[[str], None],
    show: Show,
) -> None:
    """Send blocks through the pass, on all CPUs."""
    with ray_session(cluster) as ray, failures_of_stages(ray):
        wanted = cluster.prepare_workers or cluster.fit_workers or int(ray.cluster_resources().get("CPU", 1))
        workers = max(1, min(wanted, count))
        started = said = time.monotonic()
        done = 0
        for stored in stream_blocks(ray, blocks, (work,), (Placement(workers=workers, cpus=1.0),)):
            done += pc.sum(stored.column("items")).as_py()
            now = time.monotonic()
            progress = Progress(
                done=done, total=total, seconds=now - started, steps={"group": workers}, time=time.time()
            )
            show(progress)
            if now - said >= SAY_S or done == total:
                say(f"who is who: {progress.text()}")
                said = now
