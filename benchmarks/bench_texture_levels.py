"""CPU time of a texture model and its gradient, at every level and over a fit that goes through them coarse to fine.

Untrained generators: what they draw does not matter here. Run as
`OMP_NUM_THREADS=1 python -m benchmarks.bench_texture_levels`.
"""

import time
from collections.abc import Mapping

import torch

from benchmarks.command_line import parser_of
from ops.fit import FitConfig
from ops.texture.gan_texture import GanTexture, freeze
from ops.texture.interface import TextureModel
from ops.texture.pca import PcaTexture
from ops.texture.progressive_gan import GanSize, Generator, gan_size
from ops.training.gan_schedule import gan_preset

REPEATS = 5
COARSEST_TEXELS = 64
ENDS = ((0.25, 0.5, 0.75), (0.5, 0.7, 0.85))


def main() -> None:
    """Print a line a model, and one for each way through its levels."""
    parser_of(__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models: Mapping[str, TextureModel] = {
        "PCA, 256 px, 100 modes": PcaTexture(
            mean=torch.zeros(3, 256, 256), basis=torch.randn(100, 3, 256, 256), uv_layout="none"
        ),
        "preset cpu-128": untrained(gan_preset("cpu-128", latent_size=100).size),
        "preset 1gpu-256": untrained(gan_preset("1gpu-256", latent_size=100).size),
        "published widths, 256 px": untrained(gan_size(256, 1.0, 512)),
        "published, 512 px": untrained(gan_size(512, 1.0, 512)),
    }
    for name, model in models.items():
        cost = {level: milliseconds(model, level) for level in model.levels if level >= COARSEST_TEXELS}
        print(f"{name}: " + ", ".join(f"{level} px {value:.1f} ms" for level, value in cost.items()))
        for ends in ENDS:
            config = FitConfig(texture_level_ends=ends, coarsest_texels=COARSEST_TEXELS)
            mean = sum(cost[config.texture_level(model.levels, step)] for step in range(config.steps)) / config.steps
            print(f"    {ends}: {mean:.1f} ms per step, {cost[model.resolution] / mean:.2f} times as fast")


def untrained(size: GanSize) -> GanTexture:
    """A generator of this size as texture model."""
    return GanTexture(generator=freeze(Generator(size)), uv_layout="none", training="none", licence="none")


def milliseconds(model: TextureModel, level: int) -> float:
    """CPU time of one texture and the gradient of its latent vector, the least of some trials."""
    latent = torch.randn(1, model.latent_size).requires_grad_()
    best = float("inf")
    for _ in range(REPEATS):
        started = time.process_time()
        torch.autograd.grad(model(latent, level).square().sum(), latent)
        best = min(best, time.process_time() - started)
    return 1000 * best


if __name__ == "__main__":
    main()
