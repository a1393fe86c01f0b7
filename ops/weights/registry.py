"""Where model files lie, and whether they are the ones expected.

Nothing here imports torch, so that a job can refuse a missing file at once.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ops.errors import AlteredModelFileError, ConfigurationError, MissingModelFileError
from ops.weights.known_files import KNOWN_FILES
from ops.weights.sources import ModelFile

MODEL_DIR_VARIABLE = "GANFIT_MODELS"


def known_file(name: str) -> ModelFile:
    """The registered file of that name.

    Raises:
        ConfigurationError: there is none.
    """
    for item in KNOWN_FILES:
        if item.name == name:
            return item
    names = ", ".join(item.name for item in KNOWN_FILES)
    raise ConfigurationError(f"no model file is registered as {name!r}; known are {names}")


def with_companions(item: ModelFile) -> tuple[ModelFile, ...]:
    """A file, and those that its network reads from the same folder."""
    return (item, *(known_file(name) for name in item.companions))


def resolve_model_dir(model_dir: Path | None = None) -> Path:
    """The folder model files live in: the given one, or $GANFIT_MODELS, or a folder in the user's cache.

    Raises:
        ConfigurationError: $GANFIT_MODELS is a URI.
    """
    if model_dir is not None:
        return model_dir.expanduser().absolute()
    named = os.environ.get(MODEL_DIR_VARIABLE)
    if named and "://" in named:
        raise ConfigurationError(f"expected a folder, but ${MODEL_DIR_VARIABLE} is {named}: name a folder for this")
    if named:
        return Path(named).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("ganfit")) / "models"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read once a process unless its size or time stamp changes."""
    status = path.stat()
    return _sha256(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the cache's key
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(path: Path, sha256: str, remedy: str | None = None) -> Path:
    """Make sure that a file is there and is the one expected; returns its path.

    Args:
        path: the file.
        sha256: its expected checksum, hexadecimal.
        remedy: what the user can do; None looks it up in the registry by checksum.

    Raises:
        MissingModelFileError: there is no such file.
        AlteredModelFileError: its checksum is another one.
    """
    advice = remedy or _remedy(path, sha256)
    expected = f"  path:     {path}\n  expected: sha256 {sha256}\n  found:   "
    if not path.is_file():
        raise MissingModelFileError(f"missing model file\n{expected} no file\n  to do:    {advice}")
    try:
        found = sha256_of(path)
    except PermissionError as error:
        raise MissingModelFileError(f"unreadable model file\n{expected} {error.strerror}") from error
    if found != sha256.lower():
        raise AlteredModelFileError(f"altered model file\n{expected} sha256 {found}\n  to do:    {advice}")
    return path


def _remedy(path: Path, sha256: str) -> str:
    for item in KNOWN_FILES:
        if item.sha256 == sha256:
            return remedy_of(item, path.parent)
    return "put the right file there, or correct the sha256 in the bundle file"


def remedy_of(item: ModelFile, model_dir: Path) -> str:
    """What a user does to get a known file into a model directory."""
    command = fetch_command(item.name, model_dir)
    if item.download is not None:
        return f"run `{command}`"
    return f"`{command}` says how to get it: {item.how_to_obtain}"


def fetch_command(what: str, model_dir: Path) -> str:
    """The command that fetches a bundle or a file into a model directory."""
    return f"ganfit fetch {what} --model-dir {model_dir}"


def megabytes(items: Sequence[ModelFile]) -> str:
    """The size of files together, for people."""
    unknown = " and some of unknown size" if any(item.size_bytes is None for item in items) else ""
    return f"{sum(item.size_bytes or 0 for item in items) / 1e6:.1f} MB{unknown}"


def licences(items: Sequence[ModelFile]) -> list[str]:
    """Every licence of files, and whether it allows commercial use, in the words used everywhere."""
    return list(
        dict.fromkeys(f"{item.licence}; commercial use: {'yes' if item.commercial_use else 'no'}" for item in items)
    )


def absence(bundle: str, absent: Sequence[ModelFile], model_dir: Path) -> str:
    """A paragraph about the files of a bundle that are not there: which, how large, which licences, and the command."""
    names = ", ".join(item.filename for item in absent)
    without = [item.name for item in absent if item.download is None]
    note = f" (it says how to get {', '.join(without)}, which have no public address)" if without else ""
    return (
        f"the models {bundle!r} are not all here: {model_dir} lacks {names} ({megabytes(absent)}). "
        f"Licences: {' | '.join(licences(absent))}. "
        f"To get them{note}, run `{fetch_command(bundle, model_dir)}`, or add --fetch to ganfit reconstruct."
    )
