import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ops.errors import OutputError
from pipeline.storage.folders import COMMIT_NAME, STAGED, CommittedFolders
from pipeline.storage.lease import Fence, LeaseLostError, lease
from pipeline.storage.store import Storage, open_storage


def folders(root: Storage, fence: Fence | None = None) -> CommittedFolders:
    return CommittedFolders(root=root, parent="shards", marker="_SUCCESS.json", fence=fence)


def fill(folder: Path, content: str) -> None:
    (folder / "meshes").mkdir()
    for name in ("frames.parquet", "meshes/a.glb", "_SUCCESS.json"):
        (folder / name).write_text(content)


def commit(store: CommittedFolders, name: str, content: str) -> None:
    with store.writing(name) as folder:
        fill(folder, content)


def files(root: Storage) -> dict[str, str]:
    """Every file of the output but the decisions and the lease."""
    entries = root.entries(recursive=True)
    names = (e.name for e in entries if e.is_file and not e.name.endswith(COMMIT_NAME) and "lease/" not in e.name)
    return {name: root.read(name).decode() for name in sorted(names)}


def whole(content: str, name: str = "00007") -> dict[str, str]:
    return {f"shards/{name}/{file}": content for file in ("_SUCCESS.json", "frames.parquet", "meshes/a.glb")}


def test_a_folder_appears_whole(root: Storage) -> None:
    store = folders(root)
    with store.writing("00007") as folder:
        fill(folder, "first")
        assert store.read("00007") is None
        assert store.names() == [] or root.local is not None
    assert store.read("00007") == store.finish("00007") == b"first"
    assert store.read_all() == {"00007": b"first"}
    assert files(root) == whole("first")


def test_an_error_leaves_nothing(root: Storage) -> None:
    def fail() -> None:
        with folders(root).writing("00001") as folder:
            fill(folder, "x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert files(root) == {}


def test_the_first_commit_stays(root: Storage) -> None:
    store = folders(root)
    with store.writing("00007") as late:
        fill(late, "late")
        commit(store, "00007", "early")
    assert files(root) == whole("early")


def test_leftovers_of_a_killed_writer_are_removed(root: Storage, tmp_path: Path) -> None:
    store = folders(root)
    commit(store, "00007", "x")
    if root.local is not None:
        (root.local / "shards" / ".tmp-00001-0badcafe" / "meshes").mkdir(parents=True)
    else:
        root.write(f"{STAGED}/shards-00001-0badcafe/frames.parquet", b"half")
        root.write(f"{STAGED}/plans-00001-0badcafe/items.parquet", b"of another kind")
    assert store.remove_leftovers(["00007"]) == 1
    left = files(root)
    left.pop(f"{STAGED}/plans-00001-0badcafe/items.parquet", None)
    assert left == whole("x")


def test_a_folder_without_its_marker_is_reported_on_disks(tmp_path: Path) -> None:
    store = folders(open_storage(tmp_path))
    commit(store, "00000", "x")
    (tmp_path / "shards" / "00000" / "_SUCCESS.json").unlink()
    with pytest.raises(OutputError, match=r"00000 has no readable _SUCCESS.json.*delete it"):
        store.read("00000")


class KilledError(BaseException):
    """Stands for the death of a process: no handler of the code under test catches it."""


def killed_after(monkeypatch: pytest.MonkeyPatch, operation: str, count: int) -> None:
    """Let this process "die" in the middle of its n-th call of a storage operation."""
    left = [count]
    real = getattr(Storage, operation)

    def perhaps(self: Storage, *arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise KilledError
        return real(self, *arguments, **named)

    monkeypatch.setattr(Storage, operation, perhaps)


@pytest.mark.parametrize(
    ("operation", "count", "decided"),
    [("create", 1, False), ("copy", 1, True), ("copy", 2, True), ("remove", 1, True)],
)
def test_a_writer_killed_at_any_moment_is_made_up_for(
    bucket: str, monkeypatch: pytest.MonkeyPatch, operation: str, count: int, decided: bool
) -> None:
    root = open_storage(f"{bucket}/out")
    store = folders(root)
    with monkeypatch.context() as patch:
        killed_after(patch, operation, count)
        with pytest.raises(KilledError):
            commit(store, "00007", "dead")
    complete = store.read_all()
    assert list(complete) == (["00007"] if operation == "remove" else [])
    commit(store, "00007", "retried")
    assert files(root).items() >= whole("dead" if decided else "retried").items()
    store.remove_leftovers(store.read_all())
    assert files(root) == whole("dead" if decided else "retried")


def test_the_next_run_finishes_what_was_decided(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = open_storage(f"{bucket}/out")
    store = folders(root)
    with monkeypatch.context() as patch:
        killed_after(patch, "copy", 2)
        with pytest.raises(KilledError):
            commit(store, "00007", "dead")
    assert store.remove_leftovers([]) == 1
    assert files(root) == whole("dead")


def test_a_decision_whose_files_are_gone_is_undone(bucket: str) -> None:
    root = open_storage(f"{bucket}/out")
    store = folders(root)
    decision = {"staged": f"{STAGED}/shards-00007-gone", "files": ["frames.parquet", "_SUCCESS.json"]}
    assert root.create(f"shards/00007/{COMMIT_NAME}", json.dumps(decision).encode())
    with pytest.raises(OutputError, match="which is gone"):
        store.finish("00007")
    store.remove_leftovers([])
    commit(store, "00007", "again")
    assert files(root) == whole("again")


def test_a_driver_that_lost_its_lease_commits_nothing(root: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with lease(root) as old:
        assert old.token == 1
    with lease(root) as new:
        with pytest.raises(LeaseLostError, match=f"taken over by .*process {os.getpid()}"):
            commit(folders(root, old), "00007", "zombie")
        assert folders(root).read_all() == {}
        commit(folders(root, new), "00007", "living")
    folders(root).remove_leftovers(["00007"])
    assert files(root) == whole("living")


def test_listing_costs_a_request_a_folder_not_a_file(bucket: str, s3_server: Any) -> None:
    root = open_storage(f"{bucket}/out")
    store = folders(root)
    costs: list[int] = []
    for number in range(6):
        with store.writing(f"{number:05d}") as folder:
            fill(folder, "x")
            for extra in range(20 * number):
                (folder / "meshes" / f"{extra}.glb").write_text("x")
        before = len(s3_server.requests)
        assert len(store.read_all()) == number + 1
        costs.append(len(s3_server.requests) - before)
    growth = {after - before for before, after in itertools.pairwise(costs)}
    assert len(growth) == 1, costs
    assert growth.pop() <= 2, costs
