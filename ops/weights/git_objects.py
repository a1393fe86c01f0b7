"""Ids of git objects, computed from content: they name every byte, name and mode of a folder.

An id is the SHA-1 of a header and the content: `blob SIZE NUL bytes` for a file, `tree SIZE NUL entries` for a folder,
where an entry is `MODE NAME NUL` and the 20 bytes of the id of what it names.
"""

import hashlib
from collections.abc import Mapping

from ops.errors import ModelFormatError

REGULAR, EXECUTABLE, FOLDER = "100644", "100755", "40000"


class BlobHash:
    """The id of a file of known size, fed piece by piece."""

    def __init__(self, size: int) -> None:
        self._digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """Take the next piece."""
        self._digest.update(data)

    def id(self) -> str:
        """The id, hexadecimal."""
        return self._digest.hexdigest()


def blob_id(content: bytes) -> str:
    """The id of a file's content."""
    digest = BlobHash(len(content))
    digest.update(content)
    return digest.id()


def tree_id(files: Mapping[str, str], executable: frozenset[str] = frozenset()) -> str:
    """The id of a folder.

    Args:
        files: paths relative to the folder, with `/` between parts, and the ids of their blobs.
        executable: the paths among them with mode 100755; all others have 100644.

    Raises:
        ModelFormatError: a name is both a file and a folder.
    """
    entries: dict[str, tuple[str, str]] = {}
    folders: dict[str, dict[str, str]] = {}
    for path, blob in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = blob
        else:
            entries[name] = (EXECUTABLE if path in executable else REGULAR, blob)
    for name, content in folders.items():
        if name in entries:
            raise ModelFormatError(f"expected a file or a folder, {name} is both")
        inside = frozenset(path.removeprefix(f"{name}/") for path in executable if path.startswith(f"{name}/"))
        entries[name] = (FOLDER, tree_id(content, inside))
    ordered = sorted(entries, key=lambda name: (name + "/" if entries[name][0] == FOLDER else name).encode())
    body = b"".join(f"{entries[name][0]} {name}".encode() + b"\0" + bytes.fromhex(entries[name][1]) for name in ordered)
    return hashlib.sha1(b"tree %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
