"""Drills in which processes die: workers, the driver, and those that certain items kill."""

import os
import shutil
import signal
import time

from tests.drills.harness import DrillFailure, Ground, film


def kill_prepare_worker(ground: Ground) -> None:
    """SIGKILL to the worker that reads and detects, in the middle of its second shard."""
    run = ground.start()
    os.kill(ground.wait_for_work(run, "prepare", 2).pid, signal.SIGKILL)
    run.end()
    ground.expect({})


def kill_fit_worker(ground: Ground) -> None:
    """SIGKILL to the worker that fits, in the middle of its second and third shard."""
    ground.hazards["fit_delay_s"] = 1.0
    run = ground.start()
    for count in (2, 4):
        os.kill(ground.wait_for_work(run, "fit", count).pid, signal.SIGKILL)
    run.end()
    ground.expect({})


def kill_driver(ground: Ground) -> None:
    """SIGKILL to the driver after its first commit, then the same command again."""
    ground.hazards["fit_delay_s"] = 1.0
    run = ground.start()
    run.wait_for_line("^shard ")
    run.process.kill()
    run.end(expected=-signal.SIGKILL)
    ground.start().end()
    ground.expect({})


def terminate(ground: Ground) -> None:
    """SIGTERM, as Kubernetes and ray job stop send it: a clean end within 30 s, then the same command again."""
    ground.hazards["fit_delay_s"] = 1.0
    run = ground.start()
    run.wait_for_line("^shard ")
    asked = time.monotonic()
    run.process.terminate()
    run.end(expected=2)
    seconds = time.monotonic() - asked
    if seconds > 30:
        raise DrillFailure(f"the run ended {seconds:.0f} s after SIGTERM")
    if "the same command" not in "".join(run.errors):
        raise DrillFailure(f"nothing says how to continue\n{run.said()}")
    ground.start().end()
    ground.expect({})


def poison_photo(ground: Ground) -> None:
    """A photo whose decoding kills the worker, every time."""
    poison = ground.photos / "person_01" / "photo_1.jpg"
    mark = "kills the decoder"
    poison.write_bytes(poison.read_bytes() + mark.encode())
    ground.hazards["photo_that_kills"] = mark
    ground.start().end()
    ground.expect({poison: "failed worker_crash"})
    _expect_isolation(ground, "prepare")


def poison_fit(ground: Ground) -> None:
    """A photo whose fit kills the worker, every time."""
    poison = ground.photos / "person_02" / "photo_0.jpg"
    ground.hazards["fit_that_kills"] = str(poison)
    ground.start().end()
    ground.expect({poison: "failed worker_crash"})
    _expect_isolation(ground, "fit")


def _expect_isolation(ground: Ground, kind: str) -> None:
    """Three beginnings in workers, the fourth in isolation; every other shard began once."""
    beginnings = [begun.work for begun in ground.begun(kind)]
    counts = sorted(beginnings.count(work) for work in set(beginnings))
    if counts != [1] * (len(counts) - 1) + [4]:
        raise DrillFailure(f"expected one shard begun four times and the others once, got {counts}")


def hung_clip(ground: Ground) -> None:
    """A clip whose decoding never returns, beside one that is fine."""
    good, hangs = (ground.photos / "person_00" / name for name in ("good.mp4", "hangs.mp4"))
    film(ground.photos / "person_00" / "photo_0.jpg", good)
    shutil.copy(good, hangs)
    ground.hazards["clip_that_hangs"] = hangs.name
    ground.settings += ("--clip-timeout-s", "5", "--frames", "1")
    ground.start().end()
    ground.expect({hangs: "failed timeout"})
