import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.errors import UnreadableInputError
from ops.files.video import sample_video
from pipeline.stages.child_process import ChildCrashError, ChildProcess, ChildTimeoutError


class AwkwardError(Exception):
    """Pickles, and does not unpickle."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def kill_oneself(number: int) -> None:
    os.kill(os.getpid(), number)


def raise_awkwardly() -> None:
    raise AwkwardError("one", "two")


def test_calls_share_one_process_that_is_not_ours() -> None:
    with ChildProcess() as child:
        first, second = child.call(os.getpid, 60), child.call(os.getpid, 60)
    assert first == second != os.getpid()


def test_errors_come_back_as_they_are(tmp_path: Path) -> None:
    with ChildProcess() as child:
        with pytest.raises(UnreadableInputError, match="No such file"):
            child.call(sample_video, 60, tmp_path / "none.mp4", 5)
        with pytest.raises(RuntimeError, match="AwkwardError: one and two"):
            child.call(raise_awkwardly, 60)


def test_a_crash_is_told_and_the_next_call_has_a_new_process() -> None:
    with ChildProcess() as child:
        before = child.call(os.getpid, 60)
        with pytest.raises(ChildCrashError, match="killed by SIGSEGV"):
            child.call(kill_oneself, 60, signal.SIGSEGV)
        with pytest.raises(ChildCrashError, match="exit status 3"):
            child.call(os._exit, 60, 3)
        assert child.call(os.getpid, 60) != before


def test_a_hang_in_native_code_is_ended(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to blocks inside FFmpeg, where no Python code runs any more."""
    os.mkfifo(tmp_path / "pipe.mp4")
    with ChildProcess() as child:
        hung = child.call(os.getpid, 60)
        started = time.monotonic()
        with pytest.raises(ChildTimeoutError, match=r"took longer than 0\.5 s"):
            child.call(sample_video, 0.5, tmp_path / "pipe.mp4", 5)
        assert time.monotonic() - started < 5
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)
        assert child.call(os.getpid, 60) != hung


def test_a_hung_process_dies_with_its_owner() -> None:
    owner = (
        "import os, signal\n"
        "from pipeline.stages.child_process import ChildProcess\n"
        "child = ChildProcess()\n"
        "print(child.call(os.getpid, 60), flush=True)\n"
        "child.call(signal.pause, None)"
    )
    process = subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.communicate()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the child outlives its owner")
