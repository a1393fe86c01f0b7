"""Calls in other processes: one where native code may crash or hang without harm to the caller, or many at once."""

import ctypes
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_READY = "ready"
_PARENT_DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of prctl(2)."""


class ChildCrashError(RuntimeError):
    """The process died during a call; the message says of what."""


class ChildTimeoutError(RuntimeError):
    """A call took longer than it was given; its process was killed."""


class ChildProcess:
    """A process that makes one call after the other; started at the first one, and again after a crash.

    It is a fresh interpreter, never a fork, so it may use CUDA and threads. It ends with the process that owns it.
    """

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def call(self, function: Callable[P, R], timeout_s: float | None, *arguments: P.args, **options: P.kwargs) -> R:
        """The result of a call over there; the function, its arguments and its result must be picklable.

        Raises:
            ChildCrashError: the process died.
            ChildTimeoutError: the call took longer than `timeout_s` seconds.
            Exception: whatever the function raises.
        """
        connection = self._connection or self._start()
        try:
            connection.send((function, arguments, options))
            if not connection.poll(timeout_s):
                self.close()
                raise ChildTimeoutError(f"took longer than {timeout_s:g} s")
            raised, result = connection.recv()
        except (EOFError, ConnectionError) as error:
            raise ChildCrashError(self._ending()) from error
        except BaseException:
            # Whatever interrupts the exchange leaves an answer in the pipe that belongs to no later call.
            self.close()
            raise
        if raised:
            raise result
        return result

    def close(self) -> None:
        """Kill the process, if there is one."""
        if self._finalizer:
            self._finalizer()
        self._connection = self._process = self._finalizer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> Connection:
        here, there = Pipe()
        with there:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", f"from {__name__} import serve; serve({there.fileno()})"],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
            )
        self._connection, self._process = here, process
        self._finalizer = weakref.finalize(self, _end, here, process)
        try:
            assert here.recv() == _READY
        except EOFError as error:
            raise RuntimeError(f"a child process could not be started: {self._ending()}") from error
        return here

    def _ending(self) -> str:
        """How the process ended."""
        assert self._process is not None
        status = self._process.wait()
        self.close()
        return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def _end(connection: Connection, process: "subprocess.Popen[bytes]") -> None:
    connection.close()
    process.kill()
    process.wait()


def serve(descriptor: int) -> None:
    """Answer calls from a connection until it is closed: what the process runs."""
    _end_with_parent()
    # A terminal's Ctrl-C reaches the whole group; the owner decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as connection:
        connection.send(_READY)
        while True:
            try:
                _answer(connection)
            except EOFError:
                return


def map_in_processes(function: Callable[[T], R], tasks: Sequence[T], processes: int) -> Iterator[R]:
    """The results of a function, in the order of its tasks, from processes that compute on one thread each.

    They are fresh interpreters that end with the process that asks; a terminal's Ctrl-C ends them without a word.
    A single process is this one. The function, its tasks and its results must be picklable.
    """
    if min(processes, len(tasks)) < 2:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(tasks)), context, initializer=_begin_in_pool) as pool:
        yield from pool.map(function, tasks)


def _begin_in_pool() -> None:
    import torch

    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _answer(connection: Connection) -> None:
    request = connection.recv_bytes()
    try:
        function, arguments, options = pickle.loads(request)  # noqa: S301 - written by the process that started us
        answer = pickle.dumps((False, function(*arguments, **options)))
    except Exception as error:  # noqa: BLE001 - raised again where the call was made
        answer = _pickled_error(error)
    connection.send_bytes(answer)


def _pickled_error(error: Exception) -> bytes:
    try:
        answer = pickle.dumps((True, error))
        pickle.loads(answer)  # noqa: S301 - our own, and not every exception survives it
    except Exception:  # noqa: BLE001 - an exception's own code may raise anything
        return pickle.dumps((True, RuntimeError(f"{type(error).__name__}: {error}")))
    return answer
