"""Starting Ray or joining it, and refusing at once what it could never schedule."""

import dataclasses
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ops.errors import ConfigurationError
from ops.render.probe import gpu_problem
from ops.render.rasterize import RasterizerName
from pipeline.cluster.last_words import last_words
from pipeline.stages.stage import Placement
from pipeline.storage.submitted_job import in_submitted_job

GPU_BATCH = 32
"""Images that a GPU fits together, and so the images of a shard: a batch never goes beyond one."""
CPU_BATCH, CPU_SHARD = 8, 16
"""The same on the CPU, where a batch gains nothing and small shards spread better."""
PREPARE_WORKERS_PER_GPU = 4
"""Detecting and aligning takes 0.1 CPU seconds per face; a fit on a GPU is meant to take less."""
FITS_PER_PREPARE = 8.0
"""Workers that fit on the CPU for one that prepares, where a fit takes seconds."""
PREPARE_CPUS = 0.5
"""Logical CPUs of a worker that reads, detects and aligns: it waits for the fit most of the time."""
LEAST_FIT_CPUS = 0.25
"""Logical CPUs of a fit worker at least: more than four of them on a core is refused."""
BYTES_A_WORKER = 2 << 30
"""Memory to allow for a fit worker on the CPU."""
_ATTEMPTS, _ANSWER_S = 3, 5.0
"""How often a cluster is asked whether it is there, and how long each time."""
_CHECKOUT = Path(__file__).parents[2]
"""Ray sets it for what `ray job submit` starts."""


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Where and how wide a run is; no part of what it computes."""

    address: str | None = None
    """An existing Ray cluster, such as auto; default: the cluster of RAY_ADDRESS, else one on this machine."""
    num_gpus: int | None = None
    """GPUs to use; default: all there are. 0 fits on the CPU."""
    fit_workers: int | None = None
    """Worker processes that fit; default: one per GPU, or one per CPU core."""
    prepare_workers: int | None = None
    """Worker processes that read, detect and align; default: four per GPU; on the CPU one for eight that fit, or for
    fastganfit one for two."""
    fit_batch: int | None = None
    """Images fitted together, at most those of a shard; default: 32 on a GPU, 8 on the CPU."""
    rasterizer: RasterizerName = "warp"
    """What draws on GPUs: warp, or nvdiffrast where it is installed."""
    stall_timeout_s: float = 21_600.0
    """A run in which no shard moves for so long is ended."""
    dashboard: bool = False
    """Start Ray's dashboard, on this machine only."""
    node_timeout_s: float = 0.0
    """How long to wait for machines of a cluster that starts them on demand; then as many are used as have come."""

    def __post_init__(self) -> None:
        counts = (self.fit_workers, self.prepare_workers, self.fit_batch)
        if any(count is not None and count < 1 for count in counts) or (self.num_gpus or 0) < 0:
            raise ConfigurationError(
                "expected fit_workers, prepare_workers and fit_batch of at least 1 and num_gpus of at least 0, got "
                f"{counts[0]}, {counts[1]}, {counts[2]} and {self.num_gpus}"
            )


@dataclass(frozen=True, kw_only=True)
class Pools:
    """The two worker pools of a reconstruction, and the device of the fit."""

    prepare: Placement
    fit: Placement
    device: str
    fit_batch: int
    rasterizer: RasterizerName = "warp"


def default_shard_size(config: ClusterConfig) -> int:
    """Images of a shard: on GPUs as many as they fit together.

    Whether there are GPUs is known of this machine; of a cluster to join they are expected.
    """
    joins = bool(config.address or os.environ.get("RAY_ADDRESS"))
    gpus = config.num_gpus if config.num_gpus is not None else int(joins or torch.cuda.is_available())
    return max(CPU_SHARD, config.fit_batch or GPU_BATCH) if gpus else CPU_SHARD


