import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ops.errors import OutputError
from pipeline.cluster import execution
from pipeline.cluster.execution import NodesLostError, NodeWatch, failures_of_stages
from pipeline.cluster.session import Pools
from pipeline.run.shards import ShardSummary
from pipeline.stages.stage import Placement, StageFailure
from pipeline.storage.lease import LeaseLostError

POOLS = Pools(
    prepare=Placement(workers=1, cpus=0.5), fit=Placement(workers=2, cpus=0.25, gpus=1.0), device="cuda", fit_batch=32
)
BOTH, ONE = {"CPU": 4.0, "GPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}


def watch(resources: Callable[[], dict[str, float]], patience_s: float) -> NodeWatch:
    return NodeWatch(resources=resources, pools=POOLS, patience_s=patience_s)


def committed(fit_seconds: float = 0.0) -> ShardSummary:
    return ShardSummary(shard=0, fingerprint="f", items=1, identities={}, frames={}, fit_seconds=fit_seconds)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "LOOK_S", 0.01)


def test_a_machine_that_stays_away_is_not_waited_for() -> None:
    with pytest.raises(NodesLostError, match="need 2 GPUs and the cluster has 1"), watch(lambda: ONE, 0.2):
        threading.Event().wait(60)


def test_machines_that_are_there_or_come_back_are_no_loss() -> None:
    began = time.monotonic()
    with watch(lambda: BOTH if int(10 * (time.monotonic() - began)) % 2 else ONE, 0.3):
        time.sleep(1)


def test_as_long_as_shards_are_committed_nothing_is_lost() -> None:
    patient = watch(lambda: ONE, 0.3)
    with patient:
        for _ in range(10):
            patient.saw(committed())
            time.sleep(0.1)
    slow = watch(lambda: ONE, 0.3)
    with slow:
        slow.saw(committed(fit_seconds=5.0))
        time.sleep(1)


def test_another_thread_is_left_alone() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with watch(lambda: ONE, 0.05):
                time.sleep(0.3)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it fails the test
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("StageFailure: DetectFaces on a: KeyError: 'x'", StageFailure, "DetectFaces on a: KeyError: 'x'"),
        ("StageFailure: CommitOnce on a: OutputError: /out cannot be used", OutputError, "/out cannot be used"),
        ("StageFailure: CommitOnce on a: LeaseLostError: taken over", LeaseLostError, "taken over"),
    ],
)
def test_failures_in_workers_are_raised_as_what_they_are(text: str, kind: type[Exception], message: str) -> None:
    import ray
    import ray.exceptions

    error: Any = ray.exceptions.RayError(f"ray::worker (pid=1)\nTraceback ...\npipeline.stage.{text}\n\nmore")
    with pytest.raises(kind) as caught, failures_of_stages(ray):
        raise error
    assert str(caught.value) == message
    assert type(caught.value) is kind
