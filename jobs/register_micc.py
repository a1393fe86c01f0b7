"""Register the MICC Florence scans: deform a template face onto every annotated frontal scan.

    ganfit register-micc --data MICC --landmarks LJSON_DIR --output REG

writes, per scan, the registered template and the cleaned scan as PLY (millimetres, in the scan's frame) and a row of
registrations.parquet with figures of quality, or the reason why there is none. After an interruption the same command
continues where it stopped.

Exit status: 0 when every scan is accounted for, 1 for bad input or configuration, 2 when interrupted (run the same
command again to continue).
"""

import sys
from collections import Counter
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser, say
from ops.weights.bundle import resolve_bundle
from ops.weights.bundle_file import DEFAULT_BUNDLE
from pipeline.cluster.item_tasks import TaskConfig
from pipeline.micc.annotation import Annotator
from pipeline.micc.registration import RegisterConfig, register
from pipeline.micc.template_source import open_template


def _run(options: Namespace) -> None:
    template = open_template(options.template, options.template_landmarks, options.model_dir)
    config = RegisterConfig(
        data=options.data,
        output=options.output,
        landmarks=options.landmarks,
        annotator=Annotator(bundle=resolve_bundle(options.annotate, options.model_dir)) if options.annotate else None,
        tasks=TaskConfig(workers=options.workers, address=options.address),
    )
    rows = register(config, template, say)
    counts = Counter(f"{row['status']} {row['reason']}".strip() for row in rows)
    print()
    for label, count in sorted(counts.items()):
        print(f"{label:32}{count:>6}")
    good = [row for row in rows if row["status"] == "ok"]
    if good:
        residual = sum(row["residual_mm"] for row in good) / len(good)
        print(f"mean distance of the registered faces to their scans: {residual:.3f} mm")
    print(f"written to {options.output}: registrations.parquet, template.npz, items/")


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder with subject_01, subject_02, ...")
    add("--landmarks", type=Path, help="folder of LJSON annotations; default: anywhere below --data")
    add("--annotate", metavar="BUNDLE", help="find the landmarks of textured scans without LJSON by its networks")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add(
        "--template",
        default=DEFAULT_BUNDLE,
        help="what is registered: a bundle's name, a shape model (.safetensors), or a mesh; take the model that "
        "reconstructs, so that its meshes can be measured vertex by vertex",
    )
    add("--template-landmarks", type=Path, help="with a mesh: text file of 68 vertex numbers from 0, iBUG order")
    add("--model-dir", type=Path, help="folder of model files; default: $GANFIT_MODELS, else a cache")
    add("--workers", type=int, help="scans at a time; default: one per CPU; 0: in this process, without Ray")
    add("--address", help="Ray cluster to join; default: $RAY_ADDRESS, else this machine alone")


main = Command("register-micc", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
