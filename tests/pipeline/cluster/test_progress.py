import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster import progress as module
from pipeline.cluster.progress import Listener, Watcher, watching
from pipeline.run.progress import PROGRESS_FILE, Progress, read_progress
from pipeline.storage.store import Storage, open_storage
from pipeline.tables.progress import report_progress


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    monkeypatch.setattr(module, "STORE_S", 0.02)


def until(shown: list[Progress], done: float, patience_s: float = 10.0) -> Progress:
    end = time.monotonic() + patience_s
    while not (found := [progress for progress in shown if progress.done == done]) and time.monotonic() < end:
        time.sleep(0.01)
    assert found, f"never at {done}: {shown[-3:]}"
    return found[0]


def test_what_workers_say_is_shown_and_stored_until_the_end(root: Storage) -> None:
    listener, shown = Listener(), list[Progress]()
    with Watcher(listener.collect, {0: 4, 1: 4}, root, shown.append) as watcher:
        listener.hear(0, "detect", 1.0)
        listener.hear(0, "fit", 0.5)
        assert until(shown, 2.0).steps == {"fit": 1}
        watcher.commit(0)
        until(shown, 4.0)
        end = time.monotonic() + 10
        while ((stored := read_progress(root)) is None or stored.done < 4) and time.monotonic() < end:
            time.sleep(0.01)
        assert stored is not None
        assert (stored.done, stored.total) == (4.0, 8)
        assert abs(stored.time - time.time()) < 60
    assert not root.exists(PROGRESS_FILE)
    count = len(shown)
    time.sleep(0.1)
    assert len(shown) == count, "nothing is shown any more"


def test_a_run_goes_on_where_nothing_can_be_heard(root: Storage) -> None:
    def broken() -> dict[int, tuple[str, float]]:
        raise RuntimeError("the actor is gone")

    shown: list[Progress] = []
    with Watcher(broken, {0: 4}, root, shown.append) as watcher:
        watcher.commit(0)
        until(shown, 4.0)


@pytest.mark.ray
def test_the_words_of_a_ray_worker_reach_the_driver(local_ray: Any, tmp_path: Path) -> None:
    @local_ray.remote(num_cpus=0)
    class Worker:
        def work(self, share: float) -> None:
            report_progress(7, "fit", share)

    shown: list[Progress] = []
    for share in (0.25, 0.5):  # one run after the other in the same Ray
        with watching(local_ray, {7: 8}, open_storage(tmp_path), shown.append) as watcher:
            worker = Worker.remote()
            local_ray.get(worker.work.remote(share))
            until(shown, 8 * share, patience_s=60.0)
            watcher.commit(7)
            until(shown, 8.0)
        shown.clear()
