"""Make a data set of people who do not exist, in a benchmark's layout, with the truth beside it.

    python -m jobs.make_synthetic --layout micc --subjects 3 --output synthetic-micc

writes, for every subject, two annotated neutral scans and three videos as MICC Florence has them, and to
synthetic-micc/truth what is true about them. `python -m jobs.micc --data synthetic-micc --output OUT`
reconstructs and measures it. The same command again keeps the subjects that are complete, and adds more where asked to.

Exit status: 0 when done, 1 for bad input, 2 when interrupted (run the same command again to continue).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.errors import GanfitError
from ops.faceworld.shape import faceworld_model
from pipeline.synthetic_micc import SyntheticMiccSettings, write_synthetic_micc

OK, BAD_INPUT, INTERRUPTED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.make_synthetic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--layout", choices=["micc"], default="micc", help="the benchmark to imitate (default: %(default)s)")
    add("--subjects", type=int, default=3, help="number of people (default: %(default)s)")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--seed", type=int, default=1, help="another seed gives other people (default: %(default)s)")
    add("--frames", type=int, default=75, help="frames of every clip (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.subjects < 1 or options.frames < 1 or options.seed < 0:
        parser.error("expected at least one subject, one frame and a seed of 0 or more")
    settings = SyntheticMiccSettings(seed=options.seed, frames=options.frames)
    try:
        write_synthetic_micc(faceworld_model(), options.output, options.subjects, settings, _say)
    except GanfitError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted: what is finished is kept, the same command continues from it", file=sys.stderr)
        return INTERRUPTED
    return OK


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