def plan_pools(
    config: ClusterConfig,
    *,
    cpus: float,
    gpus: int,
    memory_bytes: float,
    shards: int,
    fits_per_prepare: float = FITS_PER_PREPARE,
) -> Pools:
    """Sizes for so many CPUs, GPUs, bytes of memory and shards to do; by default they fill what there is.

    `fits_per_prepare` is how much longer it takes on the CPU to fit and write a face than to find it.
    """
    use_gpus = gpus if config.num_gpus is None else config.num_gpus
    if use_gpus and config.fit_workers is not None:
        use_gpus = min(use_gpus, config.fit_workers)
    whole = max(1, int(cpus))
    default = use_gpus or max(1, min(whole, shards, int(memory_bytes // BYTES_A_WORKER)))
    workers = config.fit_workers or default
    spare = int((cpus - workers * LEAST_FIT_CPUS) / PREPARE_CPUS)
    wanted = min(PREPARE_WORKERS_PER_GPU * use_gpus, spare) if use_gpus else int(workers / fits_per_prepare)
    prepare = config.prepare_workers or max(1, wanted)
    share = (cpus - prepare * PREPARE_CPUS) / workers
    return Pools(
        prepare=Placement(workers=prepare, cpus=PREPARE_CPUS),
        fit=Placement(
            workers=workers,
            cpus=max(LEAST_FIT_CPUS, min(share, 1.0)) if use_gpus else max(LEAST_FIT_CPUS, share),
            threads=max(1, whole // workers),
            # Ray takes whole GPUs or an equal part of one.
            gpus=1 / math.ceil(workers / use_gpus) if use_gpus else 0.0,
        ),
        device="cuda" if use_gpus else "cpu",
        fit_batch=config.fit_batch or (GPU_BATCH if use_gpus else CPU_BATCH),
        rasterizer=config.rasterizer,
    )


def check_fits(pools: Sequence[Placement], resources: Mapping[str, float]) -> None:
    """Refuse pools that would wait for ever.

    Raises:
        ConfigurationError: more CPUs or GPUs are declared than the cluster has.
    """
    for name, needed in (
        ("CPU", sum(pool.workers * pool.cpus for pool in pools)),
        ("GPU", sum(pool.workers * pool.gpus for pool in pools)),
    ):
        if needed > resources.get(name, 0.0) + 1e-6:
            raise ConfigurationError(
                f"the workers need {needed:g} {name}s and the cluster has {resources.get(name, 0.0):g}: "
                "lower --fit-workers, --prepare-workers or --num-gpus"
            )


def cluster_pools(
    config: ClusterConfig,
    ray: Any,
    *,
    shards: int,
    say: Callable[[str], None],
    fits_per_prepare: float = FITS_PER_PREPARE,
) -> Pools:
    """The pools for so many shards on the cluster as it is, after machines started on demand have come.

    Raises:
        ConfigurationError: not even one worker of each pool can run.
    """
    pools = _pools_now(config, ray, shards, fits_per_prepare)
    try:
        check_fits((pools.prepare, pools.fit), ray.cluster_resources())
        return pools
    except ConfigurationError:
        if not config.node_timeout_s:
            raise
    say(f"waiting up to {config.node_timeout_s:g} s for machines for {pools.fit.workers} fit workers")
    come = _wait_for_workers(ray, pools.fit, config.node_timeout_s)
    say(f"there are machines for {come} of {pools.fit.workers} fit workers")
    if 0 < come < pools.fit.workers:
        config = dataclasses.replace(config, fit_workers=come, num_gpus=math.ceil(pools.fit.gpus * come))
    pools = _pools_now(config, ray, shards, fits_per_prepare)
    check_fits((pools.prepare, pools.fit), ray.cluster_resources())
    return pools


def check_gpu(ray: Any, pools: Pools) -> None:
    """Render one picture on a fit worker's GPU before any work.

    Raises:
        ConfigurationError: it cannot be used.
    """
    if pools.device != "cuda":
        return
    probe = ray.remote(num_gpus=pools.fit.gpus, num_cpus=pools.fit.cpus, max_retries=0)(gpu_problem)
    try:
        problem: str | None = ray.get(probe.remote(pools.rasterizer))
    except ray.exceptions.RayError as error:
        problem = f"the process that tried the GPU ended: {error}"
    if problem is not None:
        raise ConfigurationError(f"{problem}; --num-gpus 0 computes on the CPU")


def _pools_now(config: ClusterConfig, ray: Any, shards: int, fits_per_prepare: float) -> Pools:
    resources: dict[str, float] = ray.cluster_resources()
    return plan_pools(
        config,
        cpus=resources.get("CPU", 0.0),
        gpus=int(resources.get("GPU", 0)),
        memory_bytes=resources.get("memory", 0.0) + resources.get("object_store_memory", 0.0),
        shards=shards,
        fits_per_prepare=fits_per_prepare,
    )


def _wait_for_workers(ray: Any, fit: Placement, timeout_s: float) -> int:
    """Ask for the fit workers' places one by one, and say how many there are in the end.

    Asked for by actors: a cluster starts machines for actors that wait, and forgets them with this process.
    """

    class Place:
        def ready(self) -> None:
            return None

    options = {"num_cpus": 1, "num_gpus": fit.gpus or None}
    places = [ray.remote(**options)(Place).remote() for _ in range(fit.workers)]
    ready, _ = ray.wait([place.ready.remote() for place in places], num_returns=len(places), timeout=timeout_s)
    for place in places:
        ray.kill(place)
    return len(ready)


def _workers_code() -> dict[str, Any]:
    """The runtime environment that gives workers of a joined cluster the code of this process.

    A submitted job has it from its working directory; a process that joins by address sends its own checkout.
    """
    if in_submitted_job() or not (_CHECKOUT / "pyproject.toml").is_file():
        return {}
    return {"working_dir": str(_CHECKOUT)}


@contextmanager
def ray_session(config: ClusterConfig) -> Generator[Any]:
    """Ray, quiet: the one already running in this process, the cluster asked for, or a local one that ends here.

    A local one listens on the loopback interface alone and requires a token from every client.

    Raises:
        ConfigurationError: Ray cannot be started or joined.
    """
    address = config.address or os.environ.get("RAY_ADDRESS")
    address = None if address == "local" else address
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if not address:
        # Workers inherit these. By default they run at the lowest priority, and every port is open to the network.
        os.environ.setdefault("RAY_worker_niceness", "0")
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    if address:
        _check_answers(address)
    if ray.is_initialized():
        _quieten(config)
        yield ray
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        options |= {"address": address, "runtime_env": _workers_code()}
    else:
        # Without the word Ray would join whatever instance somebody has started on this machine.
        options |= {
            "address": "local",
            "num_cpus": local_cpus(),
            "include_dashboard": config.dashboard,
            "dashboard_host": "127.0.0.1",
        }
        if config.num_gpus == 0:
            options["num_gpus"] = 0
    try:
        with _stderr_only_of_failures(), _signals_stay():
            # Ray reads the environment once, when it is imported, and that may have happened before this function.
            import_module("ray._raylet").Config.initialize("")
            ray.init(**options)
    except Exception as error:
        raise ConfigurationError(f"Ray could not be started or joined: {error}") from error
    words = (
        f"this process was ended at once: is the Ray cluster {address or 'of this machine'} still there? Finished "
        "shards are kept, the same command continues from them"
    )
    try:
        _quieten(config)
        with last_words(words):
            yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Refuse the address of a cluster that is not there, for which Ray would wait a quarter of an hour.

    Raises:
        ConfigurationError: nothing answers.
    """
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`, and what Ray itself refuses at once
    for attempt in range(_ATTEMPTS):
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S):
                return
        except OSError as error:
            if attempt == _ATTEMPTS - 1:
                raise ConfigurationError(
                    f"expected a Ray cluster at {address}, but nothing answers there ({error}): start it, or give "
                    "another --address or RAY_ADDRESS; without either this machine is used"
                ) from error
            time.sleep(1.0)


@contextmanager
def _signals_stay() -> Generator[None]:
    """What SIGTERM does is decided by the program, not by what the block installs for it."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


@contextmanager
def _stderr_only_of_failures() -> Generator[None]:
    """Hold back what native code writes to standard error, unless the block fails."""
    sys.stderr.flush()
    descriptor = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(descriptor, held.read())
            raise
        finally:
            os.dup2(descriptor, 2)
            os.close(descriptor)


def local_cpus() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quieten(config: ClusterConfig) -> None:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = config.stall_timeout_s
    context.max_errored_blocks = 0
