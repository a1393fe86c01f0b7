"""Folders on disks and in object stores, by one small set of operations on top of Arrow's file systems.

A location is a local path or a URI, see `ops.files.filesystems`.

Two operations carry the promises of a run. `write` replaces a file as a whole: readers see the old content or the new
one. `create` makes a file unless it exists, and exactly one of several callers succeeds:

- local and NFS: a hard link, atomic on every POSIX file system; without links, an exclusive creation;
- S3, Google Cloud Storage, Azure: a conditional put (`If-None-Match: *`);
- elsewhere: the file is written, left alone for `SETTLE_S` and read back. Two callers are told apart as long as none of
  them stands still for longer than that between looking and writing; a store with conditional puts is to be preferred.
"""

import errno
import os
import posixpath
import shutil
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import pyarrow.fs as pafs

from ops.errors import ConfigurationError, OutputError
from ops.files.filesystems import (
    ARROW_SCHEMES,
    FILE_SCHEME,
    OBJECT_SCHEMES,
    fsspec_class,
    local_path_of,
    patiently,
    resolve,
    s3_options,
)
from pipeline.storage.submitted_job import in_submitted_job

R = TypeVar("R")
SETTLE_S = 2.0
"""How long a file lies before it is read back, on stores without conditional puts."""
_PARALLEL = 16
"""Requests at a time to an object store."""
_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class Entry:
    """A file or folder in a listing."""

    name: str
    """Relative to the folder that was listed, with `/` between parts."""
    is_file: bool
    size: int
    modified_ns: int
    """Nanoseconds since 1970; 0 where the store does not tell."""


