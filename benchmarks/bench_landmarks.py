"""How landmark networks do on faces of known shape and on photos of real people.

    python -m benchmarks.bench_landmarks --scans SCANS --models ict --networks pfld:FILE dense:FILE
    python -m benchmarks.bench_landmarks --photos PHOTOS --models ict --networks ... --reference mediapipe:FILE

A network is a kind and a file. Scans are folders as `ganfit evaluate-scans` takes them, with a texture: the shape model
is registered to each (modes and fields, then non-rigid ICP), views are drawn, and the registered mesh's vertices are
projected into them. Faces come from the bundle's detector, the same for all. Errors are mean distances over the true
outer-eye distance, in per cent: of the 68 landmarks, with the jaw on the outline; of the same once what is the same in
all views of all scans is taken off every point (a network may mean another place on the face by a number); and of the
dense points that face the camera and lie on the scan, all of them and those of the scans' means.

On photos, one per person, distances are from the reference's 68 points over its outer-eye distance.
"""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from benchmarks.command_line import parser_of
from benchmarks.photo_folders import photos_by_person
from benchmarks.scan_views import View, add_scan_options, best_face, views_of_scans
from ops.face.dense_points import DensePoints, choose_dense_points
from ops.face.landmark_parts import outer_eye_distance
from ops.face.landmark_points import JAW
from ops.face.morphable_model import MorphableModel
from ops.files.photo import decode_photo
from ops.networks.dense_landmarks import DenseLandmarks, check_points, crop_about_points
from ops.networks.detector import FaceDetector
from ops.networks.landmarks import LandmarkNetwork
from ops.weights.bundle import load_detector, load_shape, resolve_bundle
from ops.weights.models import ModelRef, load_landmarks


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--models", default="ict", help="bundle of the shape model and the detector")
    parser.add_argument("--networks", nargs="+", required=True, metavar="KIND:FILE")
    add_scan_options(parser, views=5, max_yaw_deg=30.0)
    parser.add_argument("--photos", type=Path, help="folder of photos, a sub-folder per person")
    parser.add_argument("--count", type=int, default=100, help="photos, one per person (default: %(default)s)")
    parser.add_argument("--reference", metavar="KIND:FILE", help="what networks are compared with on photos")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures with the points")
    options = parser.parse_args()
    if not (options.scans or options.photos) or bool(options.photos) != bool(options.reference):
        parser.error("expected --scans, or --photos with --reference, or both")
    torch.set_num_threads(1)
    bundle = resolve_bundle(options.models)
    detector = load_detector(bundle.detector)
    networks = {name: load(name) for name in options.networks}
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    if options.scans:
        shape = load_shape(bundle.shape)
        views = list(chain.from_iterable(views_of_scans(options, shape, points_of(networks, shape))))
        measure_views(views, detector, networks, options.pictures)
    if options.photos:
        photos = [own[0] for own in photos_by_person(options.photos).values() if own]
        compare_photos(photos[: options.count], detector, networks, load(options.reference), options.pictures)


def load(name: str) -> LandmarkNetwork:
    kind, _, file = name.partition(":")
    return load_landmarks(ModelRef(kind=kind, path=Path(file), sha256=None))


def points_of(networks: dict[str, LandmarkNetwork], shape: MorphableModel) -> DensePoints:
    """The points of the first dense network."""
    for network in networks.values():
        if isinstance(network, DenseLandmarks):
            check_points(network, shape)
            return network.dense
    return choose_dense_points(shape)


