"""The MICC Florence benchmark in one command: register the scans, reconstruct the videos, measure, print the table.

    python -m jobs.micc --data MICC --output DIR

writes DIR/registered (as jobs.register_micc), DIR/reconstructions (as jobs.reconstruct --layout micc) and
DIR/evaluation-<protocol> (as jobs.evaluate_micc). Every step continues where it stopped. The template is the mean face
of the shape model that reconstructs.

Exit status: 0 when everything is accounted for, 1 for bad input or configuration, 2 when interrupted (run the same
command again to continue).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.protocols import Protocol
from jobs.command import BAD_INPUT, OK, PRESET_HELP, command_parser, exit_status, say
from ops.fit.config import preset
from ops.weights.bundle import resolve_bundle
from pipeline.cluster.session import ClusterConfig
from pipeline.input.planner import PlanConfig
from pipeline.micc.benchmark import MiccConfig, run_micc
from pipeline.micc.template_source import open_template


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
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
    found = run_micc(config, bundle, template, say)
    for evaluation in found.evaluations.values():
        say(f"\n{evaluation.text}")
    return OK if found.summary.complete else BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("micc", __doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with subject_01, subject_02, ...")
    add("--landmarks", type=Path, help="folder of LJSON annotations; default: anywhere below --data")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--models", default="ict", help="a bundle's name, or the YAML file of your own")
    add("--model-dir", type=Path, help="folder of model files; default: $GANFIT_MODELS, else a cache")
    add("--preset", default="default", help=PRESET_HELP)
    add("--frames", type=int, default=5, help="frames drawn uniformly from every clip (default: %(default)s)")
    add(
        "--protocol",
        nargs="+",
        choices=[protocol.value for protocol in Protocol],
        default=[Protocol.GANFIT_CODE.value, Protocol.PAPER.value],
        help="one table each (default: ganfit-code and paper)",
    )
    add("--workers", type=int, help="scans or pairs at a time; default: one a CPU; 0: without Ray")
    add("--num-gpus", type=int, help="GPUs to fit on; default: all there are; 0 fits on the CPU")
    add("--address", help="Ray cluster to join; default: $RAY_ADDRESS, else this machine alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
