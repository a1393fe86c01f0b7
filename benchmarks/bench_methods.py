"""GANFIT, FastGANFit and GANFit++ on synthetic people: shape error, similarities, seconds, iterations, bad starts.

    OMP_NUM_THREADS=1 python -m benchmarks.bench_methods --people 12

People of the face world whom no network has seen are photographed on the bundle's shape model, detected and aligned by
the pipeline's own stages and fitted by every method. GANFit++ runs with shares of GANFIT's iterations, GANFIT with as
many beside it; the objective is that of the fit, averaged over all views and as many draws of the second render, the
same for everybody. A bad start is a photo whose landmarks are all displaced by 8 % of the eye distance before the
alignment, together or each in its own direction; it fails when the fit diverges or ends further from the truth than the
mean face.
"""

import dataclasses
import time
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.command_line import parser_of
from evaluation.shape_error import neutral_face_error_mm
from ops.face.landmark_parts import outer_eye_distance
from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.people import sample_person
from ops.faceworld.scenes import FacePlace, SceneSettings, render_scene
from ops.files.photo import encode_png
from ops.fit import FitConfig, FitInput, FitModels, FitResult, fit_faces, preset
from ops.fit.objective import Objective
from ops.fit.parameters import CAMERA_UNITS, LIGHT_UNITS, FitParameters
from ops.fit.regression import start_from_regressor
from ops.reconstruction.detection import DetectionConfig
from ops.reconstruction.fitting import pack_faces
from ops.texture.procedural import canvas_for, wears_hair
from ops.weights.bundle import ModelBundle, resolve_bundle
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.stages.alignment import AlignFaces
from pipeline.stages.detection import DetectFaces
from pipeline.stages.fitting import aligned_face
from pipeline.stages.models import load_fit_models
from pipeline.tables.schema import ALIGNED, DECODED, DETECTED, Frame, frames_from_table, table_from_frames

PERSON_SEED, PHOTO_SEED, SHIFT_SEED = 71, 72, 73
SCENE = SceneSettings(side_px=320, yaw_deg=18.0, yaw_limit_deg=36.0, roll_deg=8.0, occlusion=0.0)
BAD_START = 0.08
"""Displacement of all landmarks, in outer-eye distances."""
Start = Literal["good", "together", "each"]
"""Landmarks as found; all displaced in one direction; each in its own."""
BAD_STARTS: tuple[Start, ...] = ("together", "each")
SHARES, BAD_SHARE = (0.25, 0.5), 0.5
"""Of GANFIT's iterations, that both are given besides; with the last one GANFit++ also fits from the bad starts."""
ANSWERED = 200
"""People whom FastGANFit alone is asked about."""


class Photos(NamedTuple):
    """One photo a person, ready to be fitted, and who they are."""

    inputs: FitInput
    identity: Tensor

    def first(self, count: int) -> "Photos":
        """The first so many of them."""
        return Photos(self.inputs.rows(slice(count)), self.identity[:count])


class Line(NamedTuple):
    """What a method did, one value per person."""

    error_mm: Tensor
    objective: Tensor
    result: FitResult
    seconds: float


