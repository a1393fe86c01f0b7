"""What each term of the objective is worth: the same people reconstructed without one term after the other.

    python -m jobs.ablation --input PHOTOS --models ict --output DIR

reconstructs the input once with the full objective and once a variant (DIR/<variant>, as jobs.reconstruct), and writes
DIR/index.html with the table and the picture: people by variants, as figure 5 of the GANFIT paper. The table gives the
similarity by the network that was optimised and by a judge that was not, the landmark error and, for people of
jobs.demo and jobs.make_synthetic, the errors of albedo and shape to the truth. The same command again does what is
missing; more --variants can be added later.

Exit status: 0 when everything is accounted for, 1 for bad input or configuration, 2 when interrupted (run the same
command again to continue).
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation.ablation import FULL, VARIANTS
from jobs.command import BAD_INPUT, OK, PRESET_HELP, command_parser, exit_status, say
from ops.fit.config import preset
from ops.weights.bundle import resolve_bundle
from pipeline.cluster.session import ClusterConfig
from pipeline.input.planner import PlanConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.studies.ablation import PAGE_FILE, ablate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    bundle = resolve_bundle(options.models, options.model_dir)
    found = ablate(_config(options), bundle, options.variants, say)
    print(f"\n{found.text}\n\nLook at {options.output / PAGE_FILE}")
    return OK if found.complete else BAD_INPUT


def _config(options: argparse.Namespace) -> ReconstructConfig:
    fit = preset(options.preset)
    plan = PlanConfig()
    return ReconstructConfig(
        input=options.input,
        output=options.output,
        layout=options.layout,
        preset=options.preset,
        plan=dataclasses.replace(
            plan, limit=options.limit, max_images=options.max_images, shard_size=options.shard_size
        ),
        fit=dataclasses.replace(fit, steps=options.steps or fit.steps),
        cluster=ClusterConfig(address=options.address, num_gpus=options.num_gpus, fit_workers=options.fit_workers),
    )


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("ablation", __doc__)
    add, plan = parser.add_argument, PlanConfig()
    names = [variant.name for variant in VARIANTS]
    add("--input", type=Path, required=True, help="a folder, a photo, a clip, or a Parquet manifest")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--layout", default="auto", help="as in jobs.reconstruct (default: %(default)s)")
    add("--models", default="ict", help="a bundle's name, or the YAML file of your own")
    add("--model-dir", type=Path, help="folder of model files; default: $GANFIT_MODELS, else a cache")
    add("--preset", default="default", help=PRESET_HELP)
    add("--steps", type=int, help="iterations of the fit; default: the preset's")
    add("--limit", type=int, help="use the first so many persons only")
    add("--max-images", type=int, default=plan.max_images, help="images used of one person (default: %(default)s)")
    add("--shard-size", type=int, default=plan.shard_size, help="images a shard: the unit of a commit")
    add(
        "--variants",
        nargs="+",
        metavar="VARIANT",
        default=names,
        help=f"out of {', '.join(names)} (default: all); {FULL.name} always runs",
    )
    add("--num-gpus", type=int, help="GPUs to fit on; default: all there are; 0 fits on the CPU")
    add("--fit-workers", type=int, help="processes that fit; default: one a GPU or a core")
    add("--address", help="Ray cluster to join; default: $RAY_ADDRESS, else this machine alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
