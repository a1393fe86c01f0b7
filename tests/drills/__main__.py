"""Break a real run on purpose and see whether it recovers.

    python -m tests.drills --list
    python -m tests.drills NAME [NAME ...]
    python -m tests.drills all --output docs-table

Every drill reconstructs photos of a few people who do not exist, with the embedded models and few iterations, breaks
something on the way, and then compares what came out with what went in: every file has exactly one current row (a clip
one a frame), and the same command once more finds nothing to do and leaves no file behind that belongs to nothing.
`docs-table` replaces the rows of these drills in the table of docs/reliability.md.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.drills.catalogue import DRILLS
from tests.drills.harness import make_album
from tests.drills.table import run_drill, table_text, update_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.drills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="drills, or all")
    parser.add_argument("--list", action="store_true", help="name the drills")
    parser.add_argument("--output", choices=("print", "docs-table"), default="print")
    parser.add_argument("--keep", type=Path, help="a folder to work in, kept for a look afterwards")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{name:22}{drill.__doc__}" for name, drill in DRILLS.items()))
        return 0
    names = list(DRILLS) if options.names == ["all"] else options.names
    if not names or (unknown := sorted(set(names) - set(DRILLS))):
        parser.error(f"expected some of {', '.join(DRILLS)} or all" + (f", got {', '.join(unknown)}" if names else ""))
    with tempfile.TemporaryDirectory(prefix="ganfit-drill-") as scratch:
        folder = options.keep or Path(scratch)
        album = make_album(folder / "album")
        # Each in a process of its own: what the S3 server holds, and Ray's token, last as long as their process.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes:
            rows = [processes.submit(run_drill, name, folder, album).result() for name in names]
    print(table_text(rows))
    if options.output == "docs-table":
        update_table(rows)
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
