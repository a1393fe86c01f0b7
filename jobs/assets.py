"""List, verify and fetch model files.

    ganfit assets list
    ganfit assets verify [NAME ...]
    ganfit assets fetch [NAME ...]

Files live in the folder given by --model-dir, or by $GANFIT_MODELS, or else in the user's cache. Names are those of
bundles and of files. Without names, `verify` checks the files of the bundle `open` and every other known file that is
present; `fetch`, the same as `ganfit fetch`, gets the files of that bundle. Exit code 0: all as it should be; 1:
something is missing, altered or cannot be fetched.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import MIRROR_HELP, MODEL_DIR_HELP, Command, CommandParser
from jobs.fetch import fetch_and_say, files_named
from ops.errors import ModelFileError
from ops.weights.bundle_file import DEFAULT_BUNDLE
from ops.weights.known_files import KNOWN_FILES
from ops.weights.registry import licences, remedy_of, resolve_model_dir, sha256_of, verify
from ops.weights.sources import GitHubFolder, ModelFile, PlainUrl


def _run(options: Namespace) -> int:
    model_dir = resolve_model_dir(options.model_dir)
    if options.action == "list":
        return _list(model_dir)
    items = files_named(options.names or [DEFAULT_BUNDLE])
    if options.action == "verify":
        present = [] if options.names else [item for item in KNOWN_FILES if (model_dir / item.filename).is_file()]
        return _verify(list(dict.fromkeys([*items, *present])), model_dir)
    fetch_and_say(items, model_dir, options.mirror)
    return 0


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("action", choices=["list", "verify", "fetch"], help="list: licence, source and state of every known file")
    add("names", nargs="*", metavar="NAME", help="bundles, or files as `list` shows them")
    add("--model-dir", type=Path, help=MODEL_DIR_HELP)
    add("--mirror", help="with fetch: " + MIRROR_HELP)


def _list(model_dir: Path) -> int:
    print(f"model directory: {model_dir}")
    for item in KNOWN_FILES:
        size = f"{item.size_bytes / 1e6:.1f} MB" if item.size_bytes else "size not recorded"
        print(f"\n{item.name}  [{_state(item, model_dir)}]  {size}")
        print(f"  {item.what}")
        print(f"  file:    {item.filename}   sha256 {item.sha256}")
        print(f"  licence: {licences([item])[0]}")
        print(f"  source:  {item.source}")
        if item.download is not None:
            print(f"  address: {item.download.address}{_inside(item)}")
        else:
            print(f"  to get:  {item.how_to_obtain}")
    return 0


def _inside(item: ModelFile) -> str:
    match item.download:
        case None | PlainUrl():
            return ""
        case GitHubFolder(folder=part):
            return f", {part} in it, converted"
        case source:
            return f", {source.member} in it"


def _state(item: ModelFile, model_dir: Path) -> str:
    path = model_dir / item.filename
    if not path.is_file():
        return "absent"
    return "ok" if sha256_of(path) == item.sha256 else "ALTERED"


def _verify(items: Sequence[ModelFile], model_dir: Path) -> int:
    code = 0
    for item in items:
        try:
            path = verify(model_dir / item.filename, item.sha256, remedy_of(item, model_dir))
        except ModelFileError as error:
            print(error, file=sys.stderr)
            code = 1
        else:
            print(f"ok  {path}")
    return code


main = Command("assets", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
