"""What each term of the objective is worth: the same people reconstructed without one term after the other.

    ganfit ablation --input PHOTOS --output DIR

reconstructs the input once with the full objective and once per variant (DIR/<variant>, as ganfit reconstruct) and
writes DIR/index.html with a table and a picture: people by variants, as figure 5 of the GANFIT paper. The table gives
the similarity by the network that was optimised and by a judge that was not, the landmark error and, for people of
ganfit demo and ganfit make-synthetic, the errors of albedo and shape. The same command again does what is missing; more
--variants can be added later.

Exit status: 0 when everything is accounted for, 1 for bad input or configuration, 2 when interrupted (run the same
command again to continue).
"""

import dataclasses
import sys
from pathlib import Path

from jsonargparse import Namespace

from evaluation.ablation import FULL, VARIANTS
from jobs.cli.command import BAD_INPUT, OK, PRESET_HELP, Command, CommandParser, say
from ops.fit.config import preset
from ops.weights.bundle import resolve_bundle
from ops.weights.bundle_file import DEFAULT_BUNDLE
from pipeline.cluster.session import ClusterConfig
from pipeline.input.planner import PlanConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.studies.ablation import PAGE_FILE, ablate


def _run(options: Namespace) -> int:
    bundle = resolve_bundle(options.models, options.model_dir)
    found = ablate(_config(options), bundle, options.variants, say)
    print(f"\n{found.text}\n\nLook at {options.output / PAGE_FILE}")
    return OK if found.complete else BAD_INPUT


def _config(options: Namespace) -> ReconstructConfig:
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


def _declare(parser: CommandParser) -> None:
    add, plan = parser.add_argument, PlanConfig()
    names = [variant.name for variant in VARIANTS]
    add("--input", type=Path, required=True, help="a folder, a photo, a clip, or a Parquet manifest")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--layout", default="auto", help="as in ganfit reconstruct")
    add("--models", default=DEFAULT_BUNDLE, help="a bundle's name, or the YAML file of your own")
    add("--model-dir", type=Path, help="folder of model files; default: $GANFIT_MODELS, else a cache")
    add("--preset", default="default", help=PRESET_HELP)
    add("--steps", type=int, help="iterations of the fit; default: the preset's")
    add("--limit", type=int, help="use the first so many persons only")
    add("--max-images", type=int, default=plan.max_images, help="images used of one person")
    add("--shard-size", type=int, default=plan.shard_size, help="images per shard: the unit of a commit")
    add(
        "--variants",
        nargs="+",
        metavar="VARIANT",
        default=names,
        help=f"out of {', '.join(names)} (default: all); {FULL.name} always runs",
    )
    add("--num-gpus", type=int, help="GPUs to fit on; default: all there are; 0 fits on the CPU")
    add("--fit-workers", type=int, help="processes that fit; default: one per GPU or per core")
    add("--address", help="Ray cluster to join; default: $RAY_ADDRESS, else this machine alone")


main = Command("ablation", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
