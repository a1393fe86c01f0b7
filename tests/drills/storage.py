"""Drills in which the storage fails: a full disk, and an object store that refuses requests."""

import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

from tests.drills.harness import DrillFailure, DrillSkipped, Ground, Run
from tests.drills.object_store import BUCKET, CREDENTIALS, unreliable_store

LOCATION = f"s3://{BUCKET}/out"
DISK_BYTES = 32 << 20
GIVES_UP_WITHIN_S = 240.0


def full_disk(ground: Ground) -> None:
    """No space left on the output's disk in mid-run: a message that names it; with space again, the same command."""
    disk = ground.use(_small_disk(ground.folder / "disk"))
    ground.output = str(disk / "out")
    ground.hazards["fit_delay_s"] = 1.0
    run = ground.start()
    run.wait_for_line("^shard ")
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        _fill(file)
    run.end(expected=1)
    _expect_message(run, ground.output, "No space left on device")
    ballast.unlink()
    ground.start().end()
    ground.expect({})


def refusing_store(ground: Ground) -> None:
    """An object store that refuses every third request."""
    proxy = ground.use(unreliable_store(ground.folder / "requests.log"))
    ground.output, ground.environment = f"{LOCATION}?{proxy.query}", dict(CREDENTIALS)
    proxy.refuse_every = 3
    ground.start().end()
    ground.expect({})
    if proxy.refused < 50:
        raise DrillFailure(f"only {proxy.refused} of {proxy.requests} requests were refused")


def dead_store(ground: Ground) -> None:
    """An object store that refuses everything from mid-run on: a message that names it; later, the same command."""
    proxy = ground.use(unreliable_store(ground.folder / "requests.log"))
    ground.output, ground.environment = f"{LOCATION}?{proxy.query}", dict(CREDENTIALS)
    run = ground.start()
    run.wait_for_line("^shard ")
    proxy.refuse_every = 1
    died = time.monotonic()
    run.end(expected=1)
    if time.monotonic() - died > GIVES_UP_WITHIN_S:
        raise DrillFailure(f"the run ended {time.monotonic() - died:.0f} s after the store")
    _expect_message(run, LOCATION)
    proxy.refuse_every = 0
    ground.start().end()
    ground.expect({})


@contextmanager
def _small_disk(folder: Path) -> Generator[Path]:
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(words, capture_output=True, text=True)
    if mounted.returncode:
        raise DrillSkipped(f"may not mount a tmpfs ({mounted.stderr.strip()}); try it under unshare -rm")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(file: RawIOBase) -> None:
    """Write until nothing more fits."""
    block = bytes(1 << 16)
    while True:
        try:
            file.write(block)
        except OSError:
            if len(block) == 1:
                return
            block = block[: len(block) // 2]


def _expect_message(run: Run, *words: str) -> None:
    """A message for users, not a traceback."""
    text = "".join(run.errors)
    missing = [word for word in words if word not in text]
    if missing or "Traceback" in text:
        raise DrillFailure(f"expected a message that names {', '.join(words)}, got\n{text}")
