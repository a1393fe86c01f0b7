"""Film people of the built-in face world, reconstruct them, and compare with the truth.

    ganfit demo --output demo

needs no download: the people, the morphable model and the networks ship with this project. The people are filmed and
scanned in the layout of MICC Florence, so this is also the benchmark in miniature. The same command again keeps what is
done, and one with more --subjects adds them. --variants adds a table of reconstructions from landmarks alone and from
one frame.

Exit status: 0 when everything is accounted for, 1 for bad input, 2 when interrupted (run the same command again).
"""

import sys
import time
from pathlib import Path
from typing import get_args

from jsonargparse import Namespace

from jobs.cli.command import BAD_INPUT, OK, Command, CommandParser
from jobs.cli.console import Console
from ops.errors import ConfigurationError
from ops.fit.config import Method
from ops.weights.bundle import resolve_bundle
from pipeline.cluster.session import ClusterConfig
from pipeline.studies.demonstration import DATA, DEMO_METHOD, DEMO_STEPS, DemoConfig, demo_fit, demonstrate


def _config(options: Namespace) -> DemoConfig:
    if min(options.subjects, options.frames) < 1 or min(options.steps, options.seed) < 0:
        raise ConfigurationError("expected at least one subject and one frame, and steps and a seed of 0 or more")
    return DemoConfig(
        output=options.output,
        subjects=options.subjects,
        frames=options.frames,
        seed=options.seed,
        variants=options.variants,
        fit=demo_fit(options.method, options.steps),
        cluster=ClusterConfig(num_gpus=options.num_gpus),
    )


def _run(options: Namespace) -> int:
    config = _config(options)
    started = time.perf_counter()
    with Console() as console:
        found = demonstrate(config, resolve_bundle("embedded"), console.say, console.show)
    print(f"\n{found.text}\n\n{time.perf_counter() - started:.0f} s. Comparison with the truth: {found.page}")
    print(
        "Next, the benchmark by hand, or your own photos:\n"
        f"  ganfit micc --data {config.output / DATA} --output OUT --models embedded --preset faceworld\n"
        "  ganfit fetch open && ganfit reconstruct PHOTOS OUT\n\n"
        f"Look at the faces: {found.gallery}"
    )
    return OK if found.complete else BAD_INPUT


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--output", type=Path, default=Path("demo"), help="folder for data and results")
    add("--subjects", type=int, default=3, help="people to film")
    add("--frames", type=int, default=3, help="frames drawn from every clip")
    add("--method", choices=get_args(Method), default=DEMO_METHOD, help="as in ganfit reconstruct")
    add("--steps", type=int, default=DEMO_STEPS, help="iterations of the fit")
    add("--seed", type=int, default=1, help="another seed gives other people")
    add("--variants", action="store_true", help="also from landmarks alone and from one frame")
    add("--num-gpus", type=int, help="GPUs to fit on; default: all there are; 0 fits on the CPU")


main = Command("demo", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
