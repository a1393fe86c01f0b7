"""Lists, verifies and downloads model files.

    ganfit assets list
    ganfit assets verify [NAME ...]
    ganfit assets fetch [NAME ...]

Files live in the folder given by --model-dir, or by $GANFIT_MODELS, or else in the user's cache. Without names,
`verify` checks the files of the built-in bundle `ict` and every other known file that is present; `fetch` gets the
files of that bundle. Exit code 0: all as it should be; 1: something is missing, altered or cannot be fetched.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from jobs.command import MODEL_DIR_HELP, Command, CommandParser
from ops.errors import ModelFileError
from ops.weights.fetch import fetch
from ops.weights.registry import (
    KNOWN_FILES,
    ModelFile,
    known_file,
    remedy_of,
    resolve_model_dir,
    sha256_of,
    verify,
)

DEFAULT_NAMES = ("ict_facekit_face", "arcface_mobilefacenet", "scrfd_500m", "pfld_68", "recognition_second")
"""The files of the bundle `ict`."""


def _run(options: Namespace) -> int:
    model_dir = resolve_model_dir(options.model_dir)
    if options.action == "list":
        return _list(model_dir)
    items = [known_file(name) for name in options.names]
    if options.action == "verify":
        return _verify(items, model_dir)
    return _fetch(items or [known_file(name) for name in DEFAULT_NAMES], model_dir)


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("action", choices=["list", "verify", "fetch"], help="list: licence, source and state of every known file")
    add("names", nargs="*", metavar="NAME", help="names as `list` shows them")
    add("--model-dir", type=Path, help=MODEL_DIR_HELP)


def _list(model_dir: Path) -> int:
    print(f"model directory: {model_dir}")
    for item in KNOWN_FILES:
        size = f"{item.size_bytes / 1e6:.1f} MB" if item.size_bytes else "size not recorded"
        print(f"\n{item.name}  [{_state(item, model_dir)}]  {size}")
        print(f"  {item.what}")
        print(f"  file:    {item.filename}   sha256 {item.sha256}")
        print(f"  licence: {item.licence}")
        print(f"  source:  {item.source}")
        if item.download is not None:
            part = f" ({item.download.member} inside)" if item.download.member else ""
            print(f"  address: {item.download.url}{part}")
        else:
            print(f"  to get:  {item.how_to_obtain}")
    return 0


def _state(item: ModelFile, model_dir: Path) -> str:
    path = model_dir / item.filename
    if not path.is_file():
        return "absent"
    return "ok" if sha256_of(path) == item.sha256 else "ALTERED"


def _verify(items: Sequence[ModelFile], model_dir: Path) -> int:
    if not items:
        items = [item for item in KNOWN_FILES if item.name in DEFAULT_NAMES or (model_dir / item.filename).is_file()]
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


def _fetch(items: Sequence[ModelFile], model_dir: Path) -> int:
    code = 0
    for item in items:
        try:
            print(f"ok  {fetch(item, model_dir)}  (licence: {item.licence})")
        except ModelFileError as error:
            print(f"not fetched: {error}", file=sys.stderr)
            code = 1
    return code


main = Command("assets", __doc__, _declare, _run)

if __name__ == "__main__":
    sys.exit(main())
