import re

import pytest

from pipeline.names import short_hash, slug, stable_id

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
]


@pytest.mark.parametrize("name", HOSTILE)
def test_ids_are_safe_file_names(name: str) -> None:
    identifier = stable_id(name, name)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}-[0-9a-f]{16}", identifier)


def test_ids_are_distinct_and_stable() -> None:
    assert len({stable_id(name, name) for name in HOSTILE}) == len(HOSTILE)
    assert stable_id("people/anna/1.jpg", "anna-1") == "anna-1-" + short_hash("people/anna/1.jpg")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Élodie Dupré", "Elodie-Dupre"), ("../up", "up"), ("a  b__c", "a-b__c"), ("照片", "item"), ("a" * 60, "a" * 40)],
)
def test_slugs_are_readable(text: str, expected: str) -> None:
    assert slug(text) == expected
