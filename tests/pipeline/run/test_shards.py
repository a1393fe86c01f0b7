import json

import pytest

from ops.errors import OutputError
from pipeline.run.shards import SUCCESS_NAME, ShardStore, ShardSummary, folder_of
from pipeline.storage.store import Storage


def summary(shard: int) -> ShardSummary:
    return ShardSummary(
        shard=shard, fingerprint="f", items=2, identities={"ok": 1}, frames={"ok": 2}, fit_seconds=1.5, device="cpu"
    )


def commit(store: ShardStore, index: int) -> None:
    with store.writing(index) as folder:
        (folder / "meshes").mkdir()
        (folder / "meshes" / "a.glb").write_text("mesh")
        (folder / "frames.parquet").write_text("x")
        (folder / SUCCESS_NAME).write_text(summary(index).to_json())


def test_committed_shards_are_found(root: Storage) -> None:
    store = ShardStore(root)
    assert store.summaries() == {}
    for index in (7, 100_000, 3):
        commit(store, index)
    assert store.summary(7) == store.finish(7) == summary(7)
    assert store.summary(8) is None
    assert list(store.summaries().items()) == [(index, summary(index)) for index in (3, 7, 100_000)]


def test_the_marker_names_all_files(root: Storage) -> None:
    commit(ShardStore(root), 7)
    content = json.loads(root.read(f"{folder_of(7)}/{SUCCESS_NAME}"))
    assert content["files"] == {"frames.parquet": 1, "meshes/a.glb": 4}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"shard": 1, "surprise": 2}'])
def test_a_damaged_marker_is_reported(root: Storage, content: str) -> None:
    store = ShardStore(root)
    commit(store, 0)
    root.write(f"{folder_of(0)}/{SUCCESS_NAME}", content.encode())
    with pytest.raises(OutputError, match=r"no readable _SUCCESS\.json"):
        store.summary(0)
    with pytest.raises(OutputError, match=r"no readable _SUCCESS\.json"):
        store.summaries()
