"""Learn a texture model from ordinary photos: a folder of people, or a finished run.

    ganfit learn-texture --input PHOTOS --output LEARNED --models open
    ganfit reconstruct PHOTOS OUT --models LEARNED/bundle.yaml

No scans and no GPU are needed; from about 50 people on, the learned model beats the painted one. People are fitted
shortly, what their photos show of the albedo is unwrapped, and the principal components of all people, each completed
where the photos do not show it, are the texture model; with --rounds 2 the same once more with it. --run begins
with the fits of a finished `ganfit reconstruct`, in place of the first round's.

Writes texture.safetensors, bundle.yaml (the bundle with that texture in it, checksums included), learning.parquet (one
row per person: learned from, or why not) and report/index.html (mean, modes, people held out before and after). The
same command continues an interrupted learning. A model learned from photos of people is personal data as they are.

Exit status: 0 when done, 1 for bad input or too few people, 2 when interrupted.
"""

from jobs.cli.interruption import end_at_once_when_interrupted

if __name__ == "__main__":
    end_at_once_when_interrupted()

import dataclasses
import sys
from typing import get_args

from jsonargparse import Namespace

from jobs.cli.command import MODEL_DIR_HELP, PRESET_HELP, Command, CommandParser, say
from ops.fit.config import preset
from ops.reconstruction.detection import DetectionConfig
from ops.weights.bundle import resolve_bundle
from ops.weights.bundle_file import DEFAULT_BUNDLE
from pipeline.cluster.session import ClusterConfig
from pipeline.input.listing import Layout
from pipeline.input.planner import PlanConfig
from pipeline.training.texture_learning import LearningConfig, learn_texture
from pipeline.training.texture_people import Selection

CHOSEN = ("hold_out", "min_judge", "max_landmark_error", "min_eye_px")


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--input", help="photos and clips as `ganfit reconstruct` takes them; default: those of --run")
    add("--run", help="a finished run of the same bundle: its fits are those of the first round")
    add("--output", required=True, help="a new folder, or an earlier one to continue: path or URI")
    add("--layout", choices=get_args(Layout), default="auto", help="how the input is laid out, as for reconstruct")
    add("--identity-field", help="what names the person, as for reconstruct")
    add("--models", default=DEFAULT_BUNDLE, help="bundle to begin with: a built-in name or a YAML file")
    add("--model-dir", help=MODEL_DIR_HELP)
    add("--preset", default="default", help=PRESET_HELP)
    defaults = {field.name: field.default for field in dataclasses.fields(LearningConfig)}
    add("--rounds", type=int, default=defaults["rounds"], help="how often people are fitted and learned from")
    add("--people", type=int, default=defaults["people"], help="at most so many, drawn by hash of their ids")
    add("--modes", type=int, default=defaults["modes"], help="number of modes of the whole face")
    add(
        "--local-modes",
        type=int,
        default=defaults["local_modes"],
        help="number of modes once half of their variance is confined to parts of the face; 0: do not",
    )
    add("--side", type=int, default=defaults["side"], help="texels along an edge")
    chosen = {field.name: field.default for field in dataclasses.fields(Selection)}
    add("--hold-out", type=float, default=chosen["hold_out"], help="share of the people kept back to measure on")
    add("--min-judge", type=float, default=chosen["min_judge"], help="least similarity of a photo to its fit")
    add(
        "--max-landmark-error",
        type=float,
        default=chosen["max_landmark_error"],
        help="largest landmark error of a photo, eye distances",
    )
    add(
        "--min-eye-px", type=float, default=chosen["min_eye_px"], help="least distance of the outer eye corners, pixels"
    )
    parser.add_class_arguments(ClusterConfig, help="where it runs and how wide: no part of what is computed")


def _learn(options: Namespace) -> None:
    names = [field.name for field in dataclasses.fields(ClusterConfig)]
    config = LearningConfig(
        output=options.output,
        input=options.input,
        run=options.run,
        layout=options.layout,
        identity_field=options.identity_field,
        rounds=options.rounds,
        people=options.people,
        modes=options.modes,
        local_modes=options.local_modes,
        side=options.side,
        selection=Selection(**{name: options[name] for name in CHOSEN}),
        plan=PlanConfig(),
        detection=DetectionConfig(),
        fit=preset(options.preset),
        cluster=ClusterConfig(**{name: options[name] for name in names}),
    )
    bundle = resolve_bundle(options.models, options.model_dir)
    say(f"models: {bundle.about}")
    learned = learn_texture(config, bundle, options.models, say)
    say(
        f"learned from {learned.people} people; to use it: ganfit reconstruct ... --models {options.output}/bundle.yaml"
    )


main = Command("learn-texture", __doc__, _declare, _learn, usage="--input PHOTOS --output LEARNED [options]")

if __name__ == "__main__":
    sys.exit(main())
