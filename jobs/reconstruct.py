"""Reconstruct a folder of face photos and videos in 3D.

    ganfit reconstruct PHOTOS OUT

writes, per person, a textured mesh and the fitted coefficients, and per image the camera, the light, the expression and
how well the render matches, as Parquet. Work is committed shard by shard: after an interruption the same command
continues where it stopped.

Exit status: 0 when every input file is accounted for, 1 for bad input or configuration, 2 when interrupted (run the
same command again to continue).
"""

from jobs.cli.interruption import end_at_once_when_interrupted

if __name__ == "__main__":
    end_at_once_when_interrupted()  # the imports below take seconds

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import get_args

from jsonargparse import ActionConfigFile, Namespace

from jobs.cli.command import MIRROR_HELP, MODEL_DIR_HELP, OK, PRESET_HELP, Command, CommandParser, refuse
from jobs.cli.console import LINE_S, Console
from jobs.fetch import fetch_and_say
from ops.errors import ConfigurationError
from ops.fit.config import FitConfig, Method, preset
from ops.reconstruction.detection import DetectionConfig
from ops.reconstruction.photo_texture import TexturePx, TextureSource
from ops.weights.bundle import resolve_bundle
from ops.weights.bundle_file import DEFAULT_BUNDLE, built_in_bundles, known_files_of
from ops.weights.registry import resolve_model_dir
from pipeline.cluster.session import ClusterConfig
from pipeline.input.listing import Layout
from pipeline.input.planner import PlanConfig
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.dry_run import forecast
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.progress import Progress
from pipeline.run.summary import table_text
from pipeline.stages.gate import QualityPolicy
from pipeline.stages.writing import MeshFormat
from pipeline.storage.submitted_job import submission_id
from pipeline.tables.logs import log_event, log_to_stderr
from pipeline.training.learned_texture import AUTO, choose_texture, with_texture


def _run(options: Namespace) -> int:
    config = _config(options)
    if options.fetch:
        fetch_and_say(known_files_of(options.models), resolve_model_dir(_folder(options.model_dir)), options.mirror)
    bundle = resolve_bundle(options.models, options.model_dir)
    config.check_models(bundle)
    texture = choose_texture(config, bundle, options.learn_texture, usual=options.preset == "default")
    if options.dry_run:
        print(texture.line)
        if texture.what != "learn":
            bundle = with_texture(texture, config, bundle, options.models, print)
        print(forecast(config, bundle).text())
        return OK
    with Console() as console:
        tell, show = (console.say, console.show) if options.log_format == "text" else _log()
        tell(f"models: {bundle.about}")
        tell(texture.line)
        summary = reconstruct(config, with_texture(texture, config, bundle, options.models, tell), tell, show)
    print()
    print(table_text(summary))
    return OK if summary.complete else refuse("not every input file is accounted for: run the same command again")


def _parse(command: Command, arguments: Sequence[str] | None) -> Namespace:
    """The options; the fit's defaults are those of the preset that is named among them."""
    parser = command.parser()
    options = parser.parse_args(arguments)
    if options.preset != "default":
        _start_from(parser, options.preset)
        options = parser.parse_args(arguments)
    return parser.instantiate(options)


def _start_from(parser: CommandParser, preset_name: str) -> None:
    parser.set_defaults({"fit": dataclasses.asdict(preset(preset_name))})


def _declare(parser: CommandParser) -> None:
    parser.add_argument("photos", nargs="?", metavar="PHOTOS", help="the same as --input")
    parser.add_argument("out", nargs="?", metavar="OUT", help="the same as --output")
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file with any of these options")
    _declare_content(parser)
    parser.add_class_arguments(PlanConfig, help="how the input is divided")
    _declare_run(parser)
    parser.add_class_arguments(ClusterConfig, help="where it runs and how wide: no part of what is computed")
    parser.add_class_arguments(DetectionConfig, "detection", help="which faces are accepted")
    parser.add_class_arguments(FitConfig, "fit", help="the fit, on top of the preset")
    _start_from(parser, "default")


