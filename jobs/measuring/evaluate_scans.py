"""Measure reconstructions against scans of the same people: your photos, or views drawn of textured scans.

    ganfit evaluate-scans --scans SCANS --output OUT
    ganfit evaluate-scans --scans SCANS --output OUT --draw-views --seed 3 --others eos=MESHES

SCANS has a sub-folder per person: a mesh (.obj, .ply, .glb, or .npz with V, F and where known UV), 68 landmarks of
which at least seven are known (.ljson, or landmarks*.npy with NaN), and photos in a folder of that name. People
without photos are drawn from their scan's texture. Every person is reconstructed from all photos, from each alone, and
from the landmarks alone; beside these stand the mean face, the shape model fitted to the scan itself, and any other
method's meshes, named as the person, in the model's topology or with their own .ljson.

Writes scans.parquet (one row per scan, method and photo: mean and median, by region, by the protocols now, paper and
deng), table.md, and a picture per scan. The same command continues an interrupted one.

Exit status: 0 when done, 1 for bad input or configuration, 2 when interrupted.
"""

from jobs.cli.interruption import end_at_once_when_interrupted

if __name__ == "__main__":
    end_at_once_when_interrupted()

import dataclasses
import sys
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import ADDRESS_HELP, MODEL_DIR_HELP, NUM_GPUS_HELP, PRESET_HELP, Command, CommandParser, say
from ops.errors import ConfigurationError
from ops.fit.config import preset
from ops.weights.bundle import resolve_bundle
from ops.weights.bundle_file import DEFAULT_BUNDLE
from pipeline.cluster.session import ClusterConfig
from pipeline.scans.evaluation import TABLE_FILE, TEXT_FILE, ScanBenchConfig, measure_scans
from pipeline.scans.views import ViewRange


def _run(options: Namespace) -> None:
    fit = preset(options.preset)
    if options.steps is not None:
        fit = dataclasses.replace(fit, steps=options.steps)
    config = ScanBenchConfig(
        scans=options.scans,
        output=options.output,
        fit=fit,
        views=ViewRange(count=options.views, max_yaw_deg=options.max_yaw, seed=options.seed),
        draw_views=options.draw_views,
        metric=options.metric,
        bearded=frozenset(options.bearded),
        others=dict(map(_named_folder, options.others)),
        cluster=ClusterConfig(address=options.address, num_gpus=options.num_gpus),
    )
    print(measure_scans(config, resolve_bundle(options.models, options.model_dir), say))
    print(f"written to {options.output}: {TABLE_FILE}, {TEXT_FILE}, pictures/")


def _named_folder(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and Path(folder).is_dir()):
        raise ConfigurationError(f"expected --others NAME=FOLDER with a folder of meshes, got {text!r}")
    return name, Path(folder)


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--scans", type=Path, required=True, help="folder with a sub-folder per person")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--models", default=DEFAULT_BUNDLE, help="bundle: a built-in name or a YAML file")
    add("--model-dir", help=MODEL_DIR_HELP)
    add("--preset", default="default", help=PRESET_HELP)
    add("--steps", type=int, help="iterations of the fit; default: the preset's")
    add("--draw-views", action="store_true", help="draw views of textured scans also where there are photos")
    add("--views", type=int, default=5, help="views drawn of a scan")
    add("--max-yaw", type=float, default=30.0, help="views turn so far to either side, degrees")
    add("--seed", type=int, default=0, help="of the views' pitch, focal length and light")
    add(
        "--metric", action="store_true", help="scans are in true mm; default: scaled to 90 mm between outer eye corners"
    )
    add("--bearded", nargs="*", default=[], metavar="NAME", help="scans of which only what lies above the mouth counts")
    add("--others", nargs="*", default=[], metavar="NAME=FOLDER", help="meshes of other methods to measure too")
    add("--num-gpus", type=int, help=NUM_GPUS_HELP)
    add("--address", help=ADDRESS_HELP)


main = Command("evaluate-scans", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
