"""Model files that lie in an object store: copied to this machine once, verified, and shared by its processes."""

import fcntl
import os
import shutil
import uuid
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from ops.errors import AlteredModelFileError, MissingModelFileError, ModelFileError
from ops.files.filesystems import resolve
from ops.weights.registry import sha256_of

CACHE_VARIABLE = "GANFIT_CACHE"
_CHUNK_BYTES = 8 << 20


def is_remote(location: str | Path) -> bool:
    """Whether a model file or folder is named by a URI."""
    return isinstance(location, str) and "://" in location


def cached_copy(uri: str, sha256: str, beside: str | None = None) -> Path:
    """The copy of a model file on this machine, fetched unless an earlier call of any process did.

    Copies are kept by checksum in $GANFIT_CACHE, or else in the user's cache directory; one that a network reads beside
    another file lies beside that one's copy, whose checksum is `beside`. Nothing appears under the final
    name before its checksum has been found right.

    Raises:
        MissingModelFileError: there is no such file.
        AlteredModelFileError: its checksum is another one.
        ModelFileError: it cannot be fetched, or not be kept.
    """
    name = PurePosixPath(urlsplit(uri).path).name
    target = _cache() / (beside or sha256)[:16] / name
    plain = uri.partition("?")[0]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_file() or sha256_of(target) != sha256.lower():
                _fetch(uri, plain, sha256.lower(), target)
    except FileNotFoundError as error:
        raise MissingModelFileError(
            f"missing model file\n  path:     {plain}\n  expected: sha256 {sha256}\n  found:    no file\n"
            "  to do:    put the file there"
        ) from error
    except OSError as error:
        raise ModelFileError(f"{plain}: could not be fetched to {target}: {error}") from error
    return target


def _fetch(uri: str, plain: str, sha256: str, target: Path) -> None:
    filesystem, path = resolve(uri)
    partial = target.with_name(f".partial-{uuid.uuid4().hex[:8]}")
    try:
        with filesystem.open_input_stream(path, compression=None) as source, partial.open("xb") as copy:
            shutil.copyfileobj(source, copy, _CHUNK_BYTES)
        found = sha256_of(partial)
        if found != sha256:
            raise AlteredModelFileError(
                f"altered model file\n  path:     {plain}\n  expected: sha256 {sha256}\n  found:    sha256 {found}"
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser().absolute() / "models"
    import pooch

    return Path(pooch.os_cache("ganfit")) / "fetched-models"
