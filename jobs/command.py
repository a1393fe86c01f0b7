"""What the commands share: their parser, their exit status, and errors and interruptions in one line each."""

import argparse
import sys
from collections.abc import Callable

from jobs.interruption import INTERRUPTED
from ops.errors import GanfitError

OK, BAD_INPUT = 0, 1
"""Exit status: everything is accounted for; bad input or configuration. See also `INTERRUPTED`."""
PRESET_HELP = (
    "default; paper: the published method to the letter, several times slower; faceworld: for synthetic people alone"
)


def command_parser(name: str, description: str | None, notes: str | None = None) -> argparse.ArgumentParser:
    """The parser of `python -m jobs.NAME`, whose help begins with the module's own words and ends with the notes."""
    return argparse.ArgumentParser(
        prog=f"python -m jobs.{name}",
        description=description,
        epilog=notes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def exit_status(run: Callable[[], int | None]) -> int:
    """Run a command: its own exit status (None is `OK`), or what its error or the user's Ctrl-C stands for."""
    try:
        return run() or OK
    except (GanfitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept, the same command continues from it", file=sys.stderr)
        return INTERRUPTED


def say(line: str) -> None:
    """A line of progress, at once."""
    print(line, flush=True)
