import multiprocessing
from pathlib import Path

import pytest

from ops.errors import OutputError
from pipeline.shards import SUCCESS_NAME, ShardStore, ShardSummary, locked, write_atomically


@pytest.fixture
def store(tmp_path: Path) -> ShardStore:
    return ShardStore(tmp_path / "out")


def summary(shard: int, fingerprint: str = "f") -> ShardSummary:
    return ShardSummary(
        shard=shard, fingerprint=fingerprint, items=2, identities={"ok": 1}, frames={"ok": 2}, fit_seconds=1.5
    )


def commit(store: ShardStore, index: int, content: str = "x") -> None:
    with store.writing(index) as folder:
        (folder / "frames.parquet").write_text(content)
        (folder / SUCCESS_NAME).write_text(summary(index).to_json())


def names(store: ShardStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_a_shard_appears_whole(store: ShardStore) -> None:
    with store.writing(7) as folder:
        (folder / "frames.parquet").write_text("x")
        (folder / SUCCESS_NAME).write_text(summary(7).to_json())
        assert store.summary(7) is None
        assert not store.path(7).exists()
    assert names(store) == ["00007"]
    assert store.summary(7) == summary(7)
    assert store.indices() == [7]


def test_an_error_leaves_nothing(store: ShardStore) -> None:
    with pytest.raises(FileNotFoundError), store.writing(1) as folder:
        (folder / "frames.parquet").write_text("x") and (folder / "none").read_text()
    assert names(store) == []


def test_the_first_commit_stays(store: ShardStore) -> None:
    commit(store, 3, "first")
    commit(store, 3, "second")
    assert (store.path(3) / "frames.parquet").read_text() == "first"
    assert names(store) == ["00003"]


def test_leftovers_are_removed_and_shards_are_not(store: ShardStore) -> None:
    commit(store, 0)
    (store.folder / ".tmp-00001-0badcafe" / "meshes").mkdir(parents=True)
    assert store.remove_leftovers() == 1
    assert names(store) == ["00000"]


def test_a_shard_without_its_marker_is_reported(store: ShardStore) -> None:
    commit(store, 0)
    (store.path(0) / SUCCESS_NAME).unlink()
    with pytest.raises(OutputError, match=r"00000 has no readable _SUCCESS.json.*delete it"):
        store.summary(0)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"shard": 1, "surprise": 2}'])
def test_a_damaged_marker_is_reported(store: ShardStore, content: str) -> None:
    commit(store, 0)
    (store.path(0) / SUCCESS_NAME).write_text(content)
    with pytest.raises(OutputError, match="no readable"):
        store.summary(0)


def test_attempts_are_counted_on_disk(store: ShardStore) -> None:
    assert [store.record_attempt(5), store.record_attempt(5), store.record_attempt(6)] == [1, 2, 1]


def _try_to_lock(root: Path, answers: "multiprocessing.Queue[str]") -> None:
    try:
        with locked(root):
            answers.put("locked")
    except OutputError as error:
        answers.put(str(error))


def test_two_drivers_cannot_share_an_output(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[str] = context.Queue()
    for holder, expected in ((True, "another run is writing"), (False, "locked")):
        other = context.Process(target=_try_to_lock, args=(tmp_path, answers))
        if holder:
            with locked(tmp_path):
                other.start()
                other.join()
        else:
            other.start()
            other.join()
        assert expected in answers.get(timeout=5)


def test_an_output_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="expected a folder"), locked(tmp_path / "file" / "out"):
        pass


def test_atomic_writing_replaces_and_cleans_up(tmp_path: Path) -> None:
    for text in ("one", "two"):
        write_atomically(tmp_path / "run.json", text)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("run.json", "two")]
