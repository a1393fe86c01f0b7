import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from ops.errors import ConfigurationError
from pipeline.cluster.session import (
    BYTES_A_WORKER,
    CPU_SHARD,
    GPU_BATCH,
    PREPARE_CPUS,
    ClusterConfig,
    check_fits,
    check_gpu,
    cluster_pools,
    default_shard_size,
    plan_pools,
    ray_session,
)
from pipeline.stages.stage import Placement

CHECKOUT = Path(__file__).parents[3]

PLENTY = 1e15


def declared(config: ClusterConfig, **machine: Any) -> tuple[Placement, Placement, str]:
    pools = plan_pools(config, **({"gpus": 0, "memory_bytes": PLENTY, "shards": 1000} | machine))
    return pools.prepare, pools.fit, pools.device


@pytest.mark.parametrize(("cpus", "gpus"), [(1, 0), (2, 0), (7, 0), (64, 0), (1, 1), (4, 1), (4, 8), (128, 8)])
def test_the_default_pools_always_fit(cpus: int, gpus: int) -> None:
    prepare, fit, device = declared(ClusterConfig(), cpus=cpus, gpus=gpus)
    check_fits((prepare, fit), {"CPU": cpus, "GPU": gpus})
    assert device == ("cuda" if gpus else "cpu")
    assert fit.workers * fit.gpus == gpus


def test_workers_on_the_cpu_follow_cores_memory_and_shards() -> None:
    assert declared(ClusterConfig(), cpus=8)[1].workers == 8
    assert declared(ClusterConfig(), cpus=8, memory_bytes=3 * BYTES_A_WORKER)[1].workers == 3
    alone = declared(ClusterConfig(), cpus=8, shards=1)[1]
    assert (alone.workers, alone.threads) == (1, 8)
    assert declared(ClusterConfig(fit_workers=2), cpus=8)[1].threads == 4


def test_searches_that_take_a_good_part_of_the_time_get_as_many_workers() -> None:
    pools = plan_pools(ClusterConfig(), cpus=64, gpus=0, memory_bytes=PLENTY, shards=1000, fits_per_prepare=2.0)
    assert (pools.prepare.workers, pools.fit.workers) == (32, 64)
    check_fits((pools.prepare, pools.fit), {"CPU": 64})
    assert declared(ClusterConfig(), cpus=64)[0].workers == 8


def test_every_gpu_has_four_workers_that_prepare_where_cpus_allow() -> None:
    assert [declared(ClusterConfig(), cpus=cpus, gpus=8)[0].workers for cpus in (64, 5, 1)] == [32, 6, 1]


@pytest.mark.parametrize(
    ("workers", "gpus", "share"), [(3, 4, 1.0), (1, 2, 1.0), (4, 4, 1.0), (3, 2, 0.5), (8, 2, 0.25)]
)
def test_a_worker_has_a_whole_gpu_or_an_equal_part_of_one(workers: int, gpus: int, share: float) -> None:
    prepare, fit, device = declared(ClusterConfig(fit_workers=workers), cpus=16, gpus=gpus)
    assert (fit.workers, fit.gpus, device) == (workers, share, "cuda")
    check_fits((prepare, fit), {"CPU": 16, "GPU": gpus})


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"num_gpus": 0}, CPU_SHARD),
        ({"num_gpus": 2}, GPU_BATCH),
        ({"num_gpus": 2, "fit_batch": 48}, 48),
        ({"address": "auto"}, GPU_BATCH),
        ({"num_gpus": 0, "fit_batch": 48}, CPU_SHARD),
    ],
)
def test_a_shard_holds_what_a_gpu_fits_together(settings: dict[str, Any], size: int) -> None:
    assert default_shard_size(ClusterConfig(**settings)) == size


@pytest.mark.ray
def test_an_unusable_gpu_is_found_before_any_work(local_ray: Any) -> None:
    """The local Ray has no GPU, so the probe is given a part of none: what it says is what a worker would say."""
    pools = plan_pools(ClusterConfig(), cpus=2, gpus=1, memory_bytes=PLENTY, shards=1)
    without = dataclasses.replace(pools, fit=dataclasses.replace(pools.fit, gpus=0))
    with pytest.raises(ConfigurationError, match=r"sees no GPU .* install its CUDA build .* --num-gpus 0"):
        check_gpu(local_ray, without)


