"""run.json: what a run is, and whether an output folder may be continued with it."""

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ops.errors import FingerprintMismatchError, OutputError
from pipeline.run.attempts import ATTEMPTS
from pipeline.run.groups import FACES_FOLDER, PEOPLE_FILE
from pipeline.run.plans import PLANS
from pipeline.run.shards import ShardSummary
from pipeline.storage.folders import STAGED
from pipeline.storage.lease import FOLDER as LEASE_FOLDER
from pipeline.storage.store import Storage

RUN_FILE = "run.json"
LEARNED_TEXTURE = "learned_texture"
"""The folder in a run's output where its texture model is learned before it begins."""
_CODE_PACKAGES = ("ops", "evaluation", "pipeline")
_LIBRARIES = ("ganfit", "torch", "numpy", "numba", "onnxruntime", "pyarrow", "ray", "pillow", "av")


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Everything that decides what the shards contain; where the run happens is no part of it."""

    configuration: Mapping[str, Any]
    models: Mapping[str, Any]
    """Name, kind and sha256 of every model; paths are no part of it."""
    code: str
    """Checksum of this project's source."""
    input: str = ""
    """Checksum of the input, where a run cannot go on with another one."""

    def parts(self) -> dict[str, Any]:
        """As stored in run.json."""
        content = {name: getattr(self, name) for name in ("configuration", "models", "code", "input")}
        return json.loads(json.dumps(content))

    def digest(self) -> str:
        """Sixteen hexadecimal digits."""
        return sha256(json.dumps(self.parts(), sort_keys=True).encode()).hexdigest()[:16]


@lru_cache
def code_checksum() -> str:
    """sha256 over the source of the packages that make results, as it was when first asked for."""
    root = Path(__file__).parents[2]
    digest = sha256()
    for package in _CODE_PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Python and the libraries that matter for numbers and file formats."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def read_record(root: Storage) -> dict[str, Any] | None:
    """The content of run.json; None in a new folder.

    Raises:
        OutputError: the folder holds other things than a run, or its run.json cannot be read.
    """
    try:
        return json.loads(root.read(RUN_FILE))
    except FileNotFoundError:
        foreign = _foreign(root)
        if foreign:
            raise OutputError(
                f"expected a new or empty folder, or one with a {RUN_FILE}, as output; {root} holds "
                f"{', '.join(sorted(foreign)[:5])}: choose another output"
            ) from None
        return None
    except NotADirectoryError as error:
        raise OutputError(f"expected a folder that can be written as output, got {root}: {error.strerror}") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{root}/{RUN_FILE} cannot be read ({error}): choose another output") from error


def _foreign(root: Storage) -> list[str]:
    """What is there beside that with which a run begins, before it writes its record."""
    ours = (LEASE_FOLDER, PLANS, LEARNED_TEXTURE, FACES_FOLDER, PEOPLE_FILE, ATTEMPTS, STAGED)
    try:
        return [entry.name for entry in root.entries() if entry.name not in ours]
    except OSError as error:
        raise OutputError(f"expected a folder that can be written as output, got {root}: {error}") from error


def check_continuable(
    root: Storage,
    record: Mapping[str, Any] | None,
    fingerprint: Fingerprint,
    committed: Mapping[int, ShardSummary],
) -> None:
    """Whether this run may add to the folder: the same fingerprint, or no shard yet.

    Raises:
        FingerprintMismatchError: naming what differs.
    """
    if record is None or not committed:
        return
    old = record.get("fingerprint_parts", {})
    differences = list(_differences(old, fingerprint.parts(), ""))
    digest = fingerprint.digest()
    if not differences:
        differences = [
            f"shard {index:05d} has fingerprint {summary.fingerprint}"
            for index, summary in committed.items()
            if summary.fingerprint != digest
        ]
    if differences:
        listed = "\n".join(f"  {line}" for line in differences[:12])
        raise FingerprintMismatchError(
            f"{root} holds {len(committed)} shards of another configuration; what differs:\n{listed}\n"
            "Run with the old settings to continue it, or choose another output for the new ones."
        )


def write_record(root: Storage, record: Mapping[str, Any]) -> None:
    """Replace run.json."""
    root.write(RUN_FILE, json.dumps(record, indent=2, sort_keys=True, default=str).encode())


def _differences(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    elif old != new:
        meaning = {"input": "the input", "code": "the version of this program"}.get(name)
        yield meaning or f"{name}: {_short(old)} before, {_short(new)} now"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 70 else text[:67] + "..."
