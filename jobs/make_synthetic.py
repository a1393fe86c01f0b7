"""Make a data set of people who do not exist: in a benchmark's layout with the truth beside it, or as UV maps.

    python -m jobs.make_synthetic --layout micc --subjects 3 --output synthetic-micc

writes, for every subject, two annotated neutral scans and three videos as MICC Florence has them, and to
synthetic-micc/truth what is true about them. `python -m jobs.micc --data synthetic-micc --output OUT`
reconstructs and measures it. The same command again keeps the subjects that are complete, and adds more where asked to.

    python -m jobs.make_synthetic --layout photos --subjects 4 --photos 2 --output synthetic-photos

photographs people into synthetic-photos/photos, a sub-folder a person, with their true shape and albedo beside it:
input of jobs.reconstruct and `jobs.ablation`.

    python -m jobs.make_synthetic --layout uv --maps 10000 --side 256 --models embedded --output uv-maps

paints albedo maps on the UV layout of a bundle's shape model, in parallel processes: the training set of
`jobs.train_texture_gan`, and beside it texel_weight.npy, how much every texel counts there. Another --seed gives
held-out maps for `jobs.fit_texture`; --plain leaves out the detail that lies elsewhere on every face.

Exit status: 0 when done, 1 for bad input, 2 when interrupted (run the same command again to continue).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.command import command_parser, exit_status, say
from ops.faceworld.album import AlbumSettings, write_album
from ops.faceworld.shape import faceworld_model
from ops.weights.bundle import load_shape, resolve_bundle
from pipeline.cluster.session import local_cpus
from pipeline.micc.synthetic import SyntheticMiccSettings, write_synthetic_micc
from pipeline.studies.truth import ALBUM_TRUTH_FILE
from pipeline.training.synthetic_textures import SyntheticTextureSettings, write_synthetic_textures

SMALLEST_SIDE = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("make_synthetic", __doc__)
    add = parser.add_argument
    add("--layout", choices=["micc", "photos", "uv"], default="micc", help="what to make (default: %(default)s)")
    add("--subjects", type=int, default=3, help="micc, photos: number of people (default: %(default)s)")
    add("--photos", type=int, default=4, help="photos: of each of them (default: %(default)s)")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--seed", type=int, default=1, help="another seed gives other people (default: %(default)s)")
    add("--frames", type=int, default=75, help="micc: frames of every clip (default: %(default)s)")
    add("--maps", type=int, default=10_000, help="uv: number of maps (default: %(default)s)")
    add("--side", type=int, default=512, help="uv: texels along a side (default: %(default)s)")
    add("--image-format", choices=["png", "jpg"], default="png", help="uv: files to write (default: %(default)s)")
    add("--plain", action="store_true", help="uv: faces without spots, pores and streaks")
    add("--models", default="embedded", help="uv: bundle whose shape model is painted (default: %(default)s)")
    add("--model-dir", type=Path, help="uv: folder of the model files (default: $GANFIT_MODELS or the cache)")
    add("--processes", type=int, default=local_cpus(), help="micc, uv: that film or paint (default: one a CPU)")
    options = parser.parse_args(arguments)
    if min(options.subjects, options.photos, options.frames, options.maps, options.processes) < 1 or options.seed < 0:
        parser.error("expected at least one subject, photo, frame, map and process, and a seed of 0 or more")
    if options.side < SMALLEST_SIDE:
        parser.error(f"expected a side of at least {SMALLEST_SIDE}")
    return exit_status(lambda: _make(options))


def _make(options: argparse.Namespace) -> None:
    if options.layout == "micc":
        settings = SyntheticMiccSettings(seed=options.seed, frames=options.frames)
        write_synthetic_micc(faceworld_model(), options.output, options.subjects, settings, options.processes, say)
        return
    if options.layout == "photos":
        album = AlbumSettings(people=options.subjects, photos=options.photos, seed=options.seed)
        photos: Path = options.output / "photos"
        write_album(faceworld_model(), photos, photos.with_name(ALBUM_TRUTH_FILE), album)
        return
    model = load_shape(resolve_bundle(options.models, options.model_dir).shape)
    settings = SyntheticTextureSettings(
        side=options.side, seed=options.seed, image_format=options.image_format, plain=options.plain
    )
    write_synthetic_textures(model, options.output, options.maps, settings, options.processes, say)


if __name__ == "__main__":
    sys.exit(main())