def measure_views(
    views: list[View], detector: FaceDetector, networks: dict[str, LandmarkNetwork], pictures: Path | None
) -> None:
    places = [best_face(detector, view.image_rgb) for view in views]
    seen = [(view, place) for view, place in zip(views, places, strict=True) if place is not None]
    print(f"{len(seen)} of {len(views)} views with a face")
    scans = sorted({view.scan for view, _ in seen})
    for name, network in networks.items():
        misses: list[np.ndarray] = []
        errors: dict[str, list[float]] = {scan: [] for scan in scans}
        dense_errors: dict[str, list[float]] = {scan: [] for scan in scans}
        sure: list[float] = []
        for number, (view, place) in enumerate(seen):
            found = network(view.image_rgb, *place)[0]
            miss = (found - view.landmarks_px) / view.eyes_px
            misses.append(upright_offsets(view, miss))
            errors[view.scan].append(float(np.linalg.norm(miss, axis=-1).mean()))
            if isinstance(network, DenseLandmarks):
                dense = network.find(view.image_rgb, *place)
                error = np.linalg.norm(dense.points_px[0] - view.dense_px, axis=-1) / view.eyes_px
                dense_errors[view.scan].append(float(error[view.counted].mean()))
                inside = np.abs(dense.points_px[0] - view.dense_px) < dense.deviations_px[0][:, None]
                sure.append(float(inside[view.counted].mean()))
            if pictures:
                kind = name.partition(":")[0]
                draw(pictures / f"{view.scan}_{number}_{kind}.png", view.image_rgb, view.landmarks_px, found)
        offsets = np.stack(misses)
        without = np.linalg.norm(offsets - offsets.mean(0), axis=-1).mean()
        result = {
            "network": name,
            "landmarks": means_per_cent(errors),
            "landmarks_without_the_common_offset": round(100 * float(without), 2),
        }
        if sure:
            result |= {
                "dense": means_per_cent(dense_errors),
                "within_deviation": round(float(np.mean(sure)), 3),
            }
        print(json.dumps(result))


def means_per_cent(errors: dict[str, list[float]]) -> dict[str, float]:
    """By scan, and of the scans' means."""
    means = {scan: float(np.mean(values)) for scan, values in errors.items()}
    means["mean"] = float(np.mean(list(means.values())))
    return {name: round(100 * value, 2) for name, value in means.items()}


def upright_offsets(view: View, miss: np.ndarray) -> np.ndarray:
    turn = crop_about_points(view.dense_px)[:, :2]
    return miss @ (turn / np.hypot(*turn[:, 0])).T


def compare_photos(
    photos: list[Path],
    detector: FaceDetector,
    networks: dict[str, LandmarkNetwork],
    reference: LandmarkNetwork,
    pictures: Path | None,
) -> None:
    errors: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    for number, path in enumerate(photos):
        image = decode_photo(path.read_bytes()).image_rgb
        place = best_face(detector, image)
        if place is None:
            continue
        truth = reference(image, *place)[0]
        if not np.isfinite(truth).all():
            continue
        eyes = outer_eye_distance(truth)
        for name, network in networks.items():
            found = network(image, *place)[0]
            errors[name].append((found - truth) / eyes)
            if pictures and number < 12:
                draw(pictures / f"photo_{number}_{name.partition(':')[0]}.png", image, truth, found)
    for name, misses in errors.items():
        offsets = np.stack(misses)
        distance = np.linalg.norm(offsets, axis=-1)
        without = np.linalg.norm(offsets - offsets.mean(0), axis=-1).mean()
        inner = distance[:, JAW:].mean()
        print(
            f"{name}: {len(misses)} photos, mean {100 * distance.mean():.2f} %, median photo "
            f"{100 * np.median(distance.mean(1)):.2f} %, without the jaw {100 * inner:.2f} %, "
            f"without the common offset {100 * without:.2f} %"
        )


def draw(path: Path, image: np.ndarray, truth: np.ndarray, found: np.ndarray) -> None:
    import cv2

    low, high = truth.min(0), truth.max(0)
    margin = 0.3 * float((high - low).max())
    left, top = np.maximum(low - margin, 0).astype(int)
    right, bottom = (high + margin).astype(int)
    part = image[top:bottom, left:right]
    zoom = 480 / max(part.shape[:2])
    shown = np.ascontiguousarray(cv2.resize(part, None, fx=zoom, fy=zoom)[..., ::-1])
    for points, colour in ((truth, (0, 255, 0)), (found, (0, 0, 255))):
        for x, y in (points - (left, top)) * zoom:
            cv2.circle(shown, (int(x), int(y)), 2, colour, -1)
    cv2.imwrite(str(path), shown)


if __name__ == "__main__":
    main()
