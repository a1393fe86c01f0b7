"""Write the meshes of a run into one folder for other programs.

    ganfit export --run OUT --output FOLDER
    ganfit export --run OUT --output FOLDER --pose photo --formats glb obj --blendshapes
    ganfit export --run OUT --output FOLDER --pose clip --smooth-s 0.1
    ganfit export --run OUT --output FOLDER --layout now

Exports current rows: one neutral mesh per person, or one per photo with its expression and camera; one
animated head per clip; or the folders that
the evaluators of REALY, NoW and NeRSemble SVFR read. FOLDER/export.json says what each file is and what is missing.
docs/report_and_export.md describes the files.

Exit status: 0 when everything was written, 1 for bad input.
"""

import sys
from pathlib import Path
from typing import get_args

from jsonargparse import Namespace

from jobs.cli.command import MODEL_DIR_HELP, Command, CommandParser
from ops.weights.bundle import resolve_bundle
from pipeline.run.export import INDEX_FILE, ExportConfig, ExportLayout, Format, Pose, export_run
from pipeline.run.reader import open_run


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--run", required=True, help="the output of ganfit reconstruct: a path or a URI")
    add("--output", type=Path, required=True, help="a new or empty folder")
    add(
        "--pose",
        choices=get_args(Pose),
        default="neutral",
        help="neutral: one mesh per person. photo: one per photo. clip: one animated GLB per clip",
    )
    add(
        "--smooth-s",
        type=float,
        default=0.0,
        help="pose clip: smooth pose and expression over time; vibrations of a period of 2 pi times so many seconds "
        "are halved, faster ones vanish",
    )
    add("--formats", nargs="+", choices=get_args(Format), default=["glb"], help="glb, obj, ply")
    add("--blendshapes", action="store_true", help="the model's expression modes as morph targets of the GLB files")
    add("--layout", choices=get_args(ExportLayout), default="plain", help="folders and names of an evaluator")
    add("--models", help="bundle of the run, where its shape model has moved; default: as the run says")
    add("--model-dir", help=MODEL_DIR_HELP)


def _run(options: Namespace) -> None:
    bundle = resolve_bundle(options.models, options.model_dir) if options.models else None
    config = ExportConfig(
        pose=options.pose,
        formats=tuple(options.formats),
        blendshapes=options.blendshapes,
        layout=options.layout,
        smooth_s=options.smooth_s,
    )
    done = export_run(open_run(options.run, bundle), options.output, config)
    print(f"{done.files} files in {options.output}; {done.missing} without a mesh, see {options.output / INDEX_FILE}")


main = Command("export", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
