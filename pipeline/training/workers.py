"""Training in this process, or in workers of Ray Train: one loop in each, on CPUs with gloo or on GPUs with nccl."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from ops.errors import ConfigurationError, GanfitError, OutputError
from ops.training.peers import Peers
from pipeline.cluster.session import ClusterConfig, ray_session

LOG_FILE, RAY_DIR = "training.log", "ray_train"
Say = Callable[[str], None]


class Training(Protocol):
    """What can be sent to workers."""

    @property
    def device(self) -> str:
        """Where it runs: cpu or cuda."""
        ...

    def __call__(self, report: Say, peers: Peers) -> None:
        """Train as one of the peers, from the last checkpoint where there is one."""
        ...


def train_on_workers(training: Training, folder: Path, workers: int, cluster: ClusterConfig, report: Say) -> None:
    """Run a training in so many workers; 0 runs it in this process, without Ray.

    The workers' log is training.log in the folder, which all of them must see.

    Raises:
        GanfitError: what a worker raised on purpose.
        OutputError: a worker ended otherwise, such as by being killed; the same call continues from the checkpoint.
    """
    if workers == 0:
        training(report, Peers())
        return
    with ray_session(cluster):
        import ray.train
        from ray.train.torch import TorchConfig, TorchTrainer

        on_gpu = training.device == "cuda"
        trainer = TorchTrainer(
            _work,
            train_loop_config={"training": training, "log": folder.absolute() / LOG_FILE},
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=on_gpu),
            run_config=ray.train.RunConfig(
                name=f"run-{int(time.time())}",
                storage_path=str((folder / RAY_DIR).absolute()),
                failure_config=ray.train.FailureConfig(max_failures=0),
            ),
        )
        report(f"training on {workers} workers; their log is {folder / LOG_FILE}")
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _reason(error) from error


def _work(config: dict[str, Any]) -> None:
    """The loop of one worker."""
    import ray.train

    context = ray.train.get_context()
    training: Training = config["training"]
    log: Path = config["log"]
    peers = Peers(rank=context.get_world_rank(), count=context.get_world_size())
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // peers.count))

    def report(line: str) -> None:
        if peers.rank == 0:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    report(f"{peers.count} workers, this one is process {os.getpid()}")
    training(report, peers)


def _reason(error: Exception) -> GanfitError:
    """What a worker raised, if it did so on purpose."""
    failures: dict[int, Any] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause = getattr(failure, "_base_exc", None) or getattr(failure, "cause", None) or failure
        if isinstance(cause, GanfitError):
            return cause
    first = next(iter(failures.values()), error)
    return OutputError(f"a training worker ended: {first}; the same command continues from the last checkpoint")


def pick_device(wish: str) -> str:
    """The device for auto, cpu or cuda.

    Raises:
        ConfigurationError: cuda without a GPU.
    """
    if wish == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wish == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("expected a GPU that PyTorch can use for --device cuda, found none")
    return wish
