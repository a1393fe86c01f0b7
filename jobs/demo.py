"""Film people of the built-in face world, reconstruct them, and compare with the truth.

    python -m jobs.demo --output demo

needs no download: the people, the morphable model and the networks ship with this project. The people are filmed and
scanned in the layout of MICC Florence, so this is also the benchmark in miniature. The same command again keeps what is
done, and one with more --subjects adds them. --variants adds a table of reconstructions from landmarks alone and from
one frame.

Exit status: 0 when everything is accounted for, 1 for bad input, 2 when interrupted (run the same command again).
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from jobs.command import BAD_INPUT, OK, command_parser, exit_status, say
from ops.fit.config import Method
from ops.weights.bundle import resolve_bundle
from pipeline.cluster.session import ClusterConfig
from pipeline.studies.demonstration import DATA, DEMO_METHOD, DEMO_STEPS, DemoConfig, demo_fit, demonstrate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("demo", __doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("demo"), help="folder for data and results (default: %(default)s)")
    add("--subjects", type=int, default=3, help="people to film (default: %(default)s)")
    add("--frames", type=int, default=3, help="frames drawn from every clip (default: %(default)s)")
    add("--method", choices=get_args(Method), default=DEMO_METHOD, help="as in jobs.reconstruct (default: %(default)s)")
    add("--steps", type=int, default=DEMO_STEPS, help="iterations of the fit (default: %(default)s)")
    add("--seed", type=int, default=1, help="another seed gives other people (default: %(default)s)")
    add("--variants", action="store_true", help="also from landmarks alone and from one frame")
    add("--num-gpus", type=int, help="GPUs to fit on; default: all there are; 0 fits on the CPU")
    options = parser.parse_args(arguments)
    if min(options.subjects, options.frames) < 1 or min(options.steps, options.seed) < 0:
        parser.error("expected at least one subject and one frame, and steps and a seed of 0 or more")
    return exit_status(lambda: _run(_config(options)))


def _config(options: argparse.Namespace) -> DemoConfig:
    return DemoConfig(
        output=options.output,
        subjects=options.subjects,
        frames=options.frames,
        seed=options.seed,
        variants=options.variants,
        fit=demo_fit(options.method, options.steps),
        cluster=ClusterConfig(num_gpus=options.num_gpus),
    )


def _run(config: DemoConfig) -> int:
    started = time.perf_counter()
    found = demonstrate(config, resolve_bundle("embedded"), say)
    print(f"\n{found.text}\n\n{time.perf_counter() - started:.0f} s. Look at {found.page}")
    print(
        "Next, the benchmark by hand, or your own photos (python -m jobs.assets list names the models they need):\n"
        f"  python -m jobs.micc --data {config.output / DATA} --output OUT --models embedded --preset faceworld\n"
        "  python -m jobs.reconstruct --input PHOTOS --output OUT --models ict"
    )
    return OK if found.complete else BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
