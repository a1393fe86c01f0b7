"""Build the procedural PCA texture of a bundle's shape model and write it as one file."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser
from ops.weights.bundle_file import DEFAULT_BUNDLE

NOTES = """
Runs build this texture by themselves the first time a bundle with `texture: {kind: procedural-pca}` is used, and keep
it in the user's cache; this command makes one with other settings, for a bundle file with
`texture: {kind: pca, path: ..., sha256: ...}`. The same settings give the same file. It takes about half a CPU-minute.

Exit status: 0 written, 1 wrong arguments or missing model files.
"""


def _declare(parser: CommandParser) -> None:
    parser.add_argument("--models", default=DEFAULT_BUNDLE, help="bundle name or YAML file whose shape is painted")
    parser.add_argument(
        "--model-dir", type=Path, help="folder of the model files (default: $GANFIT_MODELS or the cache)"
    )
    parser.add_argument("--output", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--resolution", type=int, default=256, help="side in texels")
    parser.add_argument("--modes", type=int, default=100, help="number of modes of the whole face")
    parser.add_argument(
        "--local-modes",
        type=int,
        help="number of modes once half of their variance is confined to parts of the face; 0: do not "
        "(default: 300, for the face world 0)",
    )
    parser.add_argument("--samples", type=int, default=1200, help="number of painted faces")
    parser.add_argument("--seed", type=int, default=0, help="of the painted faces")


def _make(options: Namespace) -> None:
    from dataclasses import replace

    from ops.texture.pca import save_pca_texture
    from ops.texture.procedural import build_texture, default_recipe
    from ops.weights.bundle import load_shape, resolve_bundle

    bundle = resolve_bundle(options.models, options.model_dir)
    shape = load_shape(bundle.shape)
    recipe = default_recipe(shape)
    recipe = replace(
        recipe,
        resolution=options.resolution,
        mode_count=options.modes,
        local_modes=recipe.local_modes if options.local_modes is None else options.local_modes,
        sample_count=options.samples,
        seed=options.seed,
    )
    texture = build_texture(shape, recipe)
    save_pca_texture(texture, options.output)
    print(
        f"{options.output}: {texture.latent_size} modes at {texture.resolution} px on the layout {texture.uv_layout}, "
        f"{options.output.stat().st_size / 1e6:.1f} MB"
    )


main = Command("make-texture", __doc__, _declare, _make, NOTES)

if __name__ == "__main__":
    sys.exit(main())
