"""OUT/report/index.html: the gallery of a run, which opens from a disk and loads nothing from elsewhere.

::

    OUT/report/index.html  gallery.css  gallery.js  viewer.js  three.js  the page, the same for every run
    OUT/report/data/run.js                               totals, configuration, list of data files
    OUT/report/data/topology.js                          triangles and texture coordinates of the model
    OUT/report/data/people-00000.js ...                  see `pipeline.gallery.people`

Pictures and meshes stay in the shards, see `pipeline.gallery.person_files`.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from ops.face.morphable_model import MorphableModel
from pipeline.gallery.people import DATA, write_people
from pipeline.run.shards import ShardSummary
from pipeline.run.summary import NO_JUDGE, RunSummary
from pipeline.storage.store import Storage

REPORT = "report"
REPORT_FILE = f"{REPORT}/index.html"
TOPOLOGY_FILE = f"{DATA}/topology.js"
ASSETS = ("index.html", "gallery.css", "gallery.js", "viewer.js", "three.js", "three.LICENSE.txt")


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """All that a report tells."""

    summary: RunSummary
    shards: Sequence[ShardSummary]
    """All that are committed, ascending."""
    record: Mapping[str, Any]
    """Content of run.json."""
    superseded: Mapping[int, frozenset[str]]
    """Shards with rows that are no longer current, and whose."""


def write_report(root: Storage, content: ReportContent, shape: Callable[[], MorphableModel]) -> str:
    """Write or renew the gallery and return where its page is.

    Args:
        root: the output.
        content: what it tells.
        shape: loads the shape model; called where the output has no topology yet.
    """
    blocks = write_people(root, [shard.shard for shard in content.shards], content.superseded)
    if not root.exists(TOPOLOGY_FILE):
        root.write(TOPOLOGY_FILE, topology_script(shape()))
    summary = content.summary
    run = {
        "items": summary.items,
        "planned_items": summary.planned_items,
        "identities": summary.identities,
        "frames": summary.frames,
        "remark": "" if summary.judged else NO_JUDGE,
        "shards": len(content.shards),
        "fit_seconds": round(sum(shard.fit_seconds for shard in content.shards), 1),
        "blocks": blocks,
        "record": {
            name: content.record.get(name) for name in ("fingerprint", "input", "configuration", "models", "versions")
        },
    }
    root.write(f"{DATA}/run.js", f"ganfit.run({json.dumps(run, default=str)});\n".encode())
    for name in reversed(ASSETS):
        root.write(f"{REPORT}/{name}", (files("pipeline.gallery") / "assets" / name).read_bytes())
    return f"{root}/{REPORT_FILE}"


def topology_script(shape: MorphableModel) -> bytes:
    """What the meshes of a run have in common: indices as 32 bits, texture coordinates as 32-bit floats, in base64."""

    def packed(values: Any, kind: str) -> str:
        return base64.b64encode(np.ascontiguousarray(values.detach().cpu().numpy(), kind).tobytes()).decode()

    content = {
        "triangles": packed(shape.triangles, "<u4"),
        "uv_triangles": packed(shape.uv_triangles, "<u4"),
        "uv": packed(shape.uv, "<f4"),
    }
    return f"ganfit.topology({json.dumps(content)});\n".encode()
