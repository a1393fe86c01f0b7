"""A drill's tools: photos of people who do not exist, runs of the real command line, and the ledger at their end."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import psutil
import pytest

from tests.drills.ledger import Ledger, read_ledger

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
HAZARDS = Path(__file__).parent / "hazards"
PEOPLE, PHOTOS = 5, 2
SETTINGS = ("--models", "embedded", "--layout", "identity-folders", "--shard-size", "2")
SETTINGS += ("--fit.steps", "2", "--fit.render_px", "96")
ONE_CPU_WORKER = ("--num-gpus", "0", "--fit-workers", "1")
PATIENCE_S = 900.0
"""A drill that takes longer to get on has failed."""


class DrillFailure(AssertionError):
    """The run did not do what the drill demands."""


class DrillSkipped(Exception):
    """This machine lacks what the drill needs."""


class Begun(NamedTuple):
    """One beginning of work on a shard, as the hazards report it."""

    pid: int
    work: str


class Run:
    """A driver process and everything it says."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.out: list[str] = []
        self.errors: list[str] = []
        self._readers = [_reader(process.stdout, self.out), _reader(process.stderr, self.errors)]

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """The condition's first true value.

        Raises:
            DrillFailure: the run ended, or too much time passed, before.
        """
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if found := condition():
                return found
            if self.process.poll() is not None:
                status = self.process.returncode
                raise DrillFailure(f"the run ended (exit status {status}) before {what}\n{self.said()}")
            time.sleep(0.02)
        raise DrillFailure(f"{PATIENCE_S:.0f} s passed before {what}\n{self.said()}")

    def wait_for_line(self, pattern: str) -> None:
        """Until a line matches."""
        self.wait_for(lambda: any(re.search(pattern, line) for line in self.out), f"the line {pattern}")

    def end(self, expected: int = 0) -> "Run":
        """Wait for the end and check the exit status.

        Raises:
            DrillFailure: another status, or no end.
        """
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.destroy()
            raise DrillFailure(f"the run did not end within {PATIENCE_S:.0f} s\n{self.said()}") from None
        self._close()
        if status != expected:
            raise DrillFailure(f"expected exit status {expected}, got {status}\n{self.said()}")
        return self

    def destroy(self) -> None:
        """Kill the driver and everything under it."""
        for process in (*descendants(self.process.pid), self.process):
            process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()

    def said(self) -> str:
        """The last lines, for messages."""
        return "".join([*self.out[-15:], *self.errors[-30:]])


@dataclass
class Ground:
    """What one drill works with: a folder of its own with a fresh copy of the photos."""

    folder: Path
    hazards: dict[str, Any] = field(default_factory=dict)
    """What goes wrong; see `hazards/sitecustomize.py`."""
    environment: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = (*SETTINGS, *ONE_CPU_WORKER)
    output: str = ""
    runs: list[Run] = field(default_factory=list)
    _resources: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.output = self.output or str(self.folder / "out")

    @property
    def photos(self) -> Path:
        """The input."""
        return self.folder / "photos"

    def files(self) -> list[Path]:
        """Every photo and clip of the input."""
        return sorted(path for path in self.photos.rglob("*") if path.is_file())

    def process_environment(self) -> dict[str, str]:
        """What the driver and its workers find in their environment."""
        return {
            "DRILL_HAZARDS": json.dumps({"log": str(self._log), **self.hazards}),
            "PYTHONPATH": os.pathsep.join((str(HAZARDS), str(ROOT))),
            "OMP_NUM_THREADS": "1",
            **self.environment,
        }

    def start(self) -> Run:
        """Start the command, the same one each time."""
        command = [sys.executable, "-m", "jobs.reconstruct", "--input", str(self.photos), "--output", self.output]
        process = subprocess.Popen(
            [*command, *self.settings],
            cwd=ROOT,
            env=os.environ | self.process_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.runs.append(Run(process))
        return self.runs[-1]

    def begun(self, kind: str = "") -> list[Begun]:
        """The beginnings so far of work on whole shards whose name ends in `kind`: `prepare` or `fit`."""
        text = self._log.read_text() if self._log.exists() else ""
        found = [Begun(int(pid), work) for pid, work, _ in (line.split(" ") for line in text.splitlines())]
        return [begun for begun in found if re.fullmatch(rf"\d+-\w*{kind}", begun.work)]

    def wait_for_work(self, run: Run, kind: str, count: int) -> Begun:
        """The beginning with that number, counted from 1."""
        found = run.wait_for(lambda: self.begun(kind)[count - 1 : count], f"{kind} number {count}")
        return found[0]

    def repeats(self, kind: str) -> int:
        """Beginnings of shards that had begun before."""
        works = [begun.work for begun in self.begun(kind)]
        return len(works) - len(set(works))

    def ledger(self) -> Ledger:
        """What the output holds now."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return read_ledger(self.output)

    def expect(self, exceptions: Mapping[Path, str]) -> None:
        """All files are ok but the exceptions.

        Raises:
            DrillFailure: they are not.
        """
        found = self.ledger().statuses
        wanted = {str(path): exceptions.get(path, "ok") for path in self.files()}
        different = {uri: found.get(uri) for uri, status in wanted.items() if found.get(uri) != status}
        if different:
            raise DrillFailure(f"expected all ok but {dict(exceptions)}, got {different}")

    def use(self, resource: AbstractContextManager[T]) -> T:
        """Something that is there until the drill is over."""
        return self._resources.enter_context(resource)

    def close(self) -> None:
        """Leave nothing behind but files."""
        for run in self.runs:
            if run.process.poll() is None:
                run.destroy()
        self._resources.close()

    @property
    def _log(self) -> Path:
        return self.folder / "begun.log"


def descendants(pid: int) -> list[psutil.Process]:
    """The living processes under one, its own excluded."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def make_album(folder: Path, people: int = PEOPLE) -> Path:
    """Photos of a few people of the face world, made once."""
    from ops.faceworld.album import AlbumSettings, write_album
    from ops.faceworld.shape import faceworld_model

    settings = AlbumSettings(people=people, photos=PHOTOS, side_px=256, seed=5)
    write_album(faceworld_model(), folder / "input", folder / "truth.safetensors", settings)
    return folder / "input"


def film(photo: Path, clip: Path) -> None:
    """A clip that shows a photo for half a second."""
    import av
    import numpy as np
    from PIL import Image

    with Image.open(photo) as picture:
        image = np.asarray(picture.convert("RGB"))
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())


def _reader(stream: Any, lines: list[str]) -> Thread:
    thread = Thread(target=lambda: lines.extend(stream), daemon=True)
    thread.start()
    return thread
