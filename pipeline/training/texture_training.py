"""Training a texture generator: in this process, or as one of the workers of Ray Train."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ops.files.tensor_file import read_tensor_file, write_tensor_file
from ops.texture.gan_texture import GanTexture, freeze, load_gan_texture, save_gan_texture
from ops.texture.progressive_gan import Generator
from ops.training.gan_run import GanRun, run_gan_training
from ops.training.gan_schedule import GanSchedule
from ops.training.loop import Schedule
from ops.training.peers import Peers
from ops.training.texture_gan import Anchor, GanTraining
from ops.training.texture_maps import TextureMaps
from ops.training.texture_start import train_start

START_DIR, START_FILE, CODES_FILE = "start", "generator.safetensors", "codes.safetensors"


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

    def __call__(self, report: Callable[[str], None], peers: Peers) -> None:
        """Train as one of the given peers."""
        folder, anchor = self.run.folder / START_DIR, None
        if self.started:
            codes = read_tensor_file(folder / CODES_FILE, "codes of a supervised start").tensors["codes"]
            anchor = Anchor(codes=codes.float())
        gan = GanTraining(self.schedule, device=self.device, peers=peers, anchor=anchor)
        if self.started:
            gan.start_from(load_gan_texture(folder / START_FILE).generator)
        run_gan_training(gan, self.maps, self.run, report)


def supervised_start(training: TextureTraining, steps: int, report: Callable[[str], None]) -> TextureTraining:
    """Regress the maps from codes first, in this process, or take what an earlier run left; see `ops.training`."""
    folder = training.run.folder / START_DIR
    if not (folder / CODES_FILE).is_file():
        torch.manual_seed(training.schedule.seed)
        generator = Generator(training.schedule.size)
        settings = training.schedule.start
        schedule = Schedule(
            steps=steps,
            batch=settings.batch,
            learning_rate=settings.learning_rate,
            weight_decay=0.0,
            seed=training.schedule.seed,
            checkpoint_every=100,
        )
        codes = train_start(
            generator,
            training.maps,
            schedule,
            folder / "checkpoint.pt",
            report,
            settings=settings,
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
    write_tensor_file(folder / CODES_FILE, {"codes": codes.half()})
