"""Measure what texture models can express: fit each to held-out UV maps and compare.

    ganfit make-synthetic --layout uv --maps 100 --side 256 --seed 99 --output held-out
    ganfit fit-texture --maps held-out --texture gan/generator.safetensors --pca-maps uv-maps --output fits

For every map the latent vector with the least mean absolute difference is sought, alike for every model. --texture
names generators and PCA textures in their files, --pca-maps adds a PCA of as many modes as the first model has latent
values, fitted to the maps of a folder (those the generator was trained on). Writes table.txt (L1, SSIM, energy kept and
energy explained in the top two octaves), values.json and grid.png (truth, then the models).

Exit status: 0 when done, 1 for bad input, 2 when interrupted.
"""

import sys
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser, say
from ops.errors import ConfigurationError


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--maps", type=Path, required=True, help="held-out maps: a folder, or a Parquet file with column uri")
    add("--texture", type=Path, nargs="+", required=True, help="files of generators and PCA textures")
    add("--pca-maps", type=Path, help="maps to fit a PCA of equal latent size to")
    add("--output", type=Path, required=True, help="folder of the table and the pictures")
    add("--side", type=int, help="level to compare at (default: the first model's largest)")
    add("--count", type=int, default=32, help="held-out maps")
    add("--steps", type=int, default=300, help="iterations of a fit")
    add("--batch", type=int, default=4, help="maps fitted together")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one")


def _compare(options: Namespace) -> None:
    if min(options.count, options.steps, options.batch) < 1:
        raise ConfigurationError("expected --count, --steps and --batch of at least 1")
    from ops.texture.interface import TextureModel
    from ops.texture.texture_file import load_texture_file
    from pipeline.training.texture_comparison import (
        TABLE_FILE,
        ComparisonSettings,
        compare_textures,
        load_held_out,
        principal_components,
    )
    from pipeline.training.workers import pick_device

    loaded: list[tuple[Path, TextureModel]] = [(path, load_texture_file(path)) for path in options.texture]
    first = loaded[0][1]
    for path, model in loaded:
        if model.uv_layout != first.uv_layout:
            raise ConfigurationError(
                f"expected models of one UV layout, {path} is on {model.uv_layout} and the first on {first.uv_layout}"
            )
    settings = ComparisonSettings(
        side=options.side or first.resolution,
        maps=options.count,
        steps=options.steps,
        batch=options.batch,
        device=pick_device(options.device),
    )
    cache = options.output / "maps"
    models = {str(path): model for path, model in loaded}
    if options.pca_maps:
        models[f"PCA of {options.pca_maps}"] = principal_components(
            options.pca_maps, first.latent_size, first.uv_layout, settings, cache
        )
    truth = load_held_out(options.maps, settings, cache)
    compare_textures(models, truth, settings, options.output, say)
    print((options.output / TABLE_FILE).read_text(encoding="utf-8"), end="")


main = Command("fit-texture", __doc__, _declare, _compare)

if __name__ == "__main__":
    sys.exit(main())
