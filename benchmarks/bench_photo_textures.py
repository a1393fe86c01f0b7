"""Textures from photos, on the fits of a finished run: nothing is fitted again.

    ganfit reconstruct PEOPLE OUT --layout identity-folders --models LEARNED/bundle.yaml --learn-texture never
    python -m benchmarks.bench_photo_textures --run OUT --models LEARNED/bundle.yaml

Says of the model's texture and of that with the photos how the judge likes the renders; crossed, a photo is judged
with what the person's other photos show. Tone is the CIE Lab distance of blurred colours inside the skin, of colour
photos; octaves are the luma energy of the render over that of the photo in the two finest octaves of a crop of 448
pixels, on plain skin, of photos with 60 pixels and more between the outer eye corners.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.command_line import parser_of
from ops.face.landmark_parts import LEFT_BROW, LEFT_EYE, NOSTRILS, OUTER_LIPS, RIGHT_BROW, RIGHT_EYE
from ops.face.skin import skin_weight
from ops.files.photo import LUMA
from ops.fit import FitModels
from ops.reconstruction.fitting import LOSS_NAMES, AlignedFace, FittedFace, pack_faces
from ops.reconstruction.likeness import Look, draw, similarity
from ops.reconstruction.photo_texture import add_photo_textures, look_at, texture_crop_px
from ops.weights.bundle import resolve_bundle
from pipeline.run.plans import PlannedShards, read_plans
from pipeline.run.reader import Run, open_run
from pipeline.stages.child_process import ChildProcess
from pipeline.stages.fitting import aligned_face
from pipeline.stages.models import load_atlas, load_fit_models
from pipeline.storage.store import open_storage
from pipeline.tables.schema import Status
from pipeline.training.texture_people import aligned_frames, eye_distance_px

FINE_PX = 448
DETAILED_EYES_PX = 60.0
TONE_BLUR_PX = 4.0
FEATURES = (RIGHT_EYE, LEFT_EYE, OUTER_LIPS, NOSTRILS, RIGHT_BROW, LEFT_BROW)
"""Landmarks of eyes, mouth, nostrils and brows: their outlines are geometry."""
Picture = Float[Tensor, "3 side side"]


class Measures(NamedTuple):
    """Of one photo; nan where it says nothing."""

    model: float
    own: float
    crossed: float
    tone: float
    octave_1: float
    octave_2: float


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--models", required=True, help="the bundle of the run")
    parser.add_argument("--texture-px", type=int, default=512)
    parser.add_argument("--people", type=int, help="the first so many; default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = resolve_bundle(options.models, None)
    models, atlas = load_fit_models(bundle, "cpu"), load_atlas(bundle, "cpu", options.texture_px)
    rows: list[Measures] = []
    seconds = 0.0
    for number, (faces, fits, eyes_px) in enumerate(
        people_of(open_run(open_storage(options.run), bundle), options.texture_px)
    ):
        if number == options.people:
            break
        inputs = pack_faces(faces, models.device)
        started = time.process_time()
        textured = add_photo_textures(models, atlas, inputs, faces, fits)
        seconds += time.process_time() - started
        for image, fit in enumerate(textured):
            look = look_at(models, fit, inputs.images[image], inputs.landmarks_px[image])
            rows.append(measured(models, look, faces[image], fit, inputs.landmarks_px[image], eyes_px[image]))
    values = np.array(rows)
    print(f"{len(rows)} photos, {seconds / len(rows):.1f} CPU-seconds a photo for the textures")
    print(f"{'':10}{'median':>9}{'mean':>9}{'least':>9}{'most':>9}{'photos':>8}")
    for name, column in zip(Measures._fields, values.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known):
            told = (np.median(known), known.mean(), known.min(), known.max())
            print(f"{name:10}" + "".join(f"{value:9.3f}" for value in told) + f"{len(known):8d}")


def people_of(run: Run, texture_px: int) -> Iterator[tuple[list[AlignedFace], list[FittedFace], list[float]]]:
    """Person by person the crops, the fits and the distances between the outer eye corners."""
    planned, decoder = PlannedShards(read_plans(run.root)), ChildProcess()
    for folder in run.folders:
        shard = int(folder.rpartition("/")[-1])
        people = run.shard_table(folder, "identities").to_pylist()
        frames = {
            frame["image_id"]: frame
            for frame in run.shard_table(folder, "frames").to_pylist()
            if frame["status"] == Status.OK
        }
        aligned = aligned_frames(run, planned, shard, frames, decoder, texture_crop_px(texture_px))
        for person in people:
            own = [frame for frame in aligned if frame.identity_id == person["identity_id"] and frame.crop_png]
            if own:
                rows = [frames[frame.image_id] for frame in own]
                yield (
                    [aligned_face(frame) for frame in own],
                    [_fit(person, row) for row in rows],
                    [eye_distance_px(row) for row in rows],
                )


def measured(
    models: FitModels,
    look: Look,
    face: AlignedFace,
    fit: FittedFace,
    landmarks_px: Float[Tensor, "68 2"],
    eyes_px: float,
) -> Measures:
    """What is said of one photo."""
    if fit.photo_texture is None or models.judge is None:
        raise SystemExit("expected a bundle with a judge")
    nan = float("nan")
    crossed = fit.photo_texture.judge_similarity_crossed
    texture, of_model = _texture(fit.texture_rgb), _texture(fit.photo_texture.model_texture_rgb)
    own, bare = (float(similarity(models.judge, look, draw(models, look, rgb))) for rgb in (texture, of_model))
    picture = draw(models, look, texture)
    tone = nan if look.grey else tone_distance(picture.image.clamp(0, 1), look.crop_rgb, look.skin * picture.mask)
    octaves = (nan, nan)
    if eyes_px >= DETAILED_EYES_PX and face.finest_rgba.shape[0] == FINE_PX:
        fine = look._replace(crop_rgb=_texture(face.finest_rgba[..., :3]))
        drawn = draw(models, fine, texture)
        points = landmarks_px * (FINE_PX / look.crop_rgb.shape[-1])
        where = plain_skin(points, skin_weight(points.unsqueeze(0), FINE_PX)[0] * drawn.mask)
        pairs = zip(*(octave_energy(rgb, where) for rgb in (drawn.image.clamp(0, 1), fine.crop_rgb)), strict=True)
        octaves = tuple(render / photo for render, photo in pairs)
    return Measures(bare, own, nan if crossed is None else crossed, tone, *octaves)


def tone_distance(picture: Picture, photo: Picture, skin: Float[Tensor, "side side"]) -> float:
    """Median over the skin of the CIE Lab distance of blurred colours."""
    import cv2

    lab = [
        np.asarray(cv2.cvtColor(cv2.GaussianBlur(_array(rgb), (0, 0), TONE_BLUR_PX), cv2.COLOR_RGB2Lab))
        for rgb in (picture, photo)
    ]
    return float(np.median(np.linalg.norm(lab[0] - lab[1], axis=-1)[skin.numpy() > 0.9]))


def plain_skin(landmarks_px: Float[Tensor, "68 2"], skin: Float[Tensor, "side side"]) -> Bool[np.ndarray, "side side"]:
    """Forehead, cheeks, chin and the ridge of the nose."""
    import cv2

    inside = (skin > 0.9).numpy().astype(np.uint8)
    features = np.zeros_like(inside)
    for part in FEATURES:
        cv2.fillConvexPoly(features, cv2.convexHull(np.round(landmarks_px[part].numpy()).astype(np.int32)), (1,))
    eroded, widened = cv2.erode(inside, np.ones((9, 9))), cv2.dilate(features, np.ones((13, 13)))
    return (np.asarray(eroded) > 0) & (np.asarray(widened) == 0)


def octave_energy(picture: Picture, where: Bool[np.ndarray, "side side"]) -> tuple[float, float]:
    """Luma energy of the two finest octaves."""
    import cv2

    luma = _array(picture) @ np.array(LUMA, np.float32)
    one, two = (np.asarray(cv2.GaussianBlur(luma, (0, 0), sigma)) for sigma in (1.0, 2.0))
    return float(((luma - one)[where] ** 2).mean()), float(((one - two)[where] ** 2).mean())


def _fit(person: dict[str, Any], frame: dict[str, Any]) -> FittedFace:
    empty = np.zeros((1, 1, 4), np.uint8)
    names = ("identity_similarity", "judge_similarity", "landmark_error", "iterations")
    return FittedFace(
        **{name: torch.tensor(person[name]) for name in ("identity", "texture")},
        **{name: torch.tensor(frame[name]) for name in ("expression", "camera", "light")},
        **{name: frame[name] for name in names},
        loss_total=None,
        losses=dict.fromkeys(LOSS_NAMES),
        diverged=False,
        fit_seconds=0.0,
        shape_std_mm=None,
        render_rgba=empty,
        shape_rgb=empty[..., :3],
        texture_rgb=empty[..., :3],
    )


def _texture(rgb: np.ndarray) -> Picture:
    return (torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 255).contiguous()


def _array(rgb: Picture) -> np.ndarray:
    return np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())


if __name__ == "__main__":
    main()
