"""Downloads of known model files, verified before they are put in place."""

import os
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from ops.errors import AlteredModelFileError, MissingModelFileError, ModelFileError
from ops.weights.registry import ModelFile, remedy_of, sha256_of

ARCHIVE_FOLDER = ".downloads"
"""Archives are kept here inside the model directory: several files come from one archive."""


def fetch(item: ModelFile, model_dir: Path) -> Path:
    """Put a known file into the model directory, unless it is there already; returns its path.

    A file of that name with another checksum is replaced. Nothing appears under the final name before its checksum
    has been found right.

    Raises:
        MissingModelFileError: the file has no public address; the message says how to obtain it.
        ModelFileError: the download failed.
        AlteredModelFileError: the address delivers something else than registered.
    """
    target = model_dir / item.filename
    if target.is_file() and sha256_of(target) == item.sha256:
        return target
    if item.download is None:
        raise MissingModelFileError(f"{item.name} ({target}): {item.how_to_obtain}")
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        if item.download.member is None:
            _download(item.download.url, item.download.sha256, target)
        else:
            archive = model_dir / ARCHIVE_FOLDER / PurePosixPath(item.download.url).name
            archive.parent.mkdir(exist_ok=True)
            _download(item.download.url, item.download.sha256, archive)
            _extract(archive, item.download.member, item, target)
    except OSError as error:
        raise ModelFileError(f"{item.name}: could not put {item.download.url} at {target}: {error}") from error
    return target


def _download(url: str, sha256: str, target: Path) -> None:
    import pooch

    try:
        pooch.retrieve(url, f"sha256:{sha256}", target.name, target.parent, progressbar=False)
    except ValueError as error:  # pooch's answer to a wrong checksum
        raise AlteredModelFileError(f"{url}: expected sha256 {sha256}: {error}") from error


def _extract(archive: Path, member: str, item: ModelFile, target: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        entries = [name for name in content.namelist() if PurePosixPath(name).name == member]
        if len(entries) != 1:
            raise ModelFileError(f"{archive}: expected one {member}, found {len(entries)}")
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".partial-", delete=False) as partial:
            partial.write(content.read(entries[0]))
    partial_path = Path(partial.name)
    found = sha256_of(partial_path)
    if found != item.sha256:
        partial_path.unlink()
        raise AlteredModelFileError(
            f"{entries[0]} of {archive}: expected sha256 {item.sha256}, found {found}; "
            f"to do: {remedy_of(item, target.parent)} after deleting the archive"
        )
    partial_path.chmod(0o644)
    os.replace(partial_path, target)
