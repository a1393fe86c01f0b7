"""Runs a texture training to its end or time limit: checkpoints, log, metrics, sample grids, and the texture file."""

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ops.errors import DivergedTrainingError
from ops.texture.gan_texture import GanTexture, calibrate_levels, freeze, save_gan_texture
from ops.texture.progressive_gan import fade_images, pixel_norm
from ops.training.sliced_wasserstein import sliced_wasserstein
from ops.training.texture_gan import GanTraining, StepReport
from ops.training.texture_maps import TextureMaps

CHECKPOINT_FILE, TEXTURE_FILE, METRICS_FILE = "checkpoint.pt", "generator.safetensors", "metrics.jsonl"
GRID_ROWS, GRID_COLUMNS = 4, 8
SAMPLE_SEED = 7
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class GanRun:
    """Where a training writes and what its texture file says."""

    folder: Path
    """Gets checkpoint.pt, generator.safetensors, metrics.jsonl, samples/ and tensorboard/."""
    uv_layout: str
    maps_description: str
    licence: str
    minutes: float | None = None
    """Wall-clock limit of this run; the next one continues."""
    tensorboard: bool = True


def run_gan_training(training: GanTraining, maps: TextureMaps, run: GanRun, report: Callable[[str], None]) -> None:
    """Train to the schedule's end or the time limit, from the folder's checkpoint where there is one.

    Raises:
        DivergedTrainingError: numbers stopped being finite; the message names the last good checkpoint.
        FingerprintMismatchError: the checkpoint belongs to another schedule.
    """
    checkpoint = run.folder / CHECKPOINT_FILE
    if checkpoint.is_file():
        training.load(checkpoint)
        report(f"resumed at step {training.step_number}, {_place(training)}")
    record = _Record(run, training.step_number) if training.peers.rank == 0 else None
    try:
        _train(training, maps, run, record, report)
    except DivergedTrainingError as error:
        kept = f"the last good checkpoint is {checkpoint}" if checkpoint.is_file() else "there is no checkpoint yet"
        raise DivergedTrainingError(f"{error}; {kept}") from error
    finally:
        if record is not None:
            record.close()


def _train(
    training: GanTraining,
    maps: TextureMaps,
    run: GanRun,
    record: "_Record | None",
    report: Callable[[str], None],
) -> None:
    schedule, started = training.schedule, time.monotonic()
    saved = sampled = training.step_number
    in_time = torch.ones((), dtype=torch.bool, device=training.device)
    while not training.done:
        losses = training.step(maps)
        step = training.step_number
        if step % schedule.report_every == 0:
            training.check()
            if record is not None:
                record.losses(training, losses, time.monotonic() - started)
                line = f"step {step}, {_place(training)}, estimate {float(losses.critic_estimate):.4f}"
                if training.adaptive is not None:
                    line += f", overfitting {losses.overfitting:.2f}, augmented {losses.augmented:.2f}"
                report(line)
            in_time &= run.minutes is None or time.monotonic() - started < 60 * run.minutes
            if not training.peers.all_agree(in_time):
                report("time limit reached")
                break
        if step % schedule.checkpoint_every == 0:
            training.check()
            saved = step
            if record is not None:
                training.save(run.folder / CHECKPOINT_FILE)
        if step % schedule.sample_every == 0:
            sampled = step
            if record is not None:
                report(record.samples(training, maps))
    training.check()
    if record is None:
        return
    if training.step_number != saved:
        training.save(run.folder / CHECKPOINT_FILE)
    if training.step_number != sampled:
        report(record.samples(training, maps))
    save_gan_texture(finished_texture(training, maps, run), run.folder / TEXTURE_FILE)
    report(f"wrote {run.folder / TEXTURE_FILE} at {_place(training)}")


