"""Measure reconstructions against registered MICC Florence scans and print the benchmark's table.

    ganfit evaluate-micc --registered REG --reconstructions RUN --protocol ganfit-code --output DIR

takes the output of ganfit register-micc and either a run of ganfit reconstruct whose identities are called
subject_NN/<Setting>, or any folder of meshes laid out as subject_NN/<Setting>.obj (or .ply, .glb) with the settings
Indoor-Cooperative, PTZ-Indoor and PTZ-Outdoor. It writes pairs.parquet (one row per subject, setting and scan, with the
reason where there is no figure), table.txt and table.json.

Protocol ganfit-code needs meshes in the topology of the registered template. The others take any topology; a mesh
that is not in the template's brings its 68 landmarks as <Setting>.ljson beside it.

Exit status: 0 when every pair is accounted for, 1 for bad input or configuration, 2 when interrupted (run the same
command again to continue).
"""

import sys
from pathlib import Path

from jsonargparse import Namespace

from evaluation.protocols import Protocol
from jobs.cli.command import Command, CommandParser, say
from pipeline.cluster.item_tasks import TaskConfig
from pipeline.micc.evaluation import Against, EvaluateConfig, Unit, evaluate
from pipeline.micc.reconstruction_files import open_reconstructions


def _run(options: Namespace) -> None:
    protocol = Protocol(options.protocol)
    reconstructions = open_reconstructions(options.reconstructions)
    authors_unit = protocol is Protocol.GANFIT_CODE and not reconstructions.is_run
    unit = Unit(options.unit) if options.unit else (Unit.TEMPLATE if authors_unit else Unit.MM)
    config = EvaluateConfig(
        registered=options.registered,
        output=options.output,
        protocol=protocol,
        unit=unit,
        scale=options.scale,
        against=Against(options.against),
        tasks=TaskConfig(workers=options.workers, chunk=6, address=options.address),
    )
    method = options.method or options.reconstructions.resolve().name
    found = evaluate(config, reconstructions, method, say)
    print()
    print(found.text)
    print(f"\nwritten to {options.output}: pairs.parquet, table.txt, table.json")


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--registered", type=Path, required=True, help="output of ganfit register-micc")
    add("--reconstructions", type=Path, required=True, help="a run of ganfit reconstruct, or a folder of meshes")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add(
        "--protocol",
        choices=[protocol.value for protocol in Protocol],
        default=Protocol.GANFIT_CODE.value,
        help="evaluation protocol; a table holds one",
    )
    add(
        "--unit",
        choices=[unit.value for unit in Unit],
        help="unit of OBJ and PLY meshes: mm, m, or template (100 mm, the authors'); default: mm, but template for "
        "a folder under ganfit-code",
    )
    add("--scale", type=float, default=1.0, help="one factor for all meshes of a method without metric scale")
    add(
        "--against",
        choices=[against.value for against in Against],
        default=Against.SCAN.value,
        help="ground truth of paper, deng and now: the raw scan, or the registered template",
    )
    add("--method", help="name in the table; default: the folder's")
    add("--workers", type=int, help="tasks at a time; default: one per CPU; 0: in this process, without Ray")
    add("--address", help="Ray cluster to join; default: $RAY_ADDRESS, else this machine alone")


main = Command("evaluate-micc", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
