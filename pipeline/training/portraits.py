"""Portraits of people who do not exist: written to a folder to look at, or learned from by the dense landmark network.

::

    pictures/00042.png           portrait number 42
    sheet.jpg                    the first of them side by side, every other one with its points
    truth.safetensors            points_px, visible, identity, expression, camera, crop, albedo, light; the
                                 vertices of the points
"""

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from ops.face.dense_points import choose_dense_points
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.appearance import HAIR_COLOURS, blend_colours
from ops.faceworld.portraits.stream import Look, LookSource, PaintedLooks, Portrait, PortraitSettings, PortraitStream
from ops.files.tensor_file import write_tensor_file
from ops.networks.dense_landmarks import ARCHITECTURE, check_points, load_dense_landmarks
from ops.texture.interface import TextureModel
from ops.texture.procedural import canvas_for
from ops.training.dense_landmarks import WEIGHTS, score_dense, train_dense_landmarks
from ops.training.loop import Schedule
from ops.training.portrait_feed import Window
from ops.weights.bundle import ModelBundle, load_shape, load_texture
from ops.weights.registry import sha256_of

PAINTED_SIDE = 192
"""Texels along a painted texture."""
PICTURES_DIR, SHEET_FILE, TRUTH_FILE = "pictures", "sheet.jpg", "truth.safetensors"
SHEET_COLUMNS, SHEET_ROWS = 8, 6
TEST_SEED_OFFSET = 1_000_003
"""Portraits of this seed more are not trained on."""
MIXING_SEED = 14
PAINTED_KINDS = ("procedural-pca",)
"""Texture models that are made of painted faces: portraits paint these themselves, with all their detail."""
LOG_FILE = "training.log"


@dataclass(frozen=True)
class LearnedLooks:
    """Albedos drawn from the prior of a learned texture model; any hair goes with them."""

    texture: TextureModel

    def __call__(self, seed: tuple[int, ...]) -> Look:
        """The look of a seed."""
        rng = np.random.default_rng(seed)
        latent = torch.from_numpy(rng.standard_normal((1, self.texture.latent_size))).float()
        with torch.no_grad():
            drawn = self.texture(self.texture.constrain(latent))[0].clamp(0, 1)
        return Look((drawn * 255 + 0.5).to(torch.uint8).numpy(), blend_colours(HAIR_COLOURS, rng.uniform()))


@dataclass(frozen=True)
class MixedLooks:
    """Learned and painted faces: what a network learns from must not hang on how one of them was made."""

    learned: LearnedLooks
    painted: PaintedLooks
    painted_share: float

    def __call__(self, seed: tuple[int, ...]) -> Look:
        """The look of a seed."""
        painted = np.random.default_rng((*seed, MIXING_SEED)).random() < self.painted_share
        return self.painted(seed) if painted else self.learned(seed)


@dataclass(frozen=True)
class PortraitSource:
    """Makes the stream of a bundle's people, in whatever process it is called."""

    bundle: ModelBundle
    settings: PortraitSettings

    def __call__(self) -> PortraitStream:
        """The stream."""
        shape = load_shape(self.bundle.shape)
        return PortraitStream(shape, self.looks(shape), self.settings)

    def looks(self, shape: MorphableModel) -> LookSource:
        """Painted where the bundle's texture model is made of paint, else also drawn from that."""
        painted = PaintedLooks(AlbedoPainter(canvas_for(shape, PAINTED_SIDE)))
        if self.bundle.texture.kind in PAINTED_KINDS:
            return painted
        learned = LearnedLooks(load_texture(self.bundle.texture, shape))
        return MixedLooks(learned, painted, self.settings.painted_share)


