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
from pipeline.shards import ShardStore, write_atomically

RUN_FILE = "run.json"
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
    input: str
    """Checksum of the plan: which item is in which shard."""

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
    root = Path(__file__).parents[1]
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


def read_record(root: Path) -> dict[str, Any] | None:
    """The content of run.json; None in a new folder.

    Raises:
        OutputError: the folder holds other things than a run, or its run.json cannot be read.
    """
    path = root / RUN_FILE
    if not path.exists():
        foreign = [entry.name for entry in root.iterdir() if entry.name != ".lock"] if root.is_dir() else []
        if foreign:
            raise OutputError(
                f"expected a new or empty folder, or one with a {RUN_FILE}, as output; {root} holds "
                f"{', '.join(sorted(foreign)[:5])}: choose another output"
            )
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}): choose another output") from error


def check_continuable(root: Path, record: Mapping[str, Any] | None, fingerprint: Fingerprint) -> None:
    """Whether this run may add to the folder: the same fingerprint, or no shard yet.

    Raises:
        FingerprintMismatchError: naming what differs.
    """
    store = ShardStore(root)
    committed = store.indices()
    if record is None or not committed:
        return
    old = record.get("fingerprint_parts", {})
    differences = list(_differences(old, fingerprint.parts(), ""))
    for index in committed:
        summary = store.summary(index)
        if not differences and summary is not None and summary.fingerprint != fingerprint.digest():
            differences = [f"shard {index:05d} has fingerprint {summary.fingerprint}"]
    if differences:
        listed = "\n".join(f"  {line}" for line in differences[:12])
        raise FingerprintMismatchError(
            f"{root} holds {len(committed)} shards of another configuration; what differs:\n{listed}\n"
            "Run with the old settings to continue it, or choose another output for the new ones."
        )


def write_record(root: Path, record: Mapping[str, Any]) -> None:
    """Replace run.json."""
    write_atomically(root / RUN_FILE, json.dumps(record, indent=2, sort_keys=True, default=str))


def _differences(old: Any, new: Any, name: str) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
    elif old != new:
        meaning = {
            "input": "the input: which files there are, --limit or --shard-size",
            "code": "the version of this program",
        }.get(name)
        yield meaning or f"{name}: {_short(old)} before, {_short(new)} now"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 70 else text[:67] + "..."
