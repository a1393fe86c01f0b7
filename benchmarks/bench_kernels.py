"""What an iteration of a fit asks of a GPU, counted on a pretended one: kernel launches, waits and bytes.

    python -m benchmarks.bench_kernels [--models embedded ict] [--images 4]

Fits pictures that look like noise under the default preset and reports the last of three iterations, with recognition
in float32 and in bfloat16. Launches and waits do not depend on how many images share the batch; bytes are per image.
"""

import argparse
import dataclasses
from collections import Counter
from typing import Any, get_args, get_type_hints

import torch

from ops.fit import FitConfig, FitInput, FitModels, fit_faces, preset
from ops.fit.regression import mean_start
from ops.fit.stage_two import StageTwo
from ops.weights.bundle import resolve_bundle
from pipeline.stages.models import load_fit_models
from tests.support.pretended_cuda import PretendedCuda, to_cuda

STEPS = 3


def main() -> None:
    """Print a row per bundle and precision, then the operators that are launched most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
                count = last_iteration(cuda, models, config, options.images)
            megabytes = count.moved / options.images / 1e6
            print(f"{name:10}{precision:>13}{count.launches:>10}{count.waits:>7}{megabytes:>14.0f}", flush=True)
            for operator, launches in count.operators.most_common(options.operators):
                print(f"    {launches:6} launches  {operator}")


@dataclasses.dataclass(frozen=True)
class Count:
    """Of one iteration."""

    launches: int
    waits: int
    moved: int
    """Bytes read and written by kernels, of the whole batch."""
    operators: Counter[str]
    """Launches by operator."""


def last_iteration(cuda: PretendedCuda, models: FitModels, config: FitConfig, images: int) -> Count:
    """Fit some pictures and count the last iteration of stage two."""
    inputs = noise(models, images, config.render_px)
    found: list[Count] = []
    step_of = StageTwo._step

    def counted(stage: StageTwo, *arguments: Any) -> Any:
        cuda.reset()
        state = step_of(stage, *arguments)
        found.append(Count(sum(cuda.kernels.values()), sum(cuda.waits.values()), cuda.bytes, Counter(cuda.kernels)))
        return state

    StageTwo._step = counted  # type: ignore[method-assign]
    try:
        fit_faces(models, inputs, config)
    finally:
        StageTwo._step = step_of  # type: ignore[method-assign]
    return found[-1]


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
