"""Reconstruct a folder of face photos and videos in 3D.

    python -m jobs.reconstruct --input PHOTOS --output OUT

writes, per person, a textured mesh and the fitted coefficients, and per image the camera, the light, the expression and
how well the render matches, as Parquet; a contact sheet a shard shows input and reconstruction side by side. Work is
committed shard by shard: after an interruption the same command continues where it stopped.

Exit status: 0 when every input file is accounted for, 1 for bad input or configuration, 2 when interrupted (run the
same command again to continue).
"""

from jobs.interruption import INTERRUPTED, end_at_once_when_interrupted, interruptible, say_how_to_continue

if __name__ == "__main__":
    end_at_once_when_interrupted()  # the imports below take seconds

import dataclasses
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal, get_args

from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace

from jobs.command import BAD_INPUT, OK, PRESET_HELP, say
from ops.errors import ConfigurationError, GanfitError
from ops.fit.config import FitConfig, Method, preset
from ops.weights.bundle import built_in_bundles, resolve_bundle
from pipeline.cluster.session import ClusterConfig
from pipeline.input.listing import Layout
from pipeline.input.planner import PlanConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.dry_run import forecast
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.summary import table_text
from pipeline.stages.detection import DetectionConfig
from pipeline.stages.writing import MeshFormat
from pipeline.storage.submitted_job import submission_id
from pipeline.tables.logs import log_event, log_to_stderr


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the paragraphs of the description."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        with interruptible():
            return _run(arguments)
    except ArgumentError as error:
        return _refuse(f"{error}\nSee python -m jobs.reconstruct --help")
    except GanfitError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        say_how_to_continue()
        return INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    options = _parse(arguments)
    bundle = resolve_bundle(options.models, options.model_dir)
    config = _config(options)
    if options.dry_run:
        print(forecast(config, bundle).text())
        return OK
    summary = reconstruct(config, bundle, say if options.log_format == "text" else _log())
    print()
    print(table_text(summary))
    return OK if summary.complete else _refuse("not every input file is accounted for: run the same command again")


def _parse(arguments: Sequence[str] | None) -> Namespace:
    """The options; the fit's defaults are those of the preset that is named among them."""
    options = _parser("default").parse_args(arguments)
    return options if options.preset == "default" else _parser(options.preset).parse_args(arguments)


def _parser(preset_name: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m jobs.reconstruct",
        usage="%(prog)s --input PATH --output DIR [options]",
        description=__doc__,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with any of these options")
    _add_content_options(parser)
    _add_machine_options(parser)
    parser.add_class_arguments(DetectionConfig, "detection", help="which faces are accepted")
    parser.add_class_arguments(FitConfig, "fit", help="the fit, on top of the preset")
    parser.set_defaults({"fit": dataclasses.asdict(preset(preset_name))})
    return parser


def _add_content_options(parser: ArgumentParser) -> None:
    """What is reconstructed, with which models, into which files."""
    plan = PlanConfig()
    parser.add_argument("--input", required=True, help="a folder, photo, clip or Parquet manifest: a path, or s3://...")
    parser.add_argument("--output", required=True, help="a new folder, or an earlier run's to continue: path or URI")
    _add(
        parser,
        "layout",
        Layout,
        "auto",
        "images, videos, mixed: every file is a person of its own. identity-folders: a person a sub-folder. "
        "manifest: a Parquet file with columns uri and optionally identity_id and kind (image, video). "
        "micc: the MICC Florence data set, every clip an identity subject_NN/<Setting>. "
        "auto: a manifest for a .parquet file, identity-folders where files lie in sub-folders only, else mixed",
    )
    bundles = ", ".join(built_in_bundles())
    _add(parser, "models", str, "ict", f"a bundle ({bundles}) or the YAML file of your own")
    _add(parser, "model_dir", str | None, None, "folder or URI of model files; default: $GANFIT_MODELS, else a cache")
    _add(parser, "preset", str, "default", PRESET_HELP)
    _add(
        parser,
        "method",
        Method,
        "ganfit",
        "ganfit: landmarks, then optimisation. fastganfit: the regressor's answer alone, milliseconds a face. "
        "ganfit++: optimisation from the regressor's answer; it needs fewer --fit.steps. "
        "The last two need a bundle with a regressor",
    )
    _add(parser, "limit", int | None, plan.limit, "use the first so many persons only")
    _add(parser, "frames", int, plan.frames, "frames drawn uniformly from every clip")
    _add(parser, "max_images", int, plan.max_images, "images used of one person; the others are rejected as surplus")
    _add(
        parser,
        "since",
        str | None,
        None,
        "use only people with a new or changed file modified since then, such as 2026-11-21 or 2026-11-21T06:00+01:00",
    )
    _add(parser, "shard_size", int, plan.shard_size, "images a shard: the unit of a commit")
    formats = ", ".join(get_args(MeshFormat))
    _add(parser, "mesh_formats", str, "glb", f"files written for every person, comma separated out of {formats}")


def _add_machine_options(parser: ArgumentParser) -> None:
    """Where it runs and how wide: no part of what is computed."""
    cluster = ClusterConfig()
    _add(parser, "num_gpus", int | None, cluster.num_gpus, "GPUs to use; default: all there are; 0 fits on the CPU")
    _add(parser, "fit_workers", int | None, cluster.fit_workers, "processes that fit; default: one a GPU or a core")
    _add(parser, "prepare_workers", int | None, cluster.prepare_workers, "processes that read and detect; default: few")
    _add(parser, "fit_batch", int | None, cluster.fit_batch, "images fitted together; default: 32 on a GPU, 8 without")
    _add(parser, "address", str | None, cluster.address, "Ray cluster; default: $RAY_ADDRESS, else this machine alone")
    _add(
        parser,
        "node_timeout_s",
        float,
        cluster.node_timeout_s,
        "wait so long for machines the cluster starts on demand",
    )
    _add(parser, "submission_id", str | None, None, "name of this run; default: that of ray job submit")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and how long it may take")
    _add(parser, "stall_timeout_s", float, cluster.stall_timeout_s, "end a run in which no shard moves for so long")
    _add(parser, "clip_timeout_s", float, 600.0, "seconds a clip may take to decode; a longer one fails as timeout")
    _add(
        parser,
        "log_format",
        Literal["text", "json"],
        "text",
        "progress as text on standard output or as JSON lines on standard error",
    )
    _add(parser, "dashboard", bool, cluster.dashboard, "start Ray's dashboard, reachable from this machine only")


def _add(parser: ArgumentParser, name: str, kind: Any, default: Any, text: str) -> None:
    """An option spelled with dashes; in YAML files, and if one likes here too, with underscores."""
    spellings = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
    parser.add_argument(*spellings, dest=name, type=kind, default=default, help=text)


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
        fit=classes.fit.by(options.method),
        mesh_formats=tuple(part for part in options.mesh_formats.split(",") if part),
        clip_timeout_s=options.clip_timeout_s,
        since=_moment(options.since),
        submission_id=submission_id() if options.submission_id is None else options.submission_id,
        cluster=ClusterConfig(**{name: options[name] for name in named}),
    )


def _moment(text: str | None) -> datetime | None:
    """A date or time, in the zone of this machine where it names none."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise ConfigurationError(f"expected a date or time such as 2026-11-21 for --since, got {text!r}") from error


def _log() -> Callable[[str], None]:
    """Progress as JSON lines on standard error, as the workers log."""
    log_to_stderr()
    return lambda line: log_event("progress", line=line)


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
