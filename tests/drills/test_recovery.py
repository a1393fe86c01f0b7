"""Several drills in one: what continuous integration has time for."""

import json
import os
import shutil
import signal
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from jobs.status import main as status
from tests.drills.catalogue import DRILLS
from tests.drills.harness import Ground, make_album


@pytest.fixture
def ground(tmp_path: Path) -> Generator[Ground]:
    ground = Ground(tmp_path / "drill")
    shutil.copytree(make_album(tmp_path / "album", people=3), ground.photos)
    yield ground
    ground.close()


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_survives_a_killed_worker_sigterm_and_a_deadly_photo(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_status(expected: int) -> Any:
        assert status([ground.output, "--json"]) == expected
        return json.loads(capsys.readouterr().out)

    poison = ground.photos / "person_02" / "photo_1.jpg"
    ground.hazards = {"fit_that_kills": str(poison), "fit_delay_s": 1.0}
    run = ground.start()
    os.kill(ground.wait_for_work(run, "prepare", 1).pid, signal.SIGKILL)
    run.wait_for_line("^shard ")
    now = read_status(3)
    assert now["state"] == "running"
    assert now["shards"] == 3
    assert now["shards_committed"] >= 1
    assert now["heartbeat_age_s"] < 60
    assert f"process {run.process.pid}" in now["owner"]
    asked = time.monotonic()
    run.process.terminate()
    run.end(expected=2)
    assert time.monotonic() - asked < 30
    assert run.errors == ["interrupted: what is finished is kept, the same command continues from it\n"]
    now = read_status(2)
    assert now["latest_run"]["outcome"] == "interrupted"
    assert now["latest_run"]["shards"] == now["shards_committed"] < 3

    ground.start().end()
    ground.expect({poison: "failed worker_crash"})
    now = read_status(0)
    assert (now["state"], now["shards_committed"], now["items_done"]) == ("complete", 3, 6)
    assert now["frames"] == {"failed worker_crash": 1, "ok": 5}
    assert now["identities"] == {"ok": 3}, "the person of the deadly photo goes on with the other one"

    begun = len(ground.begun())
    ground.start().end()
    assert len(ground.begun()) == begun, "nothing is left to do"
    ground.ledger().check(ground.files())


def test_every_drill_says_what_it_does() -> None:
    assert all(drill.__doc__ and "\n" not in drill.__doc__ for drill in DRILLS.values())
