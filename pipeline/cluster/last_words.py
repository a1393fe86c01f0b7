"""A line on standard error when this process is ended without a chance to say anything."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

_FAREWELL = b"."
_WATCH = """
import sys
if not sys.stdin.buffer.read():
    print(sys.argv[1], file=sys.stderr, flush=True)
"""


@contextmanager
def last_words(message: str) -> Generator[None]:
    """Have a small process print the message if this one dies inside the block.

    Ray ends a process at once, from native code, when the machine that heads its cluster is gone. The watching process
    notices by its standard input, which closes without a farewell then.
    """
    command = [sys.executable, "-I", "-S", "-c", _WATCH, message]
    watch = subprocess.Popen(  # noqa: S603 - this interpreter and the text above
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    assert watch.stdin is not None
    try:
        yield
    finally:
        with suppress(BrokenPipeError):
            watch.stdin.write(_FAREWELL)
            watch.stdin.close()
        watch.wait()