@dataclass(frozen=True)
class Storage:
    """A folder; made by `open_storage`. It need not exist."""

    uri: str
    """An absolute local path, or a URI."""
    folder: str = ""
    """Relative to the URI."""

    def __str__(self) -> str:
        """For messages: without the URI's query and credentials, and without the folder's trailing slash."""
        base = self.uri
        if self.local is None:
            parts = urlsplit(self.uri)
            account, _, place = parts.netloc.rpartition("@")
            base = f"{parts.scheme}://{place if ':' in account else parts.netloc}{parts.path}".rstrip("/")
        return f"{base}/{self.folder}" if self.folder else base

    def __truediv__(self, name: str) -> "Storage":
        """A folder inside."""
        return Storage(self.uri, self._key(name))

    @property
    def local(self) -> Path | None:
        """The folder's path where it is one of this machine."""
        return None if "://" in self.uri else Path(self.uri) / self.folder

    @property
    def _has_objects(self) -> bool:
        """Whether this is a store without folders."""
        return urlsplit(self.uri).scheme in OBJECT_SCHEMES

    def _key(self, name: str) -> str:
        """A name relative to the URI."""
        return f"{self.folder}/{name}".strip("/")

    def location(self, name: str, *, public: bool = False) -> str:
        """The path or URI of a file; the public one without credentials and options, for tables and messages."""
        if self.local is not None:
            return str(self.local / name)
        path = self._key(name)
        base, mark, query = self.uri.partition("?")
        if urlsplit(base).scheme in ARROW_SCHEMES:
            path = quote(path)
        return f"{Storage(base)}/{path}" if public else f"{base}/{path}{mark}{query}"

    def filesystem(self) -> tuple[pafs.FileSystem, str]:
        """Arrow's file system, and the folder's path in it."""
        filesystem, base = resolve(self.uri)
        return filesystem, f"{base}/{self.folder}".rstrip("/") if self.folder else base

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read.
        """
        if self.local is not None:
            return (self.local / name).read_bytes()
        if self._has_objects:
            return _object(self.uri, self._key(name))
        filesystem, base = self.filesystem()

        def fetch() -> bytes:
            with filesystem.open_input_stream(f"{base}/{name}", compression=None) as stream:
                return stream.read()

        return patiently(fetch)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file as a whole, making its folder where needed.

        Raises:
            OSError: it cannot be written.
        """
        if self.local is not None:
            _replace(self.local / name, data)
            return
        filesystem, base = self.filesystem()
        self._make_parents([name])

        def put() -> None:
            with filesystem.open_output_stream(f"{base}/{name}", compression=None) as stream:
                stream.write(data)

        patiently(put)

    def create(self, name: str, data: bytes) -> bool:
        """Make a file unless there is one; says whether this call made it.

        Args:
            name: of the file.
            data: its content, which no other caller may write: a request that succeeded and was repeated because the
                answer was lost is told from a failure by it.

        Raises:
            OSError: it cannot be written.
        """
        if self.local is not None:
            made = _link(self.local / name, data)
        elif self._has_objects:
            made = _conditional_put(self.uri, self._key(name), data)
        else:
            return self._create_and_look(name, data)
        try:
            return made or self.read(name) == data
        except FileNotFoundError:
            return False

    def _create_and_look(self, name: str, data: bytes) -> bool:
        if self.exists(name):
            return False
        self.write(name, data)
        time.sleep(SETTLE_S)
        return self.read(name) == data

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder of that name."""
        filesystem, base = self.filesystem()
        found = self.patiently(lambda: filesystem.get_file_info(f"{base}/{name}"))
        return found.type != pafs.FileType.NotFound

    def entries(self, name: str = "", *, recursive: bool = False) -> list[Entry]:
        """What is in a folder, in no order; nothing where there is no such folder.

        Raises:
            OSError: it cannot be listed.
        """
        filesystem, base = (self / name if name else self).filesystem()
        selector = pafs.FileSelector(base, recursive=recursive, allow_not_found=True)
        cut = len(base) + 1
        return [
            Entry(info.path[cut:], info.type == pafs.FileType.File, info.size or 0, info.mtime_ns or 0)
            for info in self.patiently(lambda: filesystem.get_file_info(selector))
            if len(info.path) > cut
        ]

    def upload(self, source: Path, name: str) -> dict[str, int]:
        """Copy all files of a local folder to a folder here; gives their names and sizes."""
        files = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
        filesystem, base = (self / name).filesystem()
        (self / name)._make_parents(files)

        def send(relative: str) -> None:
            with (
                files[relative].open("rb") as file,
                filesystem.open_output_stream(f"{base}/{relative}", compression=None) as stream,
            ):
                shutil.copyfileobj(file, stream, _CHUNK_BYTES)

        in_parallel(lambda relative: self.patiently(lambda: send(relative)), files)
        return {relative: path.stat().st_size for relative, path in files.items()}

    def copy(self, names: Iterable[str], source: str, target: str) -> None:
        """Copy files from one folder here to another, inside the store.

        Raises:
            FileNotFoundError: one of them is not there.
        """
        filesystem, base = self.filesystem()
        names = list(names)
        (self / target)._make_parents(names)

        def copy(name: str) -> None:
            try:
                filesystem.copy_file(f"{base}/{source}/{name}", f"{base}/{target}/{name}")
            except OSError as error:  # stores do not agree on what to say
                if self.exists(f"{source}/{name}"):
                    raise
                raise FileNotFoundError(f"{self}/{source}/{name}") from error

        in_parallel(lambda name: self.patiently(lambda: copy(name)), names)

    def _make_parents(self, names: Iterable[str]) -> None:
        """Make the folders of files, in stores that have folders at all."""
        if not self._has_objects:
            filesystem, base = self.filesystem()
            for parent in {posixpath.dirname(f"{base}/{name}") for name in names}:
                filesystem.create_dir(parent, recursive=True)

    def remove(self, name: str) -> None:
        """Delete a file, or a folder with all it holds; nothing happens where there is none.

        Raises:
            OSError: it cannot be deleted.
        """
        if self._has_objects:
            _delete_objects(self.uri, self._key(name))
            return
        filesystem, base = self.filesystem()
        path = f"{base}/{name}"
        kind = self.patiently(lambda: filesystem.get_file_info(path)).type
        with suppress(FileNotFoundError):  # somebody else was faster
            if kind == pafs.FileType.Directory:
                self.patiently(lambda: filesystem.delete_dir(path))
            elif kind == pafs.FileType.File:
                self.patiently(lambda: filesystem.delete_file(path))

    def patiently(self, work: Callable[[], R]) -> R:
        """The result of work with this folder's file system; requests over a network are repeated where they fail.

        Raises:
            OSError: the last failure.
        """
        return work() if self.local is not None else patiently(work)


def open_storage(location: str | Path) -> Storage:
    """The folder at a path or URI; nothing is looked up yet.

    Raises:
        ConfigurationError: the scheme is unknown.
    """
    text = str(location)
    if isinstance(location, Path) or "://" not in text:
        return Storage(os.path.abspath(text))
    if text.startswith(FILE_SCHEME):
        return Storage(os.path.abspath(local_path_of(text)))
    scheme = urlsplit(text).scheme
    if scheme not in ARROW_SCHEMES:
        fsspec_class(scheme)
    base, mark, query = text.partition("?")
    return Storage(f"{base.rstrip('/')}{mark}{query}")


def open_output(location: str | Path) -> Storage:
    """The folder at a path or URI, to write results to.

    Raises:
        ConfigurationError: the scheme is unknown, or what is written there does not last.
    """
    storage = open_storage(location)
    if storage.local is None and urlsplit(storage.uri).scheme in ("memory", "http", "https", "data"):
        raise ConfigurationError(
            f"expected a folder or a URI that keeps what is written to it as output, got {location}: "
            "use a path, s3://, gs://, abfs:// or hdfs://"
        )
    if in_submitted_job() and "://" not in str(location) and not Path(location).is_absolute():
        raise ConfigurationError(
            f"expected an absolute path or a URI as output, got {location}: a submitted job runs in a copy of its "
            "working directory, which Ray deletes"
        )
    return storage


@contextmanager
def as_output_errors(output: Storage) -> Generator[None]:
    """Report as such that an output cannot be read or written.

    Raises:
        OutputError: naming the output and the cause.
    """
    try:
        yield
    except OSError as error:
        cause = f"{error.strerror}: {error.filename}" if error.strerror and error.filename else error.strerror or error
        raise OutputError(f"{output} cannot be used ({cause}): see to it, then run the same command again") from error


def in_parallel(work: Callable[[str], Any], names: Iterable[str]) -> list[Any]:
    """The work on every name, in their order; many requests under way at a time."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(work, names))


