"""Reading a file in ranges of bytes, on a disk or in an object store."""

import io
import os
from types import TracebackType
from typing import Any, NamedTuple, Self

import pyarrow as pa

from ops.files.filesystems import FILE_SCHEME, local_path_of, patiently, resolve

_LOCAL_AHEAD_BYTES, _REMOTE_AHEAD_BYTES = 1 << 16, 8 << 20
"""Read at a time while a container is listed."""


class Member(NamedTuple):
    """What a listing tells of a member."""

    name: str
    place: str
    """Words with commas between them that tell the format's `read` where the bytes are; the first is the format."""
    size_bytes: int | None = None
    modified_ns: int | None = None
    """None where the container's own time stands for it."""
    label: str | None = None
    """The person, where the container names one."""
    is_picture: bool = False
    """Whether it is a picture whatever it is called."""
    is_broken: bool = False
    """Whether it stands for a part of the container that cannot be listed."""


class RangeFile:
    """A file open for reading at any place."""

    def __init__(self, location: str) -> None:
        """Open it.

        Raises:
            OSError: it cannot be.
        """
        self.location = location
        path = local_path_of(location) if location.startswith(FILE_SCHEME) else location
        self.is_local = "://" not in path
        if self.is_local:
            self._file: Any = pa.OSFile(os.fsencode(path), "rb")
        else:
            filesystem, name = resolve(location)
            self._file = patiently(lambda: filesystem.open_input_file(name))
        self.size: int = self._file.size()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def raw(self) -> Any:
        """The open file itself."""
        return self._file

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes.

        Raises:
            EOFError: the file ends before.
            OSError: it cannot be read.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise EOFError(f"the file ends at byte {self.size}, expected {length} bytes from {offset} on")

        def fetch() -> bytes:
            self._file.seek(offset)
            return self._file.read(length)

        return fetch() if self.is_local else patiently(fetch)

    def ahead(self) -> "Ahead":
        """A file object for listing from front to back."""
        return Ahead(self)


class Ahead(io.RawIOBase):
    """Reads ahead, so that many small reads in order are few requests."""

    def __init__(self, file: RangeFile) -> None:
        """Start at the first byte."""
        self._source = file
        self._step = _LOCAL_AHEAD_BYTES if file.is_local else _REMOTE_AHEAD_BYTES
        self._position = 0
        self._start, self._window = 0, b""

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, which may lie behind the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes; fewer at the end alone."""
        left = max(0, self._source.size - self._position)
        size = left if size < 0 else min(size, left)
        if not size:
            return b""
        if not self._start <= self._position <= self._position + size <= self._start + len(self._window):
            length = min(max(size, self._step), left)
            self._start, self._window = self._position, self._source.read(self._position, length)
        cut = self._position - self._start
        self._position += size
        return self._window[cut : cut + size]

    def readall(self) -> bytes:
        """All that is left."""
        return self.read(-1)
