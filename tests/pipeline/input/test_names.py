import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.input.names import short_hash, slug, stable_id
from pipeline.input.planner import PlanConfig, block_of, plan_shards
from pipeline.input.sources import list_input

HOSTILE = [
    "../../etc/passwd",
    "/abs/olute",
    "a\0b",
    "x" * 5000,
    "CON",
    "nul.txt",
    "",
    "...",
    "é è ü.jpg",
    "照片",
    "a\udcffb",
    "-rf",
    ".hidden",
    "a\nb\tc",
    "🙂",
    "x" * 300,
    "é" * 300,
    ".",
    "..",
    "trailing dot.",
    "trailing space ",
    "C:\\windows\\system32",
    "\\\\server\\share",
    "~root",
    "a:stream",
    "COM1",
    "lpt9.tar.gz",
    "aux",
    "$HOME",
    "%2e%2e%2f",
    "\u202egpj.exe",
    "line\u2028separator",
    "\ufeffbom",
]
WRITABLE = [name for name in HOSTILE if "\udcff" not in name]
"""Those that are valid Unicode, which is all that a Parquet file can hold."""
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""Names that mean devices on Windows, whatever suffix follows."""


@pytest.mark.parametrize("name", HOSTILE)
def test_ids_are_safe_file_names(name: str) -> None:
    identifier = stable_id(name, name)
    assert identifier.split(".")[0].lower() not in RESERVED
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}-[0-9a-f]{16}", identifier)


def test_ids_are_distinct_and_stable() -> None:
    assert len({stable_id(name, name) for name in HOSTILE}) == len(HOSTILE)
    assert stable_id("people/anna/1.jpg", "anna-1") == "anna-1-" + short_hash("people/anna/1.jpg")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Anna", "anna"),
        ("caf\u00e9", "cafe\u0301"),
        ("ﬁ", "fi"),
        ("a b", "a-b"),
        ("x" * 300, "x" * 301),
        ("a/b", "a\\b"),
    ],
)
def test_names_that_look_alike_stay_apart_on_every_disk(one: str, other: str) -> None:
    """Also on disks that ignore case or normalise Unicode: the ids are ASCII, and their hashes are lower case."""
    assert stable_id(one, one).lower() != stable_id(other, other).lower()
    assert stable_id(one, one)[-16:] == stable_id(one, one)[-16:].lower()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Élodie Dupré", "Elodie-Dupre"), ("../up", "up"), ("a  b__c", "a-b__c"), ("照片", "item"), ("a" * 60, "a" * 40)],
)
def test_slugs_are_readable(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_hostile_identities_of_a_manifest_stay_inside_the_output(tmp_path: Path) -> None:
    """From the manifest to the names of meshes."""
    pq.write_table(
        pa.table({"uri": [f"{n}.jpg" for n in range(len(WRITABLE))], "identity_id": WRITABLE}), tmp_path / "m.parquet"
    )
    rows = plan_shards(list_input(tmp_path / "m.parquet").items, PlanConfig()).rows()
    block = block_of(rows)
    named = dict(zip(block.column("identity_id").to_pylist(), block.column("stem").to_pylist(), strict=True))
    assert {name for name in named if name in WRITABLE} == set(WRITABLE) - {""}
    output = tmp_path / "out" / "meshes"
    for stem in named.values():
        path = (output / f"{stem}.glb").resolve()
        assert path.parent == output.resolve()
        assert len(path.name.encode()) < 100
    assert len({stem.lower() for stem in named.values()}) == len(WRITABLE)