def _declare_content(parser: CommandParser) -> None:
    """What is reconstructed, with which models, into which files."""
    add = parser.add_argument
    add("--input", help="a folder, photo, clip, archive or manifest: a path, or s3://...")
    add("--output", help="a new folder, or an earlier run's to continue: path or URI")
    add(
        "--layout",
        choices=get_args(Layout),
        default="auto",
        help="images, videos, mixed: every file is a person of its own. identity-folders: one sub-folder per person. "
        "labels: persons are what labels in archives say. cluster: faces are grouped by recognition. "
        "manifest: a Parquet, CSV or JSON lines file with columns uri and optionally identity_id and kind (image, "
        "video). micc: the MICC Florence data set, every clip an identity subject_NN/<Setting>. "
        "auto: a manifest for such a file, labels where there are any, identity-folders where files lie in sub-folders "
        "only, else mixed",
    )
    add(
        "--identity-field",
        help="what names the person: a column of a manifest or of Parquet files with pictures, or a field of the JSON "
        "files in a tar; default: the column identity_id",
    )
    bundles = ", ".join(built_in_bundles())
    add("--models", default=DEFAULT_BUNDLE, help=f"a bundle ({bundles}) or the YAML file of your own")
    add("--model-dir", help=MODEL_DIR_HELP)
    add("--fetch", action="store_true", help="first fetch the model files that are missing, as ganfit fetch does")
    add("--mirror", help="with --fetch: " + MIRROR_HELP)
    add(
        "--learn-texture",
        default=AUTO,
        help="auto: where the input has 50 people or more and the bundle's texture is the painted one, a short first "
        "pass over a sample learns a texture model from them, with which all are fitted; a run keeps what it has "
        "learned. never: the bundle's texture. Or the texture.safetensors of ganfit learn-texture",
    )
    add("--preset", default="default", help=PRESET_HELP)
    add(
        "--method",
        choices=get_args(Method),
        default="ganfit",
        help="ganfit: landmarks, then optimisation. fastganfit: the regressor's answer alone, milliseconds per face. "
        "ganfit++: optimisation from the regressor's answer. "
        "The last two need a bundle with a regressor",
    )
    add(
        "--since",
        help="use only people with a new or changed file modified since then, such as 2026-11-21 or "
        "2026-11-21T06:00+01:00",
    )
    add(
        "--quality",
        choices=get_args(QualityPolicy),
        default="note",
        help="images that measure worse than a bundle's good reconstructions do: note it in their message, or reject "
        "them",
    )
    add(
        "--texture",
        choices=get_args(TextureSource),
        default="model",
        help="model: the texture model alone. photo: with what the person's photos show beyond it, such as wrinkles",
    )
    add("--texture-px", type=int, choices=get_args(TexturePx), default=512, help="texels of textures from photos")
    formats = ", ".join(get_args(MeshFormat))
    add("--mesh-formats", default="glb", help=f"files written for every person, comma separated out of {formats}")


def _declare_run(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--dry-run", action="store_true", help="say what would be done and how long it may take")
    add("--submission-id", help="name of this run; default: that of ray job submit")
    add("--clip-timeout-s", type=float, default=600.0, help="seconds a clip may take to decode; then it fails")
    add(
        "--log-format",
        choices=["text", "json"],
        default="text",
        help="progress as text on standard output or as JSON lines on standard error",
    )


def _config(options: Namespace) -> ReconstructConfig:
    cluster, plan = ([field.name for field in dataclasses.fields(kind)] for kind in (ClusterConfig, PlanConfig))
    source, output = options.input or options.photos, options.output or options.out
    if not source or not output:
        raise ConfigurationError("expected an input and an output: ganfit reconstruct PHOTOS OUT")
    if (options.input and options.out is None and options.photos) or (options.input and options.output and options.out):
        raise ConfigurationError("expected the input and the output once, got some twice")
    return ReconstructConfig(
        input=source,
        output=output,
        layout=options.layout,
        identity_field=options.identity_field,
        preset=options.preset,
        plan=PlanConfig(**{name: options[name] for name in plan}),
        detection=options.detection,
        fit=options.fit.by(options.method),
        texture=options.texture,
        texture_px=options.texture_px,
        mesh_formats=tuple(part for part in options.mesh_formats.split(",") if part),
        quality=options.quality,
        clip_timeout_s=options.clip_timeout_s,
        since=_moment(options.since),
        submission_id=submission_id() if options.submission_id is None else options.submission_id,
        cluster=ClusterConfig(**{name: options[name] for name in cluster}),
    )


def _folder(model_dir: str | None) -> Path | None:
    if model_dir is not None and "://" in model_dir:
        raise ConfigurationError(
            f"expected a folder as --model-dir with --fetch, got {model_dir}: fill it with `ganfit fetch --to-mirror`"
        )
    return None if model_dir is None else Path(model_dir)


def _moment(text: str | None) -> datetime | None:
    """A date or time, in the zone of this machine where it names none."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise ConfigurationError(f"expected a date or time such as 2026-11-21 for --since, got {text!r}") from error


def _log() -> tuple[Callable[[str], None], Callable[[Progress], None]]:
    """Progress as JSON lines on standard error, as the workers log; how far it is, every `LINE_S` seconds."""
    log_to_stderr()
    last = [time.monotonic()]

    def show(progress: Progress) -> None:
        if time.monotonic() - last[0] >= LINE_S:
            last[0] = time.monotonic()
            log_event("images", **{name: value for name, value in progress.to_json().items() if name != "time"})

    return lambda line: log_event("progress", line=line), show


main = Command("reconstruct", __doc__, _declare, _run, usage="PHOTOS OUT [options]", parse=_parse)

if __name__ == "__main__":
    sys.exit(main())
