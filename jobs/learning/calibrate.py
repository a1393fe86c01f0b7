"""Calibrate a bundle's landmark network on its shape model, from a folder of photos."""

import sys
from pathlib import Path
from typing import get_args

from jsonargparse import Namespace

from jobs.cli.command import MODEL_DIR_HELP, Command, CommandParser, say
from ops.weights.bundle import resolve_bundle
from ops.weights.bundle_file import DEFAULT_BUNDLE
from ops.weights.registry import sha256_of
from pipeline.input.listing import Layout
from pipeline.training.landmark_calibration import make_calibration

NOTES = """
Estimates where on the surface each of the 68 points lies, how they scatter, and the mean and spread of expressions.
Photos need no annotation; a few hundred of many people do, of some people several (one sub-folder per person). A
person in five is held out to measure what the calibration is worth, then all are used. --output gets the file and,
beside it, a JSON file that says what was seen. Add the printed entry to the bundle's YAML file.

Exit status: 0 written, 1 too few usable photos or wrong arguments.
"""


def _declare(parser: CommandParser) -> None:
    parser.add_argument("--input", required=True, help="folder of photos, one sub-folder per person, or a manifest")
    parser.add_argument("--layout", choices=get_args(Layout), default="auto", help="how the input is laid out")
    parser.add_argument("--models", default=DEFAULT_BUNDLE, help="bundle: a built-in name or a YAML file")
    parser.add_argument("--model-dir", help=MODEL_DIR_HELP)
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")


def _calibrate(options: Namespace) -> int:
    bundle = resolve_bundle(options.models, options.model_dir)
    described = make_calibration(options.input, bundle, options.output, layout=options.layout, say=say)
    say(f"written to {options.output}, described in {described}")
    say(f"calibration: {{kind: ganfit, path: {options.output}, sha256: {sha256_of(options.output)}}}")
    return 0


main = Command("calibrate", __doc__, _declare, _calibrate, NOTES)

if __name__ == "__main__":
    sys.exit(main())
