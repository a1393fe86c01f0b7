"""Texture training on Ray Train: the same loop in every worker, on CPUs with gloo or on GPUs with nccl."""

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ops.errors import ConfigurationError, GanfitError, OutputError
from ops.texture.gan_texture import GanTexture, freeze, load_gan_texture, save_gan_texture
from ops.texture.progressive_gan import Generator
from ops.training.gan_run import GanRun, run_gan_training
from ops.training.gan_schedule import GanSchedule
from ops.training.loop import Schedule
from ops.training.peers import Peers
from ops.training.texture_gan import Anchor, GanTraining
from ops.training.texture_maps import TextureMaps
from ops.training.texture_start import StartSettings, train_start
from pipeline.cluster import ClusterConfig, ray_session

LOG_FILE, START_DIR, RAY_DIR = "training.log", "start", "ray_train"
START_FILE, CODES_FILE = "generator.safetensors", "codes.safetensors"
START_SETTINGS = StartSettings(detail_weight=0.5)
START_BATCH, START_RATE = 16, 1e-2


@dataclass(frozen=True, kw_only=True)
class TextureTraining:
    """One training, as every worker gets it; its folders must be visible to all of them."""

    schedule: GanSchedule
    maps: TextureMaps
    run: GanRun
    device: str = "cpu"
    """cpu or cuda."""
    started: bool = False
    """Whether the run's folder holds a supervised start to continue from."""


def supervised_start(training: TextureTraining, steps: int, report: Callable[[str], None]) -> TextureTraining:
    """Regress the maps from codes first, in this process, or take what an earlier run left; see `ops.training`."""
    folder = training.run.folder / START_DIR
    if not (folder / CODES_FILE).is_file():
        torch.manual_seed(training.schedule.seed)
        generator = Generator(training.schedule.size)
        schedule = Schedule(
            steps=steps, batch=START_BATCH, learning_rate=START_RATE, weight_decay=0.0, seed=training.schedule.seed
        )
        codes = train_start(
            generator,
            training.maps,
            schedule,
            folder / "checkpoint.pt",
            report,
            settings=START_SETTINGS,
            resume=True,
        )
        write_start(generator, codes, training, f"{steps} steps of regression from codes")
    return dataclasses.replace(training, started=True)


def write_start(generator: Generator, codes: torch.Tensor, training: TextureTraining, how: str) -> None:
    """Keep the generator and codes of a supervised start."""
    folder, run = training.run.folder / START_DIR, training.run
    texture = GanTexture(
        generator=freeze(generator),
        uv_layout=run.uv_layout,
        training=f"{run.maps_description}; {how}",
        licence=run.licence,
    )
    save_gan_texture(texture, folder / START_FILE)
    save_file({"codes": codes.half().contiguous().cpu()}, folder / CODES_FILE)


def train_here(training: TextureTraining, report: Callable[[str], None], peers: Peers | None = None) -> None:
    """Train in this process, as one of the given peers."""
    run = training.run
    anchor = None
    if training.started:
        anchor = Anchor(codes=load_file(run.folder / START_DIR / CODES_FILE)["codes"].float(), settings=START_SETTINGS)
    gan = GanTraining(training.schedule, device=training.device, peers=peers, anchor=anchor)
    if training.started:
        gan.start_from(load_gan_texture(run.folder / START_DIR / START_FILE).generator)
    run_gan_training(gan, training.maps, run, report)


def train_on_ray(
    training: TextureTraining, workers: int, cluster: ClusterConfig, report: Callable[[str], None]
) -> None:
    """Train in worker processes of Ray Train; their log is training.log in the run's folder.

    Raises:
        GanfitError: what a worker raised on purpose.
        OutputError: a worker ended otherwise, such as by being killed; the same call continues from the checkpoint.
    """
    with ray_session(cluster):
        import ray.train
        from ray.train.torch import TorchConfig, TorchTrainer

        on_gpu = training.device == "cuda"
        trainer = TorchTrainer(
            _work,
            train_loop_config={"training": training},
            torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
            scaling_config=ray.train.ScalingConfig(num_workers=workers, use_gpu=on_gpu),
            run_config=ray.train.RunConfig(
                name=f"run-{int(time.time())}",
                storage_path=str((training.run.folder / RAY_DIR).absolute()),
                failure_config=ray.train.FailureConfig(max_failures=0),
            ),
        )
        report(f"training on {workers} workers; their log is {training.run.folder / LOG_FILE}")
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise _reason(error) from error


def _work(config: dict[str, Any]) -> None:
    """The loop of one worker."""
    import ray.train

    context = ray.train.get_context()
    training: TextureTraining = config["training"]
    rank = context.get_world_rank()
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // context.get_world_size()))
    log = training.run.folder / LOG_FILE

    def report(line: str) -> None:
        if rank == 0:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    report(f"{context.get_world_size()} workers, this one is process {os.getpid()}")
    train_here(training, report, Peers(rank=rank, count=context.get_world_size()))


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