def write_portraits(
    bundle: ModelBundle, folder: Path, count: int, settings: PortraitSettings, report: Callable[[str], None]
) -> None:
    """Write portraits 0 to count - 1 and what is true about them."""
    stream = PortraitSource(bundle, settings)()
    pictures = folder / PICTURES_DIR
    pictures.mkdir(parents=True, exist_ok=True)
    kept: list[Portrait] = []
    shown: list[UInt8[np.ndarray, "side side 3"]] = []
    started = time.monotonic()
    for number, portrait in enumerate(stream.portraits(0, count)):
        Image.fromarray(portrait.image_rgb).save(pictures / f"{number:05d}.png")
        kept.append(portrait._replace(image_rgb=portrait.image_rgb[:0]))
        if len(shown) < SHEET_COLUMNS * SHEET_ROWS:
            shown.append(_with_points(portrait) if number % 2 else portrait.image_rgb)
        if (number + 1) % 500 == 0 or number + 1 == count:
            rate = (number + 1) / (time.monotonic() - started)
            report(f"drew {number + 1} of {count} portraits, {rate:.1f} a second")
    _write_sheet(shown, folder / SHEET_FILE)
    truth = {
        name: torch.from_numpy(np.stack([getattr(portrait, name) for portrait in kept]))
        for name in Portrait._fields
        if name != "image_rgb"
    }
    dense = {f"dense.{name}": value for name, value in stream.dense._asdict().items()}
    about = {"shape": stream_name(bundle), "settings": json.dumps(dataclasses.asdict(settings))}
    write_tensor_file(folder / TRUTH_FILE, truth | dense, about)


def stream_name(bundle: ModelBundle) -> str:
    """What the people of a bundle's portraits are made of."""
    return f"{bundle.shape.kind} {bundle.shape.sha256 or ''}".strip()


def train_on_portraits(
    bundle: ModelBundle,
    output: Path,
    settings: PortraitSettings,
    schedule: Schedule,
    window: Window,
    report: Callable[[str], None],
    *,
    resume: bool,
) -> dict[str, Any]:
    """Train the dense landmark network of a bundle's shape model; returns what its report says of the training."""
    output.mkdir(parents=True, exist_ok=True)
    source = PortraitSource(bundle, settings)
    dense = choose_dense_points(load_shape(bundle.shape), settings.points)
    log = output / LOG_FILE

    def report_and_log(line: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        report(line)

    train_dense_landmarks(source, dense, output, schedule, window, report_and_log, resume=resume)
    return {
        "architecture": ARCHITECTURE,
        "sees": "renders of painted faces, no photographs"
        if bundle.texture.kind in PAINTED_KINDS
        else f"renders, of painted faces and with textures of {bundle.texture.kind} {bundle.texture.sha256}",
        "shape": stream_name(bundle),
        "portraits": window.at(schedule.steps - 1).stop,
        **{name: dataclasses.asdict(part) for name, part in _parts(settings, schedule, window).items()},
    }


def evaluate_on_portraits(
    bundle: ModelBundle, weights: Path, settings: PortraitSettings, count: int
) -> dict[str, float]:
    """Score a file of weights on portraits of people who were not trained on.

    Raises:
        ConfigurationError: its points are not those of the bundle's shape model.
    """
    network = load_dense_landmarks(weights)
    check_points(network, load_shape(bundle.shape))
    other = dataclasses.replace(settings, seed=settings.seed + TEST_SEED_OFFSET, points=len(network.dense.vertices))
    return score_dense(network, PortraitSource(bundle, other)(), 0, count)._asdict()


def write_training_report(output: Path, training: Any, evaluation: Any) -> Path:
    """Write what is known of weights beside them, as JSON; returns the file."""
    weights = output / WEIGHTS
    path = weights.with_suffix(".json")
    report = {"sha256": sha256_of(weights), "training": training, "evaluation": evaluation}
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return path


def _parts(settings: PortraitSettings, schedule: Schedule, window: Window) -> dict[str, Any]:
    return {"settings": settings, "schedule": schedule, "window": window}


def _with_points(portrait: Portrait) -> UInt8[np.ndarray, "side side 3"]:
    import cv2

    picture = portrait.image_rgb.copy()
    for (x, y), seen in zip(portrait.points_px, portrait.visible, strict=True):
        cv2.circle(picture, (int(x), int(y)), 0, (0, 255, 0) if seen else (255, 0, 0), -1)
    return picture


def _write_sheet(pictures: list[UInt8[np.ndarray, "side side 3"]], path: Path) -> None:
    blank = np.zeros_like(pictures[0])
    rows = -(-len(pictures) // SHEET_COLUMNS)
    filled = pictures + [blank] * (rows * SHEET_COLUMNS - len(pictures))
    lines = [np.concatenate(filled[i : i + SHEET_COLUMNS], 1) for i in range(0, len(filled), SHEET_COLUMNS)]
    Image.fromarray(np.concatenate(lines)).save(path, quality=92)
