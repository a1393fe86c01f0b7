"""What a user wants to know of a bundle before choosing it: what it is, its size, whether it may be used commercially.

Nothing here imports torch.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ops.weights.registry import known_file, with_companions
from ops.weights.sources import ModelFile


def bundle_line(path: Path) -> str:
    """One line about the bundle of a YAML file: its name, what it is, the size of its files, and commercial use.

    Commercial use is "yes" where the licence of every registered file allows it, and "ask" where a file is the user's
    own. Files that ship with this package have its licence.
    """
    content: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = list(dict.fromkeys(_known(content)))
    shipped, own = _other(content, path.parent)
    size = sum(item.size_bytes or 0 for item in known) + shipped
    allowed = "no" if not all(item.commercial_use for item in known) else "ask" if own else "yes"
    what = f"{content['what']}; " if "what" in content else ""
    return f"{content.get('name', path.stem)}: {what}{size / 1e6:.0f} MB; commercial use: {allowed}"


def _known(content: Mapping[str, Any]) -> Iterator[ModelFile]:
    for entry in content.values():
        if isinstance(entry, Mapping) and "known" in entry:
            yield from with_companions(known_file(str(entry["known"])))


def _other(content: Mapping[str, Any], folder: Path) -> tuple[int, bool]:
    """Bytes of the files named by path, and whether one of them does not ship with this package."""
    size, own = 0, False
    for entry in content.values():
        if isinstance(entry, Mapping) and "path" in entry:
            path = (folder / str(entry["path"])).resolve()
            own |= Path(__file__).parent not in path.parents
            size += path.stat().st_size if path.is_file() else 0
    return size, own
