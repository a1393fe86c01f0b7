"""Measures by how far a bundle's landmark network sees points beside those of its shape model, by pose.

    python -m benchmarks.landmark_bias --scans SCANS --models open --looks LEARNED/bundle.yaml --output bias.json

The faces are portraits of people who do not exist on the shape model, which wear the textures of `--looks` beside
painted ones. Views of textured scans (folders as `ganfit evaluate-scans` takes them), to which the shape model is
registered, say what the bias is worth on real people: how far the network's points lie beside the projected ones, in
crop sides, before and after.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.command_line import parser_of
from benchmarks.scan_views import add_scan_options, best_face, views_of_scans
from ops.face.alignment import apply_affine, crop_from_image
from ops.face.dense_points import choose_dense_points
from ops.face.landmark_points import landmark_surface
from ops.face.morphable_model import MorphableModel
from ops.faceworld.portraits.stream import PortraitSettings, PortraitStream
from ops.fit.landmark_bias import LandmarkBias, fit_landmark_bias, head_angles, save_landmark_bias
from ops.networks.detector import FaceDetector
from ops.networks.landmarks import LandmarkNetwork
from ops.training.stream_samples import TrueLandmarks
from ops.weights.bundle import load_detector, load_landmarks, load_shape, resolve_bundle
from ops.weights.models import ModelRef
from pipeline.training.portraits import PortraitSource
from pipeline.training.regressor_training import with_looks

PORTRAIT_PX, PORTRAIT_SEED = 384, 5
WILD = 0.06
"""A portrait whose points miss by so many crop sides in the mean is left out: something else was found."""


class Misses(NamedTuple):
    """Detected minus projected points in aligned crops (crop sides), and how the heads are turned."""

    differences: torch.Tensor
    angles: torch.Tensor


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--models", default="open", help="bundle of shape model, detector and landmark network")
    parser.add_argument("--looks", help="bundle of the texture model that portraits wear")
    add_scan_options(parser, views=9, max_yaw_deg=35.0)
    parser.add_argument("--portraits", type=int, default=600)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = resolve_bundle(options.models)
    worn = with_looks(bundle, resolve_bundle(options.looks)) if options.looks else bundle
    shape = load_shape(bundle.shape)
    finder = Finder(load_detector(bundle.detector), load_landmarks(bundle.landmarks))
    settings = PortraitSettings(side_px=PORTRAIT_PX, seed=PORTRAIT_SEED, looks=options.portraits)
    drawn = portrait_misses(PortraitSource(worn, settings)(), shape, finder, options.portraits)
    bias = fit_landmark_bias(drawn.differences, drawn.angles, torch.ones(len(drawn.angles)))
    print("portraits", json.dumps(compared(drawn, bias)))
    for views in views_of_scans(options, shape, choose_dense_points(shape)) if options.scans else ():
        seen = misses(shape, ((finder(view.image_rgb), view.landmarks_px) for view in views))
        print(views[0].scan, json.dumps(compared(seen, bias)))
    if options.output:
        about = {
            "landmarks": name_of(bundle.landmarks),
            "shape": name_of(bundle.shape),
            "estimated_from": f"{len(drawn.angles)} portraits of people who do not exist on the shape model",
            "looks": f"painted, and {worn.texture.kind} {worn.texture.sha256}" if options.looks else "painted",
            "holds": "how far 68 points of a landmark network lie beside a shape model's on average, by pose: no model "
            "of faces or skin",
        }
        save_landmark_bias(bias, options.output, about)


def name_of(ref: ModelRef) -> str:
    """The file of a model, or the kind of one that ships with this project."""
    return ref.path.name if ref.path else ref.kind


class Finder(NamedTuple):
    """The networks of the bundle."""

    detector: FaceDetector
    landmarks: LandmarkNetwork

    def __call__(self, image_rgb: np.ndarray) -> np.ndarray | None:
        place = best_face(self.detector, image_rgb)
        points = None if place is None else self.landmarks(image_rgb, *place)[0]
        return points if points is not None and np.isfinite(points).all() else None


def portrait_misses(stream: PortraitStream, shape: MorphableModel, finder: Finder, count: int) -> Misses:
    truth = TrueLandmarks(shape, landmark_surface(shape).of(shape), None)
    pairs = ((finder(portrait.image_rgb), truth(portrait)) for portrait in stream.portraits(0, count))
    everything = misses(shape, pairs)
    near = everything.differences.norm(dim=-1).mean(1) < WILD
    print(f"{int(near.sum())} of {count} portraits with a face and points near it")
    return Misses(everything.differences[near], everything.angles[near])


def misses(shape: MorphableModel, pairs: Iterable[tuple[np.ndarray | None, np.ndarray]]) -> Misses:
    """Of found and projected points, pixels of pictures."""
    known = [(found, true) for found, true in pairs if found is not None]
    detected, projected = (torch.from_numpy(np.stack(points)).double() for points in zip(*known, strict=True))
    to_crop = crop_from_image(detected, 1)
    aligned = apply_affine(to_crop, detected)
    return Misses(aligned - apply_affine(to_crop, projected), head_angles(shape, aligned))


def compared(seen: Misses, bias: LandmarkBias) -> dict[str, float]:
    left = seen.differences - bias.at(seen.angles)
    return {"faces": len(seen.angles), "as found": rms(seen.differences), "without the bias": rms(left)}


def rms(values: torch.Tensor) -> float:
    return round(float(values.square().mean().sqrt()), 5)


if __name__ == "__main__":
    main()
