"""Make a data set of people who do not exist: a benchmark's layout, photos, portraits or UV maps, with the truth.

    ganfit make-synthetic --layout micc --subjects 3 --output synthetic-micc

writes, for every subject, two annotated neutral scans and three videos as MICC Florence has them, and to
synthetic-micc/truth what is true about them. `ganfit micc --data synthetic-micc --output OUT`
reconstructs and measures it. The same command again keeps the subjects that are complete, and adds more where asked to.

    ganfit make-synthetic --layout photos --subjects 4 --photos 2 --output synthetic-photos

photographs people into synthetic-photos/photos, a sub-folder per person, with their true shape and albedo beside it:
input of ganfit reconstruct and `ganfit ablation`.

    ganfit make-synthetic --layout uv --maps 10000 --side 256 --models embedded --output uv-maps

paints albedo maps on the UV layout of a bundle's shape model, in parallel processes: the training set of
`ganfit train-texture-gan`, and beside it texel_weight.npy, how much every texel counts there. Another --seed gives
held-out maps for `ganfit fit-texture`; --plain leaves out the detail that lies elsewhere on every face.

    ganfit make-synthetic --layout portraits --portraits 200 --models ict --output portraits

draws photo-like portraits of people of a bundle's shape model, with its painted or learned textures, and writes beside
them what is true: dense points in pixels, which of them are seen, coefficients and cameras; sheet.jpg shows some. They
are the pictures that `ganfit train-landmarks` learns from.

Exit status: 0 when done, 1 for bad input, 2 when interrupted (run the same command again to continue).
"""

import sys
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser, say
from ops.errors import ConfigurationError
from ops.faceworld.album import AlbumSettings, write_album
from ops.faceworld.portraits.stream import PortraitSettings
from ops.faceworld.shape import faceworld_model
from ops.weights.bundle import load_shape, resolve_bundle
from pipeline.cluster.session import local_cpus
from pipeline.micc.synthetic import SyntheticMiccSettings, write_synthetic_micc
from pipeline.studies.truth import ALBUM_TRUTH_FILE
from pipeline.training.portraits import write_portraits
from pipeline.training.synthetic_textures import SyntheticTextureSettings, write_synthetic_textures

SMALLEST_SIDE = 8


def _make(options: Namespace) -> None:
    if (
        min(options.subjects, options.photos, options.frames, options.maps, options.processes, options.portraits) < 1
        or options.seed < 0
    ):
        raise ConfigurationError(
            "expected at least one subject, photo, frame, map, portrait and process, and a seed of 0 or more"
        )
    if options.side < SMALLEST_SIDE:
        raise ConfigurationError(f"expected a side of at least {SMALLEST_SIDE}, got {options.side}")
    if options.layout == "micc":
        settings = SyntheticMiccSettings(seed=options.seed, frames=options.frames)
        write_synthetic_micc(faceworld_model(), options.output, options.subjects, settings, options.processes, say)
        return
    if options.layout == "photos":
        album = AlbumSettings(people=options.subjects, photos=options.photos, seed=options.seed)
        photos: Path = options.output / "photos"
        write_album(faceworld_model(), photos, photos.with_name(ALBUM_TRUTH_FILE), album)
        return
    bundle = resolve_bundle(options.models, options.model_dir)
    if options.layout == "portraits":
        write_portraits(bundle, options.output, options.portraits, PortraitSettings(seed=options.seed), say)
        return
    model = load_shape(bundle.shape)
    settings = SyntheticTextureSettings(
        side=options.side, seed=options.seed, image_format=options.image_format, plain=options.plain
    )
    write_synthetic_textures(model, options.output, options.maps, settings, options.processes, say)


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--layout", choices=["micc", "photos", "uv", "portraits"], default="micc", help="what to make")
    add("--subjects", type=int, default=3, help="micc, photos: number of people")
    add("--photos", type=int, default=4, help="photos: of each of them")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--seed", type=int, default=1, help="another seed gives other people")
    add("--frames", type=int, default=75, help="micc: frames of every clip")
    add("--maps", type=int, default=10_000, help="uv: number of maps")
    add("--portraits", type=int, default=100, help="portraits: number of pictures")
    add("--side", type=int, default=512, help="uv: texels along a side")
    add("--image-format", choices=["png", "jpg"], default="png", help="uv: files to write")
    add("--plain", action="store_true", help="uv: faces without spots, pores and streaks")
    add("--models", default="embedded", help="uv, portraits: bundle whose shape model is painted")
    add(
        "--model-dir", type=Path, help="uv, portraits: folder of the model files (default: $GANFIT_MODELS or the cache)"
    )
    add("--processes", type=int, default=local_cpus(), help="micc, uv: that film or paint (default: one per CPU)")


main = Command("make-synthetic", __doc__, _declare, _make)

if __name__ == "__main__":
    sys.exit(main())
