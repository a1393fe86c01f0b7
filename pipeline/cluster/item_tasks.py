"""Many independent items, one Ray task for a few of them: each item becomes a folder with a row, once.

::

    OUT/run.json
    OUT/items/subject_01-frontal1/row.json  ...   complete or absent
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from ops.errors import ConfigurationError, FingerprintMismatchError
from pipeline.cluster.session import ClusterConfig, local_cpus, ray_session
from pipeline.run.record import Fingerprint, library_versions, read_record, write_record
from pipeline.stages.stage import StageFailure, use_threads
from pipeline.storage.folders import CommittedFolders
from pipeline.storage.lease import Fence
from pipeline.storage.store import Storage

ROW_FILE = "row.json"
VERSION = "version"
"""The row's field with `Item.version`."""
MAX_RETRIES = 2
Row = dict[str, Any]
Say = Callable[[str], None]


class Work(Protocol):
    """What is done with one item: a frozen dataclass of settings, sent to the workers.

    Expected failures are rows; whatever is raised ends the run.
    """

    def __call__(self, item: Any, folder: Path) -> Row:
        """Process an item, leave its files in a folder, and give its row."""
        ...

    def crashed(self, item: Any, message: str) -> Row:
        """The row of an item whose worker died again and again."""
        ...


class Item(Protocol):
    """Something with a name."""

    @property
    def item_id(self) -> str:
        """Unique, and fit for a folder's name."""
        ...

    @property
    def version(self) -> str:
        """Of what the item is made from: an item that was made from another version is made again."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """How wide a run is; no part of what it computes."""

    workers: int | None = None
    """Tasks at a time; default: one per CPU. 0 works in this process, without Ray."""
    chunk: int = 1
    """Items a task."""
    address: str | None = None
    """An existing Ray cluster; default: the cluster of RAY_ADDRESS, else one on this machine."""

    def __post_init__(self) -> None:
        if (self.workers or 0) < 0 or self.chunk < 1:
            raise ConfigurationError(
                f"expected workers >= 0 and at least one item a task, got {self.workers}, {self.chunk}"
            )


@dataclass(frozen=True)
class ItemStore:
    """The finished items of one output folder."""

    root: Storage
    fence: Fence | None = None
    """Asked before each commit."""

    @property
    def folders(self) -> CommittedFolders:
        """The items as committed folders."""
        return CommittedFolders(root=self.root, parent="items", marker=ROW_FILE, fence=self.fence)

    def row(self, item_id: str) -> Row | None:
        """The row of a finished item; None where it is not finished.

        Raises:
            OutputError: the item's folder exists without a readable row.
        """
        text = self.folders.finish(item_id)
        try:
            return None if text is None else json.loads(text)
        except ValueError as error:
            raise self.folders.damaged(item_id, error) from error


def source_checksum(*names: str) -> str:
    """sha256 over source files and folders of this project: what decides the numbers of a run."""
    root = Path(__file__).parents[2]
    digest = sha256()
    for name in names:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def checksum_of(*parts: Path | str | None) -> str:
    """sha256 over the contents of files, and over words; None is a file that is missing."""
    digest = sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else repr(part).encode()
        digest.update(sha256(content).digest())
    return digest.hexdigest()


def open_run(root: Storage, fence: Fence | None, fingerprint: Fingerprint, record: Mapping[str, Any]) -> ItemStore:
    """Check that an output folder may be continued, and write its run.json.

    Raises:
        OutputError: the folder holds something else.
        FingerprintMismatchError: it holds items of another configuration.
    """
    old, store = read_record(root), ItemStore(root, fence)
    finished = store.folders.read_all()
    if old is not None and finished:
        before, now = old.get("fingerprint_parts", {}), fingerprint.parts()
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if changed:
            raise FingerprintMismatchError(
                f"{root} holds {len(finished)} items of another run; what differs: {', '.join(changed)}. "
                "Continue it with the old settings, or choose another output"
            )
    store.folders.remove_leftovers(finished)
    extra = {
        "fingerprint": fingerprint.digest(),
        "fingerprint_parts": fingerprint.parts(),
        "versions": library_versions(),
    }
    write_record(root, {**record, **extra})
    return store


def run_items(
    store: ItemStore, items: Sequence[Item], work: Work, config: TaskConfig, say: Say = lambda line: None
) -> list[Row]:
    """Process every unfinished item; returns all rows in the order of the items.

    Items that were made from other versions of their files are made again; items of earlier runs that are no longer
    asked for stay on disk.

    Raises:
        StageFailure: an item met something the work was not built for; finished items stay.
    """
    pending = [item for item in items if (row := store.row(item.item_id)) is None or row[VERSION] != item.version]
    changed = [item.item_id for item in pending if store.row(item.item_id) is not None]
    for item_id in changed:
        store.folders.remove(item_id)
    if changed:
        say(f"{len(changed)} of {len(items)} are made again, as their files changed: {', '.join(changed)}")
    if len(pending) < len(items):
        say(f"{len(items) - len(pending)} of {len(items)} are there already")
    workers = min(local_cpus() if config.workers is None else config.workers, len(pending))
    chunks = [pending[start : start + config.chunk] for start in range(0, len(pending), config.chunk)]
    done = _in_process(store, chunks, work) if workers == 0 else _on_ray(store, chunks, work, config, workers)
    for count, item_id in enumerate(done, start=1):
        row = store.row(item_id)
        assert row is not None
        remark = f" {row['reason']}: {row['message']}" if row["reason"] else ""
        say(f"{count}/{len(pending)} {item_id}: {row['status']}{remark}")
    rows = [store.row(item.item_id) for item in items]
    return [row for row in rows if row is not None]


def process_chunk(store: ItemStore, chunk: Sequence[Item], work: Work) -> list[str]:
    """Process some items in this process; returns their ids."""
    for item in chunk:
        if store.row(item.item_id) is not None:
            continue
        with store.folders.writing(item.item_id) as folder:
            try:
                row = work(item, folder)
            except Exception as error:
                raise StageFailure(f"{item.item_id}: {type(error).__name__}: {error}") from error
            _write_row(folder, item, row)
    return [item.item_id for item in chunk]


def _write_row(folder: Path, item: Item, row: Row) -> None:
    (folder / ROW_FILE).write_text(json.dumps(row | {VERSION: item.version}, allow_nan=False))


def _in_process(store: ItemStore, chunks: Iterable[Sequence[Item]], work: Work) -> Iterator[str]:
    use_threads(1)
    for chunk in chunks:
        yield from process_chunk(store, chunk, work)


def _on_ray(
    store: ItemStore, chunks: Sequence[Sequence[Item]], work: Work, config: TaskConfig, workers: int
) -> Iterator[str]:
    with ray_session(ClusterConfig(address=config.address, num_gpus=0)) as ray:
        options = {"num_cpus": min(1.0, local_cpus() / workers), "max_retries": MAX_RETRIES}
        remote = ray.remote(**options)(_remote_chunk)
        shared = ray.put(work)
        waiting, running = list(reversed(chunks)), {}
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                chunk = waiting.pop()
                running[remote.remote(store, chunk, shared)] = chunk
            ready, _ = ray.wait(list(running), num_returns=1)
            for reference in ready:
                chunk = running.pop(reference)
                try:
                    yield from ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise StageFailure(str(error.cause)) from error
                except ray.exceptions.WorkerCrashedError as error:
                    yield from _after_crash(store, chunk, work, waiting, str(error))


def _remote_chunk(store: ItemStore, chunk: Sequence[Item], work: Work) -> list[str]:
    use_threads(1)
    return process_chunk(store, chunk, work)


def _after_crash(
    store: ItemStore, chunk: Sequence[Item], work: Work, waiting: list[Sequence[Item]], message: str
) -> Iterator[str]:
    """Try the items of a crashed task one by one; a single one that still crashes gets its row."""
    left = [item for item in chunk if store.row(item.item_id) is None]
    yield from (item.item_id for item in chunk if item not in left)
    if len(chunk) > 1:
        waiting.extend([item] for item in left)
        return
    for item in left:
        with store.folders.writing(item.item_id) as folder:
            _write_row(folder, item, work.crashed(item, f"the worker died {MAX_RETRIES + 1} times: {message}"))
        yield item.item_id
