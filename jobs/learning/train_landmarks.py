"""Train the dense landmark network of a bundle's shape model on portraits of people who do not exist.

    ganfit train-landmarks --models ict --output runs/landmarks
    ganfit train-landmarks --models ict --output runs/landmarks --resume

The network finds some 320 points on the surface of the face, the 68 landmarks first, and a standard deviation for each.
Its pictures are those of `ganfit make-synthetic --layout portraits`: drawn in a second process while it trains, kept in
memory for a while and forgotten.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import MODEL_DIR_HELP, Command, CommandParser, say
from ops.errors import ConfigurationError
from ops.weights.bundle import resolve_bundle
from ops.weights.bundle_file import DEFAULT_BUNDLE
from ops.weights.registry import sha256_of

NOTES = """
--output gets dense_landmarks.safetensors, beside it a JSON file that says what the weights were trained on and how they
do on people who were not trained on, a checkpoint and training.log. Everything follows the seed: the same command with
the same number of threads gives the same weights, interrupted and resumed or not.

Exit status: 0 written, 1 wrong arguments or a failed training, 2 interrupted (--resume continues).
"""


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--models", default=DEFAULT_BUNDLE, help="bundle whose shape and texture models the people are made of")
    add("--model-dir", help=MODEL_DIR_HELP)
    add("--output", type=Path, required=True, help="folder of the weights, the report and the checkpoint")
    add("--steps", type=int, help="training steps; default: the schedule's own number")
    add("--batch", type=int, help="crops a step; default: the schedule's own number")
    add("--points", type=int, default=320, help="points on the face, the 68 landmarks among them")
    add("--first", type=int, default=4096, help="portraits that are drawn before the first step")
    add("--fresh", type=int, default=6, help="new portraits with every step")
    add(
        "--kept", type=int, default=4096, help="the newest so many portraits are learned from; --resume draws them anew"
    )
    add("--seed", type=int, default=0, help="of people, pictures and training")
    add("--threads", type=int, default=1, help="CPU threads; another number gives slightly other weights")
    add("--test-portraits", type=int, default=400, help="portraits that the weights are tested on")
    add("--resume", action="store_true", help="continue from the checkpoint in the output folder")
    add("--evaluate-only", action="store_true", help="keep the weights in the output folder and evaluate them")


def _run(options: Namespace) -> None:
    from ops.faceworld.portraits.stream import PortraitSettings
    from ops.training.dense_landmarks import SCHEDULE, WEIGHTS
    from ops.training.portrait_feed import Window
    from pipeline.training.portraits import evaluate_on_portraits, train_on_portraits, write_training_report

    if min(options.first, options.kept, options.test_portraits) < 1 or min(options.fresh, options.seed) < 0:
        raise ConfigurationError("expected at least one portrait before the first step, in memory and to test on")
    bundle = resolve_bundle(options.models, options.model_dir)
    settings = PortraitSettings(seed=options.seed, points=options.points)
    chosen = {name: getattr(options, name) for name in ("steps", "batch") if getattr(options, name)}
    schedule = replace(SCHEDULE, seed=options.seed, threads=options.threads, **chosen)
    window = Window(first=options.first, fresh=options.fresh, kept=options.kept)
    output: Path = options.output
    if options.evaluate_only:
        known = (output / WEIGHTS).with_suffix(".json")
        found = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
        training = found.get("training") if found.get("sha256") == sha256_of(output / WEIGHTS) else None
    else:
        training = train_on_portraits(bundle, output, settings, schedule, window, say, resume=options.resume)
    evaluation = evaluate_on_portraits(bundle, output / WEIGHTS, settings, options.test_portraits)
    say(json.dumps(evaluation, indent=2))
    say(f"written to {output / WEIGHTS}, described in {write_training_report(output, training, evaluation)}")


main = Command("train-landmarks", __doc__, _declare, _run, NOTES)

if __name__ == "__main__":
    sys.exit(main())
