"""Mirrors: model files under their names in a folder, at a web address or in a bucket."""

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from ops.errors import ConfigurationError, MissingModelFileError, ModelFileError
from ops.files.filesystems import FILE_SCHEME, local_path_of, resolve
from ops.weights.download import Progress, Readable, download_checked, unwritable
from ops.weights.sources import ModelFile

MIRROR_VARIABLE = "GANFIT_MIRROR"
_WEB_SCHEMES = ("http://", "https://")
_CHUNK_BYTES = 8 << 20


def named_mirror(mirror: str | None) -> str | None:
    """The mirror that is given, or that $GANFIT_MIRROR names."""
    return mirror or os.environ.get(MIRROR_VARIABLE) or None


def mirror_location(mirror: str, name: str) -> str:
    """Path or URI of a file of a mirror."""
    base, mark, query = mirror.partition("?") if "://" in mirror else (mirror, "", "")
    return f"{base.rstrip('/')}/{name}{mark}{query}"


def shown(location: str) -> str:
    """A path or URI for messages: without options and credentials."""
    if "://" not in location:
        return location
    scheme, _, rest = location.partition("?")[0].partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def get_checked(location: str, part: Path, check: Callable[[Path], None], progress: Progress, what: str) -> None:
    """Copy a file from a web address, folder or bucket to a `.part` file that passes the check.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFileError: it cannot be read, the copy cannot be written, or the check fails.
    """
    if location.startswith(_WEB_SCHEMES):
        download_checked(location, part, check, progress, what)
        return
    try:
        filesystem, path = _resolve(location)
        size = filesystem.get_file_info(path).size
        if size is None:
            raise MissingModelFileError(f"{shown(location)}: no such file")
        with filesystem.open_input_stream(path, compression=None) as source:
            _copy(source, part, lambda done: progress.received(what, done, size))
    except FileNotFoundError as error:
        raise MissingModelFileError(f"{shown(location)}: no such file") from error
    except OSError as error:
        raise ModelFileError(
            f"{shown(location)}: cannot be read ({error.strerror or error})\n"
            "  to do: check the mirror's address and your rights there"
        ) from error
    try:
        check(part)
    except ModelFileError:
        part.unlink()
        raise


def _resolve(location: str) -> tuple[pafs.FileSystem, str]:
    return resolve(local_path_of(location) if location.startswith(FILE_SCHEME) else location)


def _copy(source: Readable, target: Path, copied: Callable[[int], None]) -> None:
    try:
        with target.open("wb") as copy:
            _pump(source, copy, copied)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise unwritable(target, error) from error


def _pump(source: Readable, copy: Any, copied: Callable[[int], None]) -> None:
    done = 0
    while data := source.read(_CHUNK_BYTES):
        copy.write(data)
        done += len(data)
        copied(done)


def fill_mirror(items: Sequence[ModelFile], model_dir: Path, mirror: str, progress: Progress) -> None:
    """Copy files of the model directory to a mirror, except for those that are there already.

    Raises:
        ConfigurationError: the mirror is a web address.
        ModelFileError: the mirror cannot be written.
    """
    if mirror.startswith(_WEB_SCHEMES):
        raise ConfigurationError(f"expected a folder or a bucket to fill, got the web address {shown(mirror)}")
    for item in items:
        location = mirror_location(mirror, item.filename)
        try:
            if _sha256_at(location) == item.sha256:
                progress.say(f"there already: {shown(location)}")
                continue
            _put(model_dir / item.filename, location, progress)
        except OSError as error:
            raise ModelFileError(
                f"{shown(location)}: cannot be written ({error.strerror or error})\n"
                "  to do: make room there, or get the right to write there"
            ) from error
        progress.say(f"mirrored: {shown(location)}")


def _sha256_at(location: str) -> str | None:
    filesystem, path = _resolve(location)
    if not filesystem.get_file_info(path).is_file:
        return None
    digest = hashlib.sha256()
    with filesystem.open_input_stream(path, compression=None) as stream:
        while data := stream.read(_CHUNK_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _put(source: Path, location: str, progress: Progress) -> None:
    """Copy to a mirror; on disks under another name first, as stores show an object only when it is complete."""
    filesystem, path = _resolve(location)
    on_disk = isinstance(filesystem, pafs.LocalFileSystem)
    partial = f"{path}.partial-{uuid.uuid4().hex[:8]}" if on_disk else path
    if on_disk:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    total = source.stat().st_size
    try:
        with source.open("rb") as file, filesystem.open_output_stream(partial, compression=None) as copy:
            _pump(file, copy, lambda done: progress.received(source.name, done, total))
        if on_disk:
            os.replace(partial, path)
    finally:
        if on_disk:
            Path(partial).unlink(missing_ok=True)
