"""Say how a run stands: progress, failures by reason, rate, time left, and who runs it.

    ganfit status OUT
    ganfit status s3://bucket/out --json

reads the output alone, so it works from any machine that reaches it, while the run goes on and afterwards.

Exit status: 0 when the run is complete, 3 while it runs, 2 when it was stopped (the same command continues it), 1 when
OUT is no output of a reconstruction.
"""

import json
import sys

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser
from pipeline.run.status import COMPLETE, RUNNING, STOPPED, read_status, status_text
from pipeline.storage.store import open_storage

EXIT_STATUS = {COMPLETE: 0, STOPPED: 2, RUNNING: 3}


def _show(options: Namespace) -> int:
    status = read_status(open_storage(options.output))
    print(json.dumps(status.to_json(), indent=2) if options.json else status_text(status))
    return EXIT_STATUS[status.state]


def _declare(parser: CommandParser) -> None:
    parser.add_argument("output", metavar="OUT", help="the output of ganfit reconstruct: a path or a URI")
    parser.add_argument("--json", action="store_true", help="one JSON object")


main = Command("status", __doc__, _declare, _show)

if __name__ == "__main__":
    sys.exit(main())
