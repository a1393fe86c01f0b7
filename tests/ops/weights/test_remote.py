import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from ops.errors import AlteredModelFileError, ConfigurationError, MissingModelFileError
from ops.weights.bundle import resolve_bundle
from ops.weights.registry import known_file, resolve_model_dir
from ops.weights.remote import cached_copy

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URI of a folder that holds one model file; copies go to an empty cache."""
    monkeypatch.setenv("GANFIT_CACHE", str(tmp_path / "cache"))
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/models/net.onnx", CONTENT)
    yield "memory://models"
    memory.rm("/models", recursive=True)


def test_a_file_is_fetched_once_and_verified(store: str) -> None:
    path = cached_copy(f"{store}/net.onnx", SHA256)
    assert path.read_bytes() == CONTENT
    fsspec.filesystem("memory").pipe_file("/models/net.onnx", b"another")
    assert cached_copy(f"{store}/net.onnx", SHA256) == path
    path.write_bytes(b"damaged")
    with pytest.raises(AlteredModelFileError, match=f"expected: sha256 {SHA256}"):
        cached_copy(f"{store}/net.onnx", SHA256)
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".partial")] == []


def test_a_companion_lies_beside_the_file_that_is_read_with_it(store: str) -> None:
    companion = b"scales"
    fsspec.filesystem("memory").pipe_file("/models/net.json", companion)
    path = cached_copy(f"{store}/net.onnx", SHA256)
    beside = cached_copy(f"{store}/net.json", hashlib.sha256(companion).hexdigest(), beside=SHA256)
    assert beside == path.with_name("net.json")
    assert (path.read_bytes(), beside.read_bytes()) == (CONTENT, companion)


def test_processes_that_ask_together_share_one_fetch(store: str) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(cached_copy(f"{store}/net.onnx", SHA256))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_missing_files_are_named(store: str) -> None:
    with pytest.raises(MissingModelFileError, match="memory://models/gone"):
        cached_copy(f"{store}/gone", SHA256)


def test_bundles_name_files_in_stores(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.yaml"
    file = f"path: '{store}/net.onnx', sha256: {SHA256}"
    own.write_text(
        "shape: {kind: faceworld}\ntexture: {kind: procedural-pca}\ndetector: {kind: scrfd, known: scrfd_500m}\n"
        f"recognition: {{kind: onnx, {file}}}\nlandmarks: {{kind: pfld, {file}}}\n"
    )
    with pytest.raises(MissingModelFileError, match=r"memory://models/scrfd_500m\.onnx"):
        resolve_bundle(own, f"{store}/")
    own.write_text(own.read_text().replace("known: scrfd_500m", file))
    bundle = resolve_bundle(own)
    assert bundle.recognition.description() == {"kind": "onnx", "path": f"{store}/net.onnx", "sha256": SHA256}
    copy = bundle.recognition.file()
    assert copy is not None
    copy.unlink()
    assert bundle.recognition.file() == copy, "another machine fetches it when it needs it"
    assert copy.read_bytes() == CONTENT
    assert known_file("scrfd_500m").filename == "scrfd_500m.onnx"
    monkeypatch.setenv("GANFIT_MODELS", store)
    with pytest.raises(ConfigurationError, match="name a folder"):
        resolve_model_dir()