class Bench(NamedTuple):
    """What every method is tried on."""

    models: FitModels
    config: FitConfig
    good: Photos
    bad: tuple[Photos, ...]
    """Displaced together, and each in its own direction."""


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--models", default="embedded", help="a bundle with a regressor (default: %(default)s)")
    parser.add_argument("--people", type=int, default=12, help="default: %(default)s")
    parser.add_argument(
        "--bad-people", type=int, help="people whom GANFIT and GANFit++ also fit from bad starts (default: as many)"
    )
    parser.add_argument("--preset", default="default", help="of the fits (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="iterations of GANFIT (default: the preset's)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = resolve_bundle(options.models)
    config = preset(options.preset)
    config = dataclasses.replace(config, steps=options.steps or config.steps, early_stop_window=0)
    ReconstructConfig(input="photos", output="out", fit=config.by("fastganfit")).check_models(bundle)
    models = load_fit_models(bundle, "cpu")
    bad_people = options.people if options.bad_people is None else options.bad_people
    many = photograph(bundle, models.shape, max(ANSWERED, options.people), config.render_px, "good")
    bad = [photograph(bundle, models.shape, bad_people, config.render_px, start) for start in BAD_STARTS]
    bench = Bench(models, config, many.first(options.people), tuple(bad))
    print(f"bundle {bundle.name}: " + answers_text(models, many))
    mean_face = mean_face_error_mm(models.shape, bench.good)
    print(f"\n{len(mean_face)} of them by every method, mean face {float(mean_face.mean()):.2f} mm")
    print(f"failed: of {len(bad[0].identity)} with displaced landmarks")
    print(f"{'':12}{'steps':>6}{'error mm':>10}{'of mean':>9}{'similarity':>12}{'judge':>7}", end="")
    print(f"{'objective':>11}{'CPU s':>7}{'failed: together':>18}{'each':>6}   minus GANFIT, mm")
    first = run(bench, "GANFIT", config.by("ganfit"), None)
    run(bench, "FastGANFit", config.by("fastganfit"), first)
    for share in SHARES:
        steps = config.views * max(1, round(share * config.steps / config.views))
        shorter = dataclasses.replace(config, steps=steps)
        run(bench._replace(bad=()), "GANFIT", shorter, first)
        run(bench if share == BAD_SHARE else bench._replace(bad=()), "GANFit++", shorter.by("ganfit++"), first)


def run(bench: Bench, name: str, config: FitConfig, first: Line | None) -> Line:
    """Fit everybody from good and bad starts and print a line: means over people."""
    line = fit_line(bench, config)
    result = line.result
    failed = [str(failures(bench.models, photos, config)) for photos in bench.bad] or ["", ""]
    ratio = float(line.error_mm.mean() / mean_face_error_mm(bench.models.shape, bench.good).mean())
    print(
        f"{name:12}{config.steps:>6}{float(line.error_mm.mean()):>10.3f}{ratio:>9.2f}"
        f"{float(result.identity_similarity.mean()):>12.3f}{float(result.judge_similarity.mean()):>7.3f}"
        f"{float(line.objective.mean()):>11.3f}{line.seconds:>7.2f}{failed[0]:>18}{failed[1]:>6}",
        end="" if first else "\n",
        flush=True,
    )
    if first:
        change = line.error_mm - first.error_mm
        print(f"   {float(change.mean()):+.3f} +- {float(change.std() / len(change) ** 0.5):.3f}", flush=True)
    return line


def fit_line(bench: Bench, config: FitConfig) -> Line:
    """Fit everybody from good starts."""
    inputs = bench.good.inputs
    started = time.process_time()
    result = fit_faces(bench.models, inputs, config)
    seconds = (time.process_time() - started) / len(bench.good.identity)
    error = neutral_face_error_mm(bench.models.shape, result.identity, bench.good.identity)
    return Line(error, final_objective(bench, result), result, seconds)


def failures(models: FitModels, photos: Photos, config: FitConfig) -> int:
    """How many people end further from the truth than the mean face, or diverge."""
    result = fit_faces(models, photos.inputs, config)
    error = neutral_face_error_mm(models.shape, result.identity, photos.identity)
    return int((result.diverged | ~(error < mean_face_error_mm(models.shape, photos))).sum())


def mean_face_error_mm(shape: MorphableModel, photos: Photos) -> Tensor:
    """What knowing nothing is worth."""
    return neutral_face_error_mm(shape, torch.zeros_like(photos.identity), photos.identity)


@torch.no_grad()
def final_objective(bench: Bench, result: FitResult) -> Tensor:
    """The objective at a result, averaged over all views and as many second renders."""
    config = dataclasses.replace(bench.config, steps=bench.config.views)
    objective = Objective(bench.models, bench.good.inputs, config)
    units = (torch.tensor(CAMERA_UNITS), torch.tensor(LIGHT_UNITS))
    parameters = FitParameters(
        result.identity, result.expression, result.texture, result.camera / units[0], result.light / units[1]
    )
    everyone = objective.everyone()
    totals = [objective(parameters, everyone, step).total(config) for step in range(config.views)]
    return torch.stack(totals).mean(0)


@torch.no_grad()
def answers_text(models: FitModels, photos: Photos) -> str:
    """FastGANFit's answers before anything is measured on them: error and CPU time, recognition included."""
    count = len(photos.identity)
    start_from_regressor(models, photos.first(1).inputs)
    started = time.process_time()
    answer, _ = start_from_regressor(models, photos.inputs)
    spent_ms = 1000 * (time.process_time() - started) / count
    error = neutral_face_error_mm(models.shape, answer.identity, photos.identity)
    mean_face = mean_face_error_mm(models.shape, photos)
    ratio, better = float(error.mean() / mean_face.mean()), int((error < mean_face).sum())
    return (
        f"FastGANFit answers {count} people in {spent_ms:.1f} CPU ms per face, {float(error.mean()):.2f} mm off, "
        f"{ratio:.2f} of the mean face's {float(mean_face.mean()):.2f} mm; better than it for {better}"
    )


def photograph(bundle: ModelBundle, shape: MorphableModel, people: int, side_px: int, start: Start) -> Photos:
    """Photos of people through the pipeline's detection and alignment; who is not detected is left out."""
    painter = AlbedoPainter(canvas_for(shape, 256))
    frames: list[Frame] = []
    identities: dict[str, Tensor] = {}
    for number in range(people):
        person = sample_person(shape, painter, (PERSON_SEED, number), hair=wears_hair(shape))
        scene = render_scene(shape, [(person, FacePlace(0.5, 0.5, 0.55))], (PHOTO_SEED, number), SCENE)
        name = f"person_{number:03d}"
        identities[name] = person.identity
        side = SCENE.side_px
        frames.append(
            Frame(
                image_id=name,
                identity_id=name,
                uri=name,
                shard=0,
                item_id=name,
                stem=name,
                width_px=side,
                height_px=side,
                image=encode_png(scene.image_rgb),
            )
        )
    detect = DetectFaces(
        detector=bundle.detector, landmarks=bundle.landmarks, recognition=bundle.recognition, config=DetectionConfig()
    )
    found = frames_from_table(detect(detect.load(), table_from_frames(frames, DECODED)))
    moved = [displace(row, number, start) for number, row in enumerate(found) if row.ok]
    align = AlignFaces(side_px=side_px)
    rows = frames_from_table(align(None, table_from_frames(moved, DETECTED)).select(ALIGNED.names))
    identity = torch.stack([identities[row.identity_id] for row in rows])
    return Photos(pack_faces([aligned_face(row) for row in rows], torch.device("cpu")), identity)


def displace(row: Frame, number: int, start: Start) -> Frame:
    """A row whose landmarks are displaced by `BAD_START`, all in one direction or each in its own."""
    if start == "good":
        return row
    points = np.array(row.landmarks_px).reshape(68, 2)
    count = 1 if start == "together" else len(points)
    angle = np.random.default_rng((SHIFT_SEED, number)).uniform(0, 2 * np.pi, count)
    moved = points + BAD_START * outer_eye_distance(points) * np.stack((np.cos(angle), np.sin(angle)), 1)
    return dataclasses.replace(row, landmarks_px=moved.reshape(-1).tolist())


if __name__ == "__main__":
    main()
