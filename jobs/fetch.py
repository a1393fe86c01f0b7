"""Fetch the model files of bundles, or single files, from their public addresses.

    ganfit fetch open
    ganfit fetch ict_facekit --model-dir DIR
    ganfit fetch open --to-mirror DIR        # where there is internet
    ganfit fetch open --mirror DIR           # where there is none

Files are verified by their sha256 and put in place whole; a download that was cut off goes on where it stopped. Files
that are there already are not fetched again. A mirror is a folder, a bucket (s3://...) or a web address that holds the
same files under the same names.

Exit status: 0 everything is there, 1 something could not be had, 2 interrupted.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import MIRROR_HELP, MODEL_DIR_HELP, Command, CommandParser
from ops.errors import ConfigurationError
from ops.weights.bundle_file import built_in_bundles, known_files_of
from ops.weights.fetch import fetch
from ops.weights.fetch_progress import FetchProgress
from ops.weights.known_files import KNOWN_FILES
from ops.weights.mirror import fill_mirror, named_mirror, shown
from ops.weights.placement import is_there
from ops.weights.registry import licences, megabytes, resolve_model_dir, with_companions
from ops.weights.sources import ModelFile


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    bundles = ", ".join(built_in_bundles())
    add(
        "names",
        nargs="+",
        metavar="BUNDLE_OR_FILE",
        help=f"a bundle ({bundles}), its YAML file, or a file that `ganfit assets list` shows",
    )
    add("--model-dir", type=Path, help=MODEL_DIR_HELP)
    add("--mirror", help=MIRROR_HELP)
    add("--to-mirror", metavar="PLACE", help="also copy the files to this folder or bucket")


def _run(options: Namespace) -> None:
    items = files_named(options.names)
    model_dir = resolve_model_dir(options.model_dir)
    fetch_and_say(items, model_dir, options.mirror)
    if options.to_mirror:
        fill_mirror(items, model_dir, options.to_mirror, FetchProgress())


def files_named(names: Sequence[str]) -> list[ModelFile]:
    """The files of bundles and of single names, each once.

    Raises:
        ConfigurationError: a name is neither.
    """
    known = {item.name: item for item in KNOWN_FILES}
    found: dict[str, ModelFile] = {}
    for name in names:
        if name in known:
            items = with_companions(known[name])
        elif name in built_in_bundles() or Path(name).is_file():
            items = known_files_of(name)
        else:
            raise ConfigurationError(
                f"expected a bundle ({', '.join(built_in_bundles())}), the path of its YAML file, or a model file "
                f"({', '.join(known)}), got {name!r}"
            )
        found |= {item.name: item for item in items}
    return list(found.values())


def fetch_and_say(items: Sequence[ModelFile], model_dir: Path, mirror: str | None = None) -> None:
    """Fetch files and say what came, from where, under which licences, and where it lies.

    Raises:
        ModelFileError: some could not be had.
    """
    progress = FetchProgress()
    absent = [item for item in items if not is_there(item, model_dir)]
    mirror = named_mirror(mirror)
    if absent:
        source = f" from the mirror {shown(mirror)}" if mirror else ""
        progress.say(f"{len(absent)} of {len(items)} files ({megabytes(absent)}) to fetch{source} into {model_dir}")
    fetch(items, model_dir, mirror, progress)
    if not absent:
        progress.say("everything is there already")
    for item in items:
        progress.say(f"  {item.filename}  {megabytes([item])}  {item.what}")
    for licence in licences(items):
        progress.say(f"licence: {licence}")
    if items:
        progress.say(f"{len(items)} files, {megabytes(items)}, in {model_dir}")


main = Command("fetch", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
