"""One driver at a time for an output, wherever the drivers run.

::

    OUT/lease/00007.json    the seventh driver of this output: who it is, and its last sign of life

A driver takes the output by creating the file of the next number; of several that try, exactly one succeeds (see
`Storage.create`). Only the owner writes to its file: it renews its heartbeat there, and says in it when it is done. The
number is the fencing token: once a higher one exists the driver of a lower one has lost the output, and its workers,
which look before each commit, refuse to commit.

An output whose owner has not given a sign of life for `EXPIRY_S` may be taken over; a driver that ended on this
machine without a word, at once. The clocks of two machines need not agree: whoever sees a heartbeat that looks old
waits for another `WATCH_S` whether it changes.

What is guaranteed: two drivers never both believe for longer than one look that they hold the output, on local disks,
NFS, and stores with conditional puts. A worker that stood still between its look and its commit may still commit what
it had finished, as a whole shard of the same plan: a shard is made by one of the two, never by both (see
`pipeline.run.shards`). On stores without conditional puts the first sentence holds for drivers that do not stand still
for longer than `store.SETTLE_S` while they take the output.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from ops.errors import OutputError
from pipeline.storage.store import Storage

FOLDER = "lease"
HEARTBEAT_S = 10.0
EXPIRY_S = 60.0
"""Without a sign of life for so long, a driver may be replaced."""
WATCH_S = 15.0
"""How long a contender looks whether an old heartbeat really stands still."""


class LeaseHeldError(OutputError):
    """Another driver holds the output; the message names it."""


class LeaseLostError(OutputError):
    """Another driver has taken over the output since; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The content of a lease file."""

    token: int
    host: str
    pid: int
    submission_id: str
    """Of the Ray job, or whatever the user calls the run; may be empty."""
    machine: str
    """Distinguishes machines, boots and containers of equal host names."""
    process_start: str
    """Distinguishes processes that have a number after each other."""
    nonce: str
    started: float
    """Seconds since 1970 by the owner's clock, as `beat`."""
    beat: float
    released: bool = False

    def to_json(self) -> bytes:
        """The content of its file."""
        return json.dumps(asdict(self), indent=2, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is no owner.
        """
        try:
            return cls(**json.loads(data))
        except TypeError as error:
            raise ValueError(str(error)) from error

    def describe(self) -> str:
        """Who it is and when it was last heard of."""
        job = f", submission {self.submission_id}" if self.submission_id else ""
        silence = max(0.0, time.time() - self.beat)
        return f"{self.host}, process {self.pid}{job}, last sign of life {silence:.0f} s ago"


@dataclass(frozen=True, kw_only=True)
class Fence:
    """What a worker carries to know whether its driver still holds the output."""

    root: Storage
    token: int

    def check(self) -> None:
        """Look before a commit.

        Raises:
            LeaseLostError: another driver has taken over.
        """
        if (owner := self._successor()) is not None:
            raise LeaseLostError(f"{self.root} was taken over by {owner.describe()}: this run must not write to it")

    def held(self) -> bool:
        """Whether no other driver has taken over."""
        return self._successor() is None

    def _successor(self) -> Owner | None:
        owner = current_owner(self.root)
        return owner if owner is not None and owner.token > self.token else None


def current_owner(root: Storage) -> Owner | None:
    """The driver that took the output last, whether it still holds it or not.

    Raises:
        OutputError: its file cannot be read.
    """
    problem: Exception | None = None
    for _ in range(3):
        tokens = _tokens(root)
        if not tokens:
            return None
        try:
            return Owner.from_json(root.read(_file(tokens[-1])))
        except (FileNotFoundError, ValueError) as error:  # replaced between listing and reading, or not yet complete
            problem = error
            time.sleep(0.2)
    raise OutputError(f"{root}/{FOLDER} cannot be read ({problem}): delete it if no run is active") from problem


@contextmanager
def lease(root: Storage, submission_id: str = "", say: Callable[[str], None] = lambda line: None) -> Generator[Fence]:
    """Hold the output for this process, with a heartbeat in the background.

    Raises:
        LeaseHeldError: another run holds it.
        OutputError: the output cannot be written.
    """
    try:
        owner = _acquire(root, submission_id, say)
    except LeaseHeldError:
        raise
    except OSError as error:
        detail = error.strerror or error
        raise OutputError(f"expected a folder that can be written as output, got {root}: {detail}") from error
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(root, owner, stop), name="lease", daemon=True)
    heart.start()
    try:
        yield Fence(root=root, token=owner.token)
    finally:
        stop.set()
        heart.join()
        _release(root, owner)


def _acquire(root: Storage, submission_id: str, say: Callable[[str], None]) -> Owner:
    old = current_owner(root)
    if old is not None and not _is_free(root, old, say):
        raise LeaseHeldError(
            f"another run is writing to {root}: {old.describe()}. Wait for it, end it, or choose another output; "
            f"after {EXPIRY_S:.0f} s without a sign of life the output can be taken over"
        )
    now = time.time()
    mine = Owner(
        token=old.token + 1 if old else 1,
        host=socket.gethostname(),
        pid=os.getpid(),
        submission_id=submission_id,
        machine=_machine(),
        process_start=_process_start(os.getpid()) or "",
        nonce=uuid.uuid4().hex,
        started=now,
        beat=now,
    )
    created = root.create(_file(mine.token), mine.to_json())
    found = current_owner(root)
    if not created or found is None or found.token != mine.token or found.nonce != mine.nonce:
        other = found.describe() if found else "a run that ended at once"
        raise LeaseHeldError(f"another run began to write to {root} at the same time: {other}")
    for token in _tokens(root)[:-1]:
        root.remove(_file(token))
    return mine


def _is_free(root: Storage, owner: Owner, say: Callable[[str], None]) -> bool:
    """Whether the output may be taken from an earlier owner."""
    if owner.released or _ended_here(owner):
        return True
    if time.time() - owner.beat < EXPIRY_S:
        return False
    say(f"{root} was left by {owner.describe()}: watching for {WATCH_S:.0f} s")
    deadline = time.monotonic() + WATCH_S
    while time.monotonic() < deadline:
        time.sleep(min(1.0, WATCH_S))
        if current_owner(root) != owner:
            return False
    return True


def _beat(root: Storage, owner: Owner, stop: threading.Event) -> None:
    """Renew the heartbeat until told to stop, or until another driver has taken over."""
    while not stop.wait(HEARTBEAT_S):
        try:
            if _tokens(root)[-1:] != [owner.token]:
                return
            root.write(_file(owner.token), replace(owner, beat=time.time()).to_json())
        except OSError:  # tried again at the next beat; if that lasts, the lease expires as it should
            continue


def _release(root: Storage, owner: Owner) -> None:
    try:
        if _tokens(root)[-1:] == [owner.token]:
            root.write(_file(owner.token), replace(owner, beat=time.time(), released=True).to_json())
    except OSError:  # it expires
        pass


def _tokens(root: Storage) -> list[int]:
    names = (entry.name for entry in root.entries(FOLDER) if entry.is_file)
    return sorted(int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit())


def _file(token: int) -> str:
    return f"{FOLDER}/{token:05d}.json"


def _ended_here(owner: Owner) -> bool:
    """Whether the owner was a process of this machine that has exited."""
    return (
        owner.machine == _machine() and bool(owner.process_start) and _process_start(owner.pid) != owner.process_start
    )


@lru_cache
def _machine() -> str:
    parts: list[Any] = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(os.readlink(path) if path.endswith("/pid") else Path(path).read_text().strip())
        except OSError:
            parts.append(uuid.uuid4().hex)  # unknown: no other process counts as one of this machine
    return " ".join(parts)


def _process_start(pid: int) -> str | None:
    """When a process began, in ticks since the machine was started; None where there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