def _conditional_put(uri: str, name: str, data: bytes) -> bool:
    import obstore
    from obstore.exceptions import AlreadyExistsError

    with _object_errors(uri, name):
        try:
            obstore.put(_object_store(uri), name, data, mode="create")
        except AlreadyExistsError:
            return False
    return True


def _object(uri: str, name: str) -> bytes:
    """The content of an object; Arrow would ask for its size first."""
    import obstore

    with _object_errors(uri, name):
        return bytes(obstore.get(_object_store(uri), name).bytes())


def _delete_objects(uri: str, name: str) -> None:
    """Delete an object and all objects below it.

    Three requests for up to a thousand, each repeated by the client. Arrow's way is six or more that fail together, and
    leaves an empty object behind that stands for the parent folder.
    """
    import obstore

    store = _object_store(uri)

    with _object_errors(uri, name):
        below = [each["path"] for page in obstore.list(store, prefix=name) for each in page]
        if below:
            obstore.delete(store, below)
        with suppress(FileNotFoundError):
            obstore.delete(store, name)


@contextmanager
def _object_errors(uri: str, name: str) -> Generator[None]:
    """Errors of the client that can put conditionally, as Python's own."""
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        yield
    except AlreadyExistsError:
        raise
    except BaseError as error:
        raise OSError(f"{uri.split('?')[0]}/{name}: {error}") from error


@lru_cache(maxsize=16)
def _object_store(uri: str) -> Any:
    """The same place for the client that can put conditionally."""
    from obstore.store import from_url

    parts = urlsplit(uri)
    account, _, bucket = parts.netloc.rpartition("@")
    if parts.scheme != "s3":
        return from_url(f"{parts.scheme}://{parts.netloc}{parts.path}")
    options = s3_options(account, parts.query)
    scheme = options.get("scheme") or "https"
    filesystem: Any = resolve(uri)[0]
    settings: dict[str, Any] = {"region": options.get("region") or filesystem.region}
    if "endpoint_override" in options:
        settings["endpoint"] = f"{scheme}://{options['endpoint_override']}"
    if "access_key" in options:
        settings |= {"access_key_id": options["access_key"], "secret_access_key": options["secret_key"]}
    return from_url(f"s3://{bucket}{parts.path}", **settings, client_options={"allow_http": scheme == "http"})


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path, data) as temporary:
        temporary.replace(path)


def _link(path: Path, data: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _beside(path, data) as temporary:
            os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        return _exclusive(path, data)
    return True


def _exclusive(path: Path, data: bytes) -> bool:
    """For file systems without hard links; a reader may come before the content is there."""
    try:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


@contextmanager
def _beside(path: Path, data: bytes) -> Generator[Path]:
    """A complete temporary file in the same folder, flushed to the disk, gone at the end."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
