"""Who is who in an output whose persons were found by recognition.

::

    OUT/faces/FINGERPRINT-00003/faces.parquet  _DONE.json     embeddings of some input files
    OUT/people.parquet                                        the person of every input file

`people.parquet` is a manifest: it may be read, corrected and used as an input of its own. A later run of the same
command on a grown input keeps the persons it names.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from ops.errors import FingerprintMismatchError
from ops.face.clustering import cluster_faces, unit_rows
from pipeline.input.planner import item_versions
from pipeline.storage.folders import CommittedFolders
from pipeline.storage.lease import Fence
from pipeline.storage.parquet import read_table
from pipeline.storage.store import Storage

FACES_FOLDER, FACES_FILE, FACES_MARKER = "faces", "faces.parquet", "_DONE.json"
PEOPLE_FILE = "people.parquet"
_FINGERPRINT = b"fingerprint"

FACES = pa.schema([("face_key", pa.string()), ("embedding", pa.list_(pa.float32()))])
"""One row an input file in one version; null where it shows no usable face."""
PEOPLE = pa.schema(
    [
        ("uri", pa.large_string()),
        ("identity_id", pa.large_string()),
        ("kind", pa.string()),
        ("size_bytes", pa.int64()),
        ("modified", pa.timestamp("ns")),
        ("item_id", pa.large_string()),
        ("face_key", pa.string()),
        ("similarity", pa.float32()),
    ]
)
"""`similarity` is the mean cosine with the person's other files; null where there are none, or no face."""


def face_folders(root: Storage, fence: Fence | None) -> CommittedFolders:
    """The blocks of embeddings as committed folders."""
    return CommittedFolders(root=root, parent=FACES_FOLDER, marker=FACES_MARKER, fence=fence)


def block_name(fingerprint: str, block: int) -> str:
    """Embeddings of another configuration are not those of this one."""
    return f"{fingerprint}-{block:05d}"


def face_keys(items: pa.Table) -> list[str]:
    """Names of the items of `LISTED` in their present version: another one where the size or time of a file differs."""
    keys: Any = items.column("item_key").to_numpy()
    versions = item_versions(keys, items.column("size_bytes"), items.column("modified_ns"))
    return [f"{key:016x}-{version:016x}" for key, version in zip(keys.tolist(), versions.tolist(), strict=True)]


def read_faces(root: Storage, fingerprint: str) -> tuple[dict[str, Float32[np.ndarray, " channel"] | None], int]:
    """The stored embeddings by face key, and the first block number that is free."""
    faces: dict[str, np.ndarray | None] = {}
    free = 0
    for name in face_folders(root, None).read_all():
        digest, _, number = name.rpartition("-")
        if digest != fingerprint:
            continue
        free = max(free, int(number) + 1)
        table = read_table(root, f"{FACES_FOLDER}/{name}/{FACES_FILE}").combine_chunks()
        embeddings = table.column("embedding")
        for key, value in zip(table.column("face_key").to_pylist(), embeddings, strict=True):
            faces[key] = value.values.to_numpy().copy() if value.is_valid else None
    return faces, free


def read_people(root: Storage) -> pa.Table | None:
    """The persons that an earlier run found; None where there are none."""
    return read_table(root, PEOPLE_FILE) if root.exists(PEOPLE_FILE) else None


def check_people(root: Storage, people: pa.Table | None, fingerprint: str) -> pa.Table | None:
    """Those persons, where they were found with these settings.

    Raises:
        FingerprintMismatchError: they were found with others.
    """
    if people is None:
        return None
    before = (people.schema.metadata or {}).get(_FINGERPRINT, b"").decode()
    if before != fingerprint:
        raise FingerprintMismatchError(
            f"{root}/{PEOPLE_FILE} names persons that were found with other settings, models or code: run with those, "
            "or choose another output"
        )
    return people


