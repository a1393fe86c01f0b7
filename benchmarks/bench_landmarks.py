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
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from benchmarks.command_line import parser_of
from evaluation.scan_distance import at_face_size
from evaluation.template import template_from_model
from ops.face.dense_points import DensePoints, choose_dense_points, outline_landmarks
from ops.face.landmark_parts import LEFT_OUTER_EYE, RIGHT_OUTER_EYE
from ops.face.landmark_points import JAW
from ops.face.morphable_model import MorphableModel
from ops.files.photo import decode_photo
from ops.geometry.mesh import Mesh
from ops.networks.dense_landmarks import DenseLandmarks, check_points, crop_about_points
from ops.networks.detector import FaceDetector
from ops.networks.landmarks import LandmarkNetwork
from ops.registration.register import RegistrationConfig, register_scan
from ops.registration.scan_views import FIELD, ViewSettings, draw_view, texture_colours
from ops.registration.surface import vertex_normals
from ops.weights.bundle import load_detector, load_shape, resolve_bundle
from ops.weights.models import ModelRef, load_landmarks
from pipeline.scans.scan_folder import ScanFolder, find_scan_folders
from pipeline.scans.views import ViewRange, upright

ON_SCAN_MM = 4.0
LEAST_FACING = 0.15
MIN_SCORE = 0.3


class View(NamedTuple):
    """A drawn view of a scan and where the points are in it."""

    scan: str
    yaw_deg: float
    image_rgb: np.ndarray
    dense_px: np.ndarray
    counted: np.ndarray
    landmarks_px: np.ndarray

    @property
    def eyes_px(self) -> float:
        return float(np.linalg.norm(self.dense_px[RIGHT_OUTER_EYE] - self.dense_px[LEFT_OUTER_EYE]))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--models", default="ict", help="bundle of the shape model and the detector")
    parser.add_argument("--networks", nargs="+", required=True, metavar="KIND:FILE")
    parser.add_argument("--scans", type=Path)
    parser.add_argument("--names", nargs="*", help="of the scans; default: all that have a texture")
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--max-yaw", type=float, default=30.0)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=100, help="photos, one per person")
    parser.add_argument("--reference", metavar="KIND:FILE")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures with the points")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = resolve_bundle(options.models)
    detector = load_detector(bundle.detector)
    networks = {name: load(name) for name in options.networks}
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
    if options.scans:
        settings = ViewRange(count=options.views, max_yaw_deg=options.max_yaw)
        views: list[View] = []
        shape = load_shape(bundle.shape)
        for folder in find_scan_folders(options.scans):
            if not options.names or folder.name in options.names:
                views += scan_views(folder, shape, points_of(networks, shape), settings)
        measure_views(views, detector, networks, options.pictures)
    if options.photos:
        photos = [sorted(path for path in person.iterdir())[0] for person in sorted(options.photos.iterdir())]
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


def scan_views(folder: ScanFolder, shape: MorphableModel, dense: DensePoints, settings: ViewRange) -> list[View]:
    read = folder.read()
    scan = at_face_size(read)
    factor = float(np.ptp(scan.mesh.vertices, 0).max() / np.ptp(read.mesh.vertices, 0).max())
    stored = template_from_model(shape)
    registered = register_scan(stored.template, scan.mesh, scan.landmarks_mm, RegistrationConfig())
    quality = registered.quality
    print(f"{folder.name}: {quality.residual_mm:.2f} mm off the scan, landmarks {quality.landmark_rms_mm:.2f} mm")
    place = {int(vertex): index for index, vertex in enumerate(stored.model_vertices)}
    index = np.array([place[int(vertex)] for vertex in dense.vertices])
    on_scan = KDTree(scan.mesh.vertices).query(registered.vertices_mm[index])[0] < ON_SCAN_MM
    textured = folder.read_textured()
    coloured = Mesh(textured.mesh.vertices * factor, textured.mesh.triangles)
    drawn, extent, centre = upright(coloured, scan.landmarks_mm)
    model, _, _ = upright(Mesh(registered.vertices_mm, stored.template.mesh.triangles), scan.landmarks_mm)
    points, normals = model.vertices[index], vertex_normals(model)[index]
    colours = texture_colours(drawn.triangles, textured.uv, textured.texture_rgb)
    views = []
    for view in settings.draw(folder.name):
        image = draw_view(drawn, colours, view, extent, centre)
        pixels, towards = project(points, view, extent, centre)
        facing = (normals * towards).sum(-1) > LEAST_FACING
        flat = torch.from_numpy(pixels)
        views.append(
            View(folder.name, view.yaw_deg, image, pixels, facing & on_scan, outline_landmarks(flat, dense.jaw).numpy())
        )
    return views


