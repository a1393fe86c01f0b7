"""Lists, verifies and downloads model files.

    python -m jobs.assets list
    python -m jobs.assets verify [NAME ...]
    python -m jobs.assets fetch [NAME ...]

Files live in the folder given by --models-dir, or by $GANFIT_MODELS, or else in the user's cache. Without names,
`verify` checks the files of the built-in bundle `ict` and every other known file that is present; `fetch` gets the
files of that bundle. Exit code 0: all as it should be; 1: something is missing, altered or cannot be fetched.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.command import command_parser, exit_status
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    model_dir = resolve_model_dir(options.models_dir)
    if options.command == "list":
        return _list(model_dir)
    items = [known_file(name) for name in options.names]
    if options.command == "verify":
        return _verify(items, model_dir)
    return _fetch(items or [known_file(name) for name in DEFAULT_NAMES], model_dir)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("assets", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, what in (
        ("list", "every known model file: licence, source, where it lies, whether it is in order"),
        ("verify", "check files against their registered sha256"),
        ("fetch", "download files, or say how to obtain those without a public address"),
    ):
        sub = commands.add_parser(command, help=what, description=what)
        sub.add_argument("--models-dir", type=Path, default=None, metavar="DIR", help="folder of the model files")
        if command != "list":
            sub.add_argument("names", nargs="*", metavar="NAME", help="names as `list` shows them")
    return parser


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


if __name__ == "__main__":
    sys.exit(main())
