import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.errors import OutputError
from pipeline.input.listing import Item, table_of
from pipeline.input.planner import PlanConfig, plan_shards
from pipeline.run import status as status_module
from pipeline.run.history import Pace, end_run, with_new_run
from pipeline.run.plans import read_plans
from pipeline.run.progress import Progress, write_progress
from pipeline.run.record import write_record
from pipeline.run.shards import SUCCESS_NAME, ShardStore, ShardSummary
from pipeline.run.status import read_status, status_text
from pipeline.storage.lease import lease
from pipeline.storage.store import Storage

MakeItem = Callable[..., Item]


def commit(root: Storage, index: int, **frames: int) -> ShardSummary:
    summary = ShardSummary(shard=index, fingerprint="f", items=2, identities={"ok": 1}, frames=frames, fit_seconds=1.0)
    with ShardStore(root).writing(index) as folder:
        (folder / SUCCESS_NAME).write_text(summary.to_json())
    return summary


@pytest.fixture
def started(root: Storage, make_item: MakeItem) -> dict[str, Any]:
    """An output of four shards, the first of them committed, and the record of a run that began ten minutes ago."""
    items = [make_item(f"{name}{number}", name) for name in ("anna", "bob", "cy", "dora") for number in range(2)]
    plan = plan_shards(table_of(items), PlanConfig(shard_size=2))
    read_plans(root).add(plan, None, {"input": "", "layout": "", "planned": ""})
    runs = with_new_run(None, "night-7", {0: commit(root, 0, ok=2)})
    runs[-1]["started"] = (datetime.now(UTC) - timedelta(seconds=600)).isoformat()
    record = {"runs": runs}
    write_record(root, record)
    return record


def test_a_run_is_followed_to_its_end(root: Storage, started: dict[str, Any]) -> None:
    with lease(root, "night-7"):
        assert read_status(root).images_per_minute is None, "nothing was committed yet"
        commit(root, 2, **{"ok": 1, "failed worker_crash": 1})
        now = read_status(root)
        assert (now.state, now.shards_committed, now.shards, now.items_done, now.items) == ("running", 2, 4, 4, 8)
        assert now.images_per_minute == pytest.approx(0.2, rel=0.2)
        assert now.seconds_left == pytest.approx(1200, rel=0.2)
        assert now.heartbeat_age_s is not None
        assert now.heartbeat_age_s < 30
        assert now.owner.endswith(", submission night-7")
        text = status_text(now)
        assert "2 of 4 shards (50.0 %), 4 of 8 input files" in text
        assert "failed worker_crash" in text
        assert "0.2 images per minute, " in text
    stopped = read_status(root)
    assert (stopped.state, stopped.seconds_left) == ("stopped", None)
    assert "last held by" in status_text(stopped)
    pace = Pace(new=[commit(root, 1, ok=2), commit(root, 3, ok=2)], seconds=50.0, workers=2, hosts=["a"])
    end_run(started["runs"][-1], "complete", pace)
    write_record(root, started)
    done = read_status(root)
    assert (done.state, done.shards_committed) == ("complete", 4)
    assert done.frames == {"ok": 7, "failed worker_crash": 1}
    assert (done.latest_run["shards"], done.latest_run["hosts"], done.latest_run["outcome"]) == (2, ["a"], "complete")
    assert json.loads(json.dumps(done.to_json()))["shards"] == 4


def test_a_silent_driver_is_not_running(
    root: Storage, started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with lease(root):
        monkeypatch.setattr(status_module.time, "time", lambda now=time.time: now() + 61)
        assert read_status(root).state == "stopped"


def test_a_running_driver_says_how_far_it_is_image_by_image(root: Storage, started: dict[str, Any]) -> None:
    progress = Progress(done=1.5, total=6, seconds=30.0, steps={"fit": 1}, time=time.time() + 60)
    with lease(root):
        write_progress(root, progress)
        now = read_status(root)
        assert now.progress == progress
        assert (now.images_per_minute, now.seconds_left) == (pytest.approx(3.0), pytest.approx(90.0))
        assert "this run: 1 of 6 images; 3.0 per minute; 1 min 30 s left; shards in work: 1 fit" in status_text(now)
        assert json.loads(json.dumps(now.to_json()))["progress"]["seconds_left"] == pytest.approx(90.0)
        write_progress(root, Progress(done=6, total=6, seconds=30.0, time=time.time() - 3600))
        assert read_status(root).progress is None, "that was another driver's"
    write_progress(root, progress)
    assert read_status(root).progress is None, "nobody is running"


def test_what_is_no_output_has_no_status(root: Storage) -> None:
    with pytest.raises(OutputError, match=r"has no run\.json"):
        read_status(root)
