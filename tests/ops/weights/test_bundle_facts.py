from pathlib import Path

import pytest

from ops.weights.bundle_facts import bundle_line
from ops.weights.registry import known_file

BUNDLES = Path(__file__).parents[3] / "ops" / "weights" / "bundles"
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.mark.parametrize(("name", "allowed"), [("open", "yes"), ("research", "no"), ("ict", "no"), ("embedded", "yes")])
def test_commercial_use_follows_from_the_licences(name: str, allowed: str) -> None:
    assert bundle_line(BUNDLES / f"{name}.yaml").endswith(f"; commercial use: {allowed}")


def test_the_size_counts_each_file_and_what_lies_beside_it_once(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "recognition: {kind: dlib, known: dlib_recognition_face_api}\n"
        "detector: {kind: scrfd, known: scrfd_500m}\nlandmarks: {kind: scrfd, known: scrfd_500m}\n"
    )
    names = ("dlib_recognition_face_api", "dlib_recognition_face_api_manifest", "scrfd_500m")
    size = sum(known_file(name).size_bytes or 0 for name in names)
    assert bundle_line(tmp_path / "mine.yaml") == f"mine: {size / 1e6:.0f} MB; commercial use: no"


def test_a_file_of_ones_own_is_to_be_asked_about(tmp_path: Path) -> None:
    (tmp_path / "shape.bin").write_bytes(bytes(3_000_000))
    (tmp_path / "mine.yaml").write_text("what: for a study\nshape: {kind: ganfit, path: shape.bin, sha256: ff}\n")
    assert bundle_line(tmp_path / "mine.yaml") == "mine: for a study; 3 MB; commercial use: ask"


@pytest.mark.parametrize("name", ["open", "research"])
def test_the_documentation_has_the_lines(name: str) -> None:
    assert bundle_line(BUNDLES / f"{name}.yaml") in DOCUMENTATION.read_text()
