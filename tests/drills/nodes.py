"""Drills in which a machine is lost: nodes of a cluster on this machine, with GPUs that they only declare."""

import secrets
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.drills.harness import SETTINGS, DrillFailure, Ground, Run, descendants


def replace_node(ground: Ground) -> None:
    """One of two GPU nodes is lost in mid-run, and another one comes."""
    cluster = ground.use(_two_nodes(ground))
    run, in_flight = _lose_a_node(ground, cluster)
    cluster.add_node(num_cpus=2, num_gpus=1)
    _expect_recovery(ground, run, in_flight)


def lose_node(ground: Ground) -> None:
    """One of two GPU nodes is lost in mid-run, for good."""
    cluster = ground.use(_two_nodes(ground))
    run, in_flight = _lose_a_node(ground, cluster)
    _expect_recovery(ground, run, in_flight)


@contextmanager
def _two_nodes(ground: Ground) -> Generator[Any]:
    """A head without work, and two nodes with two CPUs and a declared GPU each."""
    ground.settings = SETTINGS
    ground.hazards |= {"fit_delay_s": 2.0, "declared_gpus": True}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="drill-") as folder:
        # Closed to other machines and programs, and of its own, lest those on this machine take it for one to join.
        ground.environment |= {
            "RAY_TMPDIR": folder,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        for name, value in ground.process_environment().items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=2, num_gpus=1)
            ground.environment["RAY_ADDRESS"] = str(cluster.address)
            yield cluster
        finally:
            cluster.shutdown()


def _lose_a_node(ground: Ground, cluster: Any) -> tuple[Run, int]:
    """Start a run and kill the node of the third fit, with all its processes; says how many fits were under way."""
    run = ground.start()
    worker = ground.wait_for_work(run, "fit", 3).pid
    node = next(node for node in cluster.worker_nodes if worker in _processes(node))
    committed = len(list(Path(ground.output).glob("shards/*/_SUCCESS.json")))
    in_flight = len({begun.work for begun in ground.begun("fit")}) - committed
    raylet = node.all_processes["raylet"][0].process
    for process in descendants(raylet.pid):
        process.kill()
    cluster.remove_node(node, allow_graceful=False)
    return run, in_flight


def _processes(node: Any) -> set[int]:
    return {process.pid for process in descendants(node.all_processes["raylet"][0].process.pid)}


def _expect_recovery(ground: Ground, run: Run, in_flight: int) -> None:
    run.end()
    ground.expect({})
    if ground.repeats("fit") > in_flight:
        raise DrillFailure(f"{ground.repeats('fit')} fits were repeated, {in_flight} were under way")