def write_people(root: Storage, people: pa.Table, fingerprint: str) -> None:
    """Replace `people.parquet`."""
    buffer = io.BytesIO()
    pq.write_table(people.replace_schema_metadata({_FINGERPRINT: fingerprint.encode()}), buffer)
    root.write(PEOPLE_FILE, buffer.getvalue())


def find_people(
    items: pa.Table,
    faces: Mapping[str, Float32[np.ndarray, " channel"] | None],
    min_similarity: float,
    earlier: pa.Table | None = None,
) -> pa.Table:
    """The person of every item, as rows of `PEOPLE` in the order of the items.

    A person is called after the first of its items, by their ids; an item without a face is a person of its own, as it
    is in other layouts. The result depends on items, embeddings and earlier persons alone, not on any order.

    Args:
        items: rows of `LISTED`.
        faces: an entry for the face key of every item.
        min_similarity: mean cosine from which on groups of faces are joined.
        earlier: an earlier result: its persons keep their ids and their files, as far as these are unchanged.
    """
    keys = face_keys(items)
    ids: list[str] = items.column("item_id").to_pylist()
    names = list(ids)
    similarities: list[float | None] = [None] * len(ids)
    shown = [position for position, key in enumerate(keys) if faces[key] is not None]
    if shown:
        unit = unit_rows(np.stack([face for position in shown if (face := faces[keys[position]]) is not None]))
        given, known = _given([keys[position] for position in shown], earlier)
        groups = cluster_faces(unit, min_similarity, given)
        for position, name, value in zip(
            shown, _named(groups, [ids[p] for p in shown], given, known), _similarities(unit, groups), strict=True
        ):
            names[position], similarities[position] = name, value
    modified = items.column("modified_ns").cast(pa.timestamp("ns"))
    return pa.table(
        {
            "uri": items.column("uri"),
            "identity_id": pa.array(names, pa.large_string()),
            "kind": items.column("kind"),
            "size_bytes": items.column("size_bytes"),
            "modified": modified,
            "item_id": items.column("item_id"),
            "face_key": pa.array(keys, pa.string()),
            "similarity": pa.array(similarities, pa.float32()),
        },
        schema=PEOPLE,
    )


def _given(keys: list[str], earlier: pa.Table | None) -> tuple[np.ndarray, list[str]]:
    """The number of the earlier person of every face, -1 for none; and the names of those numbers."""
    if earlier is None:
        return np.full(len(keys), -1), []
    pairs = zip(earlier.column("face_key").to_pylist(), earlier.column("identity_id").to_pylist(), strict=True)
    person_of = {key: name for key, name in pairs if key is not None and name}
    known = sorted({person_of[key] for key in keys if key in person_of})
    number = {name: position for position, name in enumerate(known)}
    return np.array([number[person_of[key]] if key in person_of else -1 for key in keys]), known


def _named(groups: np.ndarray, ids: list[str], given: np.ndarray, known: list[str]) -> list[str]:
    """The name of every face's person."""
    name_of = {int(groups[face]): known[given[face]] for face in np.flatnonzero(given >= 0).tolist()}
    used = set(known)
    for face in sorted(range(len(ids)), key=lambda face: ids[face]):
        if int(groups[face]) not in name_of:
            name = base = f"person-{ids[face][-16:]}"
            count = 1
            while name in used:  # of a file that was replaced: the others keep the name
                count += 1
                name = f"{base}-{count}"
            name_of[int(groups[face])] = name
            used.add(name)
    return [name_of[group] for group in groups.tolist()]


def _similarities(unit: Float32[np.ndarray, "face channel"], groups: np.ndarray) -> list[float | None]:
    """The mean cosine of every face with the others of its group."""
    sums = np.zeros((int(groups.max()) + 1, unit.shape[1]))
    np.add.at(sums, groups, unit)
    others = np.bincount(groups)[groups] - 1
    mean = ((sums[groups] * unit).sum(1) - (unit * unit).sum(1)) / np.maximum(others, 1)
    return [float(value) if count else None for value, count in zip(mean, others, strict=True)]
