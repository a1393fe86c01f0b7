"""The MICC Florence benchmark in one command: register the scans, reconstruct the videos, measure, print the table.

    ganfit micc --data MICC --output DIR

writes DIR/registered (as ganfit register-micc), DIR/reconstructions (as ganfit reconstruct --layout micc) and
DIR/evaluation-<protocol> (as ganfit evaluate-micc). Every step continues where it stopped. The template is the mean
face of the shape model that reconstructs.

Exit status: 0 when everything is accounted for, 1 for bad input or configuration, 2 when interrupted (run the same
command again to continue).
"""

import sys
from pathlib import Path

from jsonargparse import Namespace

from evaluation.protocols import Protocol
from jobs.cli.command import BAD_INPUT, OK, PRESET_HELP, Command, CommandParser
from jobs.cli.console import Console
from ops.fit.config import preset
from ops.weights.bundle import resolve_bundle
from ops.weights.bundle_file import DEFAULT_BUNDLE
from pipeline.cluster.session import ClusterConfig
from pipeline.input.planner import PlanConfig
from pipeline.micc.benchmark import MiccConfig, run_micc
from pipeline.micc.template_source import open_template


def _run(options: Namespace) -> int:
    bundle = resolve_bundle(options.models, options.model_dir)
    template = open_template(options.models, None, options.model_dir)
    config = MiccConfig(
        data=options.data,
        output=options.output,
        landmarks=options.landmarks,
        preset=options.preset,
        fit=preset(options.preset),
        plan=PlanConfig(frames=options.frames),
        protocols=tuple(Protocol(name) for name in options.protocol),
        workers=options.workers,
        cluster=ClusterConfig(address=options.address, num_gpus=options.num_gpus),
    )
    with Console() as console:
        found = run_micc(config, bundle, template, console.say, console.show)
    for evaluation in found.evaluations.values():
        print(f"\n{evaluation.text}")
    return OK if found.summary.complete else BAD_INPUT


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with subject_01, subject_02, ...")
    add("--landmarks", type=Path, help="folder of LJSON annotations; default: anywhere below --data")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--models", default=DEFAULT_BUNDLE, help="a bundle's name, or the YAML file of your own")
    add("--model-dir", type=Path, help="folder of model files; default: $GANFIT_MODELS, else a cache")
    add("--preset", default="default", help=PRESET_HELP)
    add("--frames", type=int, default=5, help="frames drawn uniformly from every clip")
    add(
        "--protocol",
        nargs="+",
        choices=[protocol.value for protocol in Protocol],
        default=[Protocol.GANFIT_CODE.value, Protocol.PAPER.value],
        help="one table each (default: ganfit-code and paper)",
    )
    add("--workers", type=int, help="scans or pairs at a time; default: one per CPU; 0: without Ray")
    add("--num-gpus", type=int, help="GPUs to fit on; default: all there are; 0 fits on the CPU")
    add("--address", help="Ray cluster to join; default: $RAY_ADDRESS, else this machine alone")


main = Command("micc", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
