"""What an iteration of a fit asks of a GPU, counted on a pretended one: kernel launches, waits and bytes.

    python -m benchmarks.bench_kernels [--models embedded ict] [--images 4]

Fits pictures that look like noise under the default preset and reports the last of three iterations, with recognition
in float32 and in bfloat16. Launches and waits do not depend on how many images share the batch; bytes are per image.
"""

import dataclasses
from typing import get_args, get_type_hints

import torch

from benchmarks.command_line import parser_of
from ops.fit import FitConfig, FitInput, FitModels, fit_faces, preset
from ops.fit.regression import mean_start
from ops.weights.bundle import resolve_bundle
from pipeline.stages.models import load_fit_models
from tests.support.iteration_costs import counted_iterations
from tests.support.pretended_cuda import PretendedCuda, to_cuda

STEPS = 3


def main() -> None:
    """Print a row per bundle and precision, then the operators that are launched most."""
    parser = parser_of(__doc__)
    parser.add_argument("--models", nargs="+", default=["embedded"])
    parser.add_argument("--images", type=int, default=4, help="pictures of one batch, two per person")
    parser.add_argument("--operators", type=int, default=0, help="list so many operators that are launched most")
    options = parser.parse_args()
    print(f"{'bundle':10}{'recognition':>13}{'launches':>10}{'waits':>7}{'MB per image':>14}")
    for name in options.models:
        for precision in get_args(get_type_hints(FitConfig)["recognition_precision"]):
            config = dataclasses.replace(
                preset("default"), steps=STEPS, landmark_steps=2, recognition_precision=precision, early_stop_window=0
            )
            with PretendedCuda() as cuda:
                models = load_fit_models.__wrapped__(resolve_bundle(name), "cuda")
                inputs = noise(models, options.images, config.render_px)
                with counted_iterations(cuda) as costs:
                    fit_faces(models, inputs, config)
            launches, waits, moved = costs[-1]
            megabytes = moved / options.images / 1e6
            print(
                f"{name:10}{precision:>13}{launches.total():>10}{waits.total():>7}{megabytes:>14.0f}",
                flush=True,
            )
            for operator, count in launches.most_common(options.operators):
                print(f"    {count:6} launches  {operator}")


def noise(models: FitModels, images: int, side: int) -> FitInput:
    """Smooth noise, with the landmarks where the mean face has them."""
    rng = torch.Generator().manual_seed(1)
    smooth = torch.nn.functional.interpolate(torch.rand(images, 3, 12, 12, generator=rng), size=side, mode="bilinear")
    landmarks = side * mean_start(models.shape).landmarks.cpu().expand(images, -1, -1)
    return to_cuda(
        FitInput(
            images=smooth,
            valid=torch.ones(images, side, side, dtype=torch.bool),
            landmarks_px=landmarks + torch.randn(images, 68, 2, generator=rng),
            group=torch.arange(images) // 2,
            seeds=torch.arange(images),
        )
    )


if __name__ == "__main__":
    main()