def test_no_gpu_is_used_on_request() -> None:
    _, fit, device = declared(ClusterConfig(num_gpus=0), cpus=8, gpus=4)
    assert (fit.gpus, device) == (0, "cpu")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ClusterConfig(fit_workers=50), "workers need 15.5 CPUs and the cluster has 2"),
        (ClusterConfig(prepare_workers=9), "the cluster has 2: lower --fit-workers, --prepare-workers"),
        (ClusterConfig(num_gpus=2), "workers need 2 GPUs and the cluster has 0"),
    ],
)
def test_what_could_never_be_scheduled_is_refused(config: ClusterConfig, words: str) -> None:
    prepare, fit, _ = declared(config, cpus=2)
    with pytest.raises(ConfigurationError, match=words):
        check_fits((prepare, fit), {"CPU": 2.0})


@pytest.mark.parametrize("settings", [{"fit_workers": 0}, {"num_gpus": -1}, {"fit_batch": 0}])
def test_settings_without_sense_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="at least"):
        ClusterConfig(**settings)


@pytest.mark.ray
def test_a_local_ray_listens_on_this_machine_alone(local_ray: Any) -> None:
    import psutil  # comes with Ray, and can be imported once Ray is

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert local_ray.cluster_resources()["CPU"] == len(os.sched_getaffinity(0))
    assert local_ray.cluster_resources().get("GPU", 0) == 0


@pytest.mark.ray
def test_a_run_waits_for_machines_and_takes_those_that_come(local_ray: Any) -> None:
    wanted = ClusterConfig(num_gpus=0, fit_workers=7)
    with pytest.raises(ConfigurationError, match=r"workers need 2.25 CPUs and the cluster has 2"):
        cluster_pools(wanted, local_ray, shards=9, say=print)
    lines: list[str] = []
    patient = dataclasses.replace(wanted, node_timeout_s=10)
    pools = cluster_pools(patient, local_ray, shards=9, say=lines.append)
    assert lines == [
        "waiting up to 10 s for machines for 7 fit workers",
        "there are machines for 2 of 7 fit workers",
    ]
    assert pools.fit.workers == 2
    impatient = ClusterConfig(num_gpus=1, node_timeout_s=0.1)
    with pytest.raises(ConfigurationError, match="workers need 1 GPUs and the cluster has 0"):
        cluster_pools(impatient, local_ray, shards=9, say=print)


@pytest.mark.ray
def test_workers_run_at_normal_priority(local_ray: Any) -> None:
    assert local_ray.get(local_ray.remote(num_cpus=PREPARE_CPUS)(lambda: os.nice(0)).remote()) == os.nice(0)


def test_a_cluster_that_is_not_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    began = time.monotonic()
    with (
        pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}, but nothing answers"),
        ray_session(ClusterConfig()),
    ):
        pass
    assert time.monotonic() - began < 30


def test_a_ray_that_does_not_start_in_time_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def start(**options: Any) -> None:
        raise Exception("The current node timed out during startup")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    with (
        pytest.raises(ConfigurationError, match=r"could not be started or joined: .* timed out"),
        ray_session(ClusterConfig(num_gpus=0)),
    ):
        pass


@pytest.mark.slow
def test_a_program_that_imported_ray_before_starts_its_own_beside_one_that_somebody_started_on_this_machine() -> None:
    code = (
        "import ray\n"
        "from pipeline.cluster.session import ClusterConfig, ray_session\n"
        "with ray_session(ClusterConfig(num_gpus=0)) as ray:\n"
        "    print('theirs' in ray.cluster_resources(), ray.get(ray.put('answers')))\n"
    )
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # sockets need short paths
        hidden = ("RAY_ADDRESS", "RAY_AUTH_MODE")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        environment |= {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(CHECKOUT)}
        start = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port=0", "--num-cpus=1"),
            *("--include-dashboard=false", "--disable-usage-stats", '--resources={"theirs": 1}'),
        ]
        theirs = subprocess.Popen(
            start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 120
            while not list(Path(folder).rglob("ray_current_cluster")) and time.monotonic() < deadline:
                time.sleep(0.5)
            ran = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=240
            )
            assert ran.stdout == "False answers\n", ran.stderr
        finally:
            os.killpg(theirs.pid, signal.SIGTERM)
            theirs.wait()