def project(points: np.ndarray, view: ViewSettings, extent: float, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of points in a view as `draw_view` draws it, and unit vectors from them to the camera."""
    yaw, pitch = np.deg2rad((view.yaw_deg, view.pitch_deg))
    backward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    right = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    up = np.cross(backward, right)
    from_eye = points - (centre + view.focal * FIELD * extent * backward)
    flat = np.stack((from_eye @ right, -(from_eye @ up)), -1) / -(from_eye @ backward)[:, None]
    towards = -from_eye / np.linalg.norm(from_eye, axis=1, keepdims=True)
    return (flat * view.focal + 0.5) * view.side_px, towards


def best_face(detector: FaceDetector, image: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    found = detector(image)
    if not len(found.scores) or found.scores.max() < MIN_SCORE:
        return None
    best = slice(index := int(found.scores.argmax()), index + 1)
    return found.boxes_xyxy_px[best], found.points_px[best]


def measure_views(
    views: list[View], detector: FaceDetector, networks: dict[str, LandmarkNetwork], pictures: Path | None
) -> None:
    places = [best_face(detector, view.image_rgb) for view in views]
    seen = [(view, place) for view, place in zip(views, places, strict=True) if place is not None]
    print(f"{len(seen)} of {len(views)} views with a face")
    scans = sorted({view.scan for view, _ in seen})
    for name, network in networks.items():
        misses, rows = [], {scan: [] for scan in scans}
        dense_rows = {scan: [] for scan in scans}
        sure = []
        for number, (view, place) in enumerate(seen):
            found = network(view.image_rgb, *place)[0]
            miss = (found - view.landmarks_px) / view.eyes_px
            misses.append(upright_offsets(view, miss))
            rows[view.scan].append(np.linalg.norm(miss, axis=-1).mean())
            dense = None
            if isinstance(network, DenseLandmarks):
                dense = network.find(view.image_rgb, *place)
                error = np.linalg.norm(dense.points_px[0] - view.dense_px, axis=-1) / view.eyes_px
                dense_rows[view.scan].append(error[view.counted].mean())
                inside = np.abs(dense.points_px[0] - view.dense_px) < dense.deviations_px[0][:, None]
                sure.append(inside[view.counted].mean())
            if pictures:
                kind = name.partition(":")[0]
                draw(pictures / f"{view.scan}_{number}_{kind}.png", view.image_rgb, view.landmarks_px, found)
        offsets = np.stack(misses)
        without = np.linalg.norm(offsets - offsets.mean(0), axis=-1).mean()
        result = {
            "network": name,
            "landmarks": per_cent({scan: np.mean(values) for scan, values in rows.items()}),
            "landmarks_without_the_common_offset": round(100 * float(without), 2),
        }
        if sure:
            result |= {
                "dense": per_cent({scan: np.mean(values) for scan, values in dense_rows.items()}),
                "within_deviation": round(float(np.mean(sure)), 3),
            }
        print(json.dumps(result))


def per_cent(values: dict[str, float]) -> dict[str, float]:
    rounded = {name: round(100 * float(value), 2) for name, value in values.items()}
    return rounded | {"mean": round(100 * float(np.mean(list(values.values()))), 2)}


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
        truth = None if place is None else reference(image, *place)[0]
        if truth is None or not np.isfinite(truth).all():
            continue
        eyes = np.linalg.norm(truth[RIGHT_OUTER_EYE] - truth[LEFT_OUTER_EYE])
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
