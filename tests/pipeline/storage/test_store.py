import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from ops.errors import ConfigurationError
from ops.files.filesystems import resolve
from pipeline.storage.store import Storage, open_output, open_storage


def test_files_are_replaced_listed_and_removed(root: Storage) -> None:
    assert root.entries() == []
    assert not root.exists("run.json")
    with pytest.raises(FileNotFoundError):
        root.read("run.json")
    for text in (b"one", b"two two"):
        root.write("run.json", text)
    root.write("a/b c/d.txt", b"")
    assert root.read("run.json") == b"two two"
    assert sorted((e.name, e.is_file, e.size) for e in root.entries()) == [("a", False, 0), ("run.json", True, 7)]
    assert [e.name for e in root.entries(recursive=True) if e.is_file and e.modified_ns > 0 and e.size == 0] == [
        "a/b c/d.txt"
    ]
    root.remove("run.json")
    root.remove("a")
    root.remove("never there")
    assert [e for e in root.entries(recursive=True) if e.is_file] == []


def test_exactly_one_of_many_creates_a_file(root: Storage) -> None:
    start = threading.Barrier(8)
    made: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if root.create("lease/1.json", str(number).encode()):
            made.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert root.read("lease/1.json") == str(made[0]).encode()
    assert [e.name for e in root.entries("lease")] == ["1.json"], "nothing temporary stays"


def test_a_creation_whose_answer_was_lost_counts(root: Storage) -> None:
    """The client repeats a request that had succeeded, and is told that the file exists."""
    root.write("lease/1.json", b"mine, with a nonce")
    assert root.create("lease/1.json", b"mine, with a nonce")
    assert not root.create("lease/1.json", b"another's")


def test_disks_without_links_create_exclusively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr("os.link", refuse)
    root = open_storage(tmp_path)
    assert root.create("a/b", b"1")
    assert not root.create("a/b", b"2")
    assert root.read("a/b") == b"1"
    assert [entry.name for entry in root.entries("a")] == ["b"]


def test_folders_are_uploaded_and_copied(root: Storage, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "meshes").mkdir(parents=True)
    large = bytes(range(256)) * 45_000
    (source / "meshes" / "é.glb").write_bytes(large)
    (source / "x.gz").write_bytes(b"not really compressed")
    assert root.upload(source, "staged/1") == {"meshes/é.glb": len(large), "x.gz": 21}
    root.copy(["meshes/é.glb", "x.gz"], "staged/1", "shards/1")
    assert root.read("shards/1/meshes/é.glb") == large
    assert root.read("shards/1/x.gz") == b"not really compressed"
    with pytest.raises(FileNotFoundError):
        root.copy(["x.gz"], "staged/2", "shards/1")


def test_uris_name_their_places(tmp_path: Path, bucket: str) -> None:
    assert open_storage(tmp_path).local == tmp_path
    assert open_storage(f"file://{tmp_path}/with%20space").local == tmp_path / "with space"
    remote = open_storage("s3://key:secret@bucket/some/where/?region=eu-west-1&scheme=http") / "out"
    assert str(remote) == "s3://bucket/some/where/out"
    assert remote.location("a b.jpg", public=True) == "s3://bucket/some/where/out/a%20b.jpg"
    assert resolve(remote.location("a b.jpg"))[1] == "bucket/some/where/out/a b.jpg"
    (open_storage(bucket) / "x").write("y z", b"here")
    filesystem, path = resolve(open_storage(f"{bucket}/x").location("y z"))
    assert filesystem.get_file_info(path).size == 4


def test_an_endpoint_in_the_uri(s3_server: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_REGION")
    place = s3_server.url.removeprefix("http://")
    root = open_storage(f"{bucket}/in?scheme=http&region=us-east-1&endpoint_override={place}")
    assert root.create("a", b"1")
    assert not root.create("a", b"2")
    assert root.read("a") == b"1"


def test_other_schemes_go_through_fsspec_and_memory_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.storage.store.SETTLE_S", 0.01)
    root = open_storage("memory://somewhere") / "out"
    assert root.create("a", b"1")
    assert not root.create("a", b"2")
    assert [entry.name for entry in root.entries()] == ["a"]
    with pytest.raises(ConfigurationError, match="keeps what is written"):
        open_output("memory://somewhere")
    with pytest.raises(ConfigurationError, match="nonsense://"):
        open_output("nonsense://somewhere")


def test_a_submitted_job_keeps_nothing_in_its_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_output("out").local == Path("out").absolute()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigurationError, match="expected an absolute path or a URI as output, got out"):
        open_output("out")
    assert open_output(tmp_path).local == tmp_path
    assert open_output("s3://bucket/out").local is None


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a usable location"):
        open_storage("s3://bucket/x?surprise=1&region=us-east-1").filesystem()
