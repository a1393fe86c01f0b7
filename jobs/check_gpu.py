"""Check that this machine's GPU computes what the CPU does, and how fast.

    ganfit check-gpu

renders a picture and fits two faces for a few steps on the GPU and on the CPU, compares pictures, gradients and
results, and says how many milliseconds an iteration takes with 1, 32 and 128 faces. A run on GPUs begins with the first
part.

Exit status: 0 for PASS, 1 for FAIL or where no GPU can be used.
"""

import sys
from typing import get_args

from jsonargparse import Namespace

from jobs.cli.command import BAD_INPUT, MODEL_DIR_HELP, OK, Command, CommandParser
from ops.render.rasterize import RasterizerName
from ops.weights.bundle import resolve_bundle
from pipeline.studies.gpu_check import FACES, CheckLine, check_gpu, time_iterations


def _check(options: Namespace) -> int:
    bundle = resolve_bundle(options.models, options.model_dir)
    passed = check_gpu(bundle, options.rasterizer, _show)
    if passed:
        for faces in FACES:
            milliseconds = time_iterations(bundle, options.rasterizer, faces)
            print(f"      {faces:3} faces: {milliseconds:.1f} ms per iteration, {milliseconds / faces:.2f} per face")
    print("PASS" if passed else "FAIL: --num-gpus 0 computes on the CPU")
    return OK if passed else BAD_INPUT


def _show(line: CheckLine) -> None:
    print(f"{'ok  ' if line.passed else 'FAIL'}  {line.name}: {line.text}")


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--models", default="embedded", help="a bundle or the YAML file of your own")
    add("--model-dir", help=MODEL_DIR_HELP)
    add("--rasterizer", choices=get_args(RasterizerName), default="warp", help="what draws on the GPU")


main = Command("check-gpu", __doc__, _declare, _check)

if __name__ == "__main__":
    sys.exit(main())
