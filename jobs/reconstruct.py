"""Reconstruct a folder of face photos and videos in 3D.

    python -m jobs.reconstruct --input PHOTOS --output OUT

writes, per person, a textured mesh and the fitted coefficients, and per image the camera, the light, the expression and
how well the render matches, as Parquet; a contact sheet a shard shows input and reconstruction side by side. Work is
committed shard by shard: after an interruption the same command continues where it stopped.

Exit status: 0 when every input file is accounted for, 1 for bad input or configuration, 2 when interrupted (run the
same command again to continue).
"""

import dataclasses
import signal
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, get_args

from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace

from ops.errors import GanfitError
from ops.fit.config import FitConfig, preset
from ops.weights.bundle import built_in_bundles, resolve_bundle
from pipeline.cluster import ClusterConfig
from pipeline.config import ReconstructConfig
from pipeline.detection import DetectionConfig
from pipeline.planner import PlanConfig
from pipeline.reconstruction import reconstruct
from pipeline.sources import Layout
from pipeline.summary import table_text
from pipeline.writing import MeshFormat

OK, BAD_INPUT, INTERRUPTED = 0, 1, 2


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        options = _parse(arguments)
        bundle = resolve_bundle(options.models, Path(options.model_dir) if options.model_dir else None)
        config = _config(options)
        summary = reconstruct(config, bundle, _say)
    except ArgumentError as error:
        return _refuse(f"{error}\nSee python -m jobs.reconstruct --help")
    except GanfitError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("interrupted: finished shards are kept, the same command continues from them", file=sys.stderr)
        return INTERRUPTED
    print()
    print(table_text(summary))
    return OK if summary.complete else _refuse("not every input file is accounted for: run the same command again")


def _parse(arguments: Sequence[str] | None) -> Namespace:
    """The options; the fit's defaults are those of the preset that is named among them."""
    options = _parser("default").parse_args(arguments)
    return options if options.preset == "default" else _parser(options.preset).parse_args(arguments)


def _parser(preset_name: str) -> ArgumentParser:
    plan, cluster = PlanConfig(), ClusterConfig()
    parser = ArgumentParser(
        prog="python -m jobs.reconstruct",
        usage="%(prog)s --input PATH --output DIR [options]",
        description=__doc__,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
    )
    add = parser.add_argument
    add("--config", action=ActionConfigFile, help="YAML file with any of these options")
    add("--input", type=Path, required=True, help="a folder, a photo, a clip, or a Parquet manifest")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add(
        "--layout",
        type=Layout,
        default="auto",
        help="images, videos, mixed: every file is a person of its own. identity-folders: a person a sub-folder. "
        "manifest: a Parquet file with columns uri and optionally identity_id and kind (image, video). "
        "micc: the MICC Florence data set, every clip an identity subject_NN/<Setting>. "
        "auto: a manifest for a .parquet file, identity-folders where files lie in sub-folders only, else mixed",
    )
    add("--models", default="ict", help=f"a bundle ({', '.join(built_in_bundles())}) or the YAML file of your own")
    add(
        "--model_dir",
        "--model-dir",
        type=str | None,
        help="folder of model files; default: $GANFIT_MODELS, else a cache",
    )
    add(
        "--preset",
        default="default",
        help="default, or paper: the published method to the letter, several times slower",
    )
    add("--limit", type=int | None, default=plan.limit, help="use the first so many persons only")
    add("--frames", type=int, default=plan.frames, help="frames drawn uniformly from every clip")
    add(
        "--max-images",
        "--max_images",
        dest="max_images",
        type=int,
        default=plan.max_images,
        help="images used of one person",
    )
    add(
        "--shard-size",
        "--shard_size",
        dest="shard_size",
        type=int,
        default=plan.shard_size,
        help="images a shard: the unit of a commit",
    )
    add(
        "--mesh-formats",
        "--mesh_formats",
        dest="mesh_formats",
        default="glb",
        help=f"files written for every person, comma separated out of {', '.join(get_args(MeshFormat))}",
    )
    add(
        "--num-gpus",
        "--num_gpus",
        dest="num_gpus",
        type=int | None,
        help="GPUs to use; default: all there are; 0 fits on the CPU",
    )
    add(
        "--fit-workers",
        "--fit_workers",
        dest="fit_workers",
        type=int | None,
        help="processes that fit; default: one a GPU or a core",
    )
    add(
        "--prepare-workers",
        "--prepare_workers",
        dest="prepare_workers",
        type=int | None,
        help="processes that read and detect; default: few",
    )
    add(
        "--fit-batch",
        "--fit_batch",
        dest="fit_batch",
        type=int | None,
        help="images fitted together; default: 32 on a GPU, 8 without",
    )
    add("--address", type=str | None, help="Ray cluster to join; default: $RAY_ADDRESS, else this machine alone")
    add(
        "--stall-timeout-s",
        "--stall_timeout_s",
        dest="stall_timeout_s",
        type=float,
        default=cluster.stall_timeout_s,
        help="give up after",
    )
    add("--dashboard", type=bool, default=False, help="start Ray's dashboard, reachable from this machine only")
    parser.add_class_arguments(DetectionConfig, "detection", help="which faces are accepted")
    parser.add_class_arguments(FitConfig, "fit", help="the fit, on top of the preset")
    parser.set_defaults({"fit": dataclasses.asdict(preset(preset_name))})
    return parser


def _config(options: Namespace) -> ReconstructConfig:
    classes: Any = _parser(options.preset).instantiate(options)
    named = {field.name for field in dataclasses.fields(ClusterConfig)}
    return ReconstructConfig(
        input=options.input,
        output=options.output,
        layout=options.layout,
        preset=options.preset,
        plan=PlanConfig(
            shard_size=options.shard_size, frames=options.frames, max_images=options.max_images, limit=options.limit
        ),
        detection=classes.detection,
        fit=classes.fit,
        mesh_formats=tuple(part for part in options.mesh_formats.split(",") if part),
        cluster=ClusterConfig(**{name: options[name] for name in named}),
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