def finished_texture(training: GanTraining, maps: TextureMaps, run: GanRun) -> GanTexture:
    """The running mean with calibrated levels, described."""
    generator = copy.deepcopy(training.average).cpu()
    calibrate_levels(generator)
    share = training.shown / training.schedule.total_images
    description = (
        f"{run.maps_description}; {maps.count} maps, {maps.skipped} files skipped; WGAN-GP, {training.shown} real "
        f"images shown ({share:.0%} of the schedule), running mean of decay {training.schedule.average_decay}"
    )
    deviation = 1.0
    if training.anchor is not None:
        description += "; started by regression from codes and held to it"
        deviation = training.anchor.deviation
    if maps.partly_seen:
        description += "; the critic saw no detail where maps are guessed"
    if training.adaptive is not None:
        description += f"; augmented with an adaptive probability, {training.adaptive.value:.2f} at the end"
    return GanTexture(
        generator=freeze(generator),
        uv_layout=run.uv_layout,
        training=description,
        licence=run.licence,
        latent_deviation=deviation,
    )


class _Record:
    """What the first worker writes beside the checkpoint."""

    def __init__(self, run: GanRun, step: int) -> None:
        self._folder = run.folder
        self._path = run.folder / METRICS_FILE
        run.folder.mkdir(parents=True, exist_ok=True)
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._board: Any = None
        if run.tensorboard:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=step or None)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def losses(self, training: GanTraining, losses: StepReport, seconds: float) -> None:
        level, share = training.position
        values = {name: float(value) for name, value in losses._asdict().items()}
        values |= {"side": float(training.schedule.levels[level].side), "share": share, "seconds": seconds}
        self._write(training, {name: value for name, value in values.items() if np.isfinite(value)})

    def samples(self, training: GanTraining, maps: TextureMaps) -> str:
        """Write a grid of generated maps over real ones and the distances of the two sets; returns a line."""
        index, share = training.position
        side = training.schedule.levels[index].side
        count = min(training.schedule.metrics_images, maps.count)
        real = torch.cat([fade_images(part, share) for part in maps.batch(side, np.arange(count)).split(BATCH)])
        found = generate(training, count, side, share)
        distances = sliced_wasserstein(real, found)
        self._write(training, {f"sliced_wasserstein_{level}": value for level, value in distances.items()})
        shown = min(count, GRID_ROWS * GRID_COLUMNS)
        grid = picture_grid(torch.cat((found[:shown], real[: min(count, GRID_COLUMNS)])), GRID_COLUMNS)
        folder = self._folder / "samples"
        folder.mkdir(exist_ok=True)
        grid.save(folder / f"{training.step_number:08d}.png")
        text = ", ".join(f"{level} px {1e3 * value:.2f}" for level, value in distances.items())
        return f"sliced Wasserstein x 1000: {text}"

    def _write(self, training: GanTraining, values: dict[str, float]) -> None:
        line = {"step": training.step_number, "shown": training.shown, **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, training.step_number)


def generate(training: GanTraining, count: int, side: int, share: float) -> Float[Tensor, "image 3 side side"]:
    """The same latent vectors' images by the running mean, on the CPU."""
    random = torch.Generator().manual_seed(SAMPLE_SEED)
    latents = pixel_norm(torch.randn(count, training.schedule.size.latent_size, generator=random)).to(training.device)
    with torch.no_grad():
        return torch.cat([training.average(part, side, share).float().cpu() for part in latents.split(BATCH)])


def picture_grid(images: Float[Tensor, "image 3 side side"], columns: int) -> Image.Image:
    """Images in [-1, 1] in rows, as one picture."""
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    missing = -len(pixels) % columns
    pixels = np.concatenate((pixels, np.zeros((missing, *pixels.shape[1:]), np.uint8)))
    rows = pixels.reshape(-1, columns, *pixels.shape[1:])
    return Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows], 0))


def _place(training: GanTraining) -> str:
    index, share = training.position
    side = training.schedule.levels[index].side
    return f"{training.shown} of {training.schedule.total_images} images, {side} px" + (
        f" fading in ({share:.2f})" if share < 1 else ""
    )
