"""Views of textured scans with the places of a shape model's points in them, and the faces that networks are shown."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import KDTree

from evaluation.scan_distance import at_face_size
from evaluation.template import template_from_model
from ops.errors import UnsupportedInputError
from ops.face.dense_points import DensePoints, outline_landmarks
from ops.face.landmark_parts import outer_eye_distance
from ops.face.morphable_model import MorphableModel
from ops.geometry.mesh import Mesh
from ops.networks.detector import FaceDetector
from ops.registration.register import RegistrationConfig, register_scan
from ops.registration.scan_views import FIELD, ViewSettings, draw_view, texture_colours
from ops.registration.surface import vertex_normals
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
    """Which of the dense points face the camera and lie on the scan."""
    landmarks_px: np.ndarray
    """With the jaw on the outline."""

    @property
    def eyes_px(self) -> float:
        return outer_eye_distance(self.dense_px)


def add_scan_options(parser: ArgumentParser, *, views: int, max_yaw_deg: float) -> None:
    """What `views_of_scans` reads."""
    parser.add_argument("--scans", type=Path, help="folder of scans, as `ganfit evaluate-scans` takes it")
    parser.add_argument("--names", nargs="+", help="of the scans (default: all with texture and landmarks)")
    parser.add_argument("--views", type=int, default=views, help="of a scan (default: %(default)s)")
    parser.add_argument("--max-yaw", type=float, default=max_yaw_deg, help="of views, degrees (default: %(default)s)")


def views_of_scans(options: Namespace, shape: MorphableModel, dense: DensePoints) -> Iterator[list[View]]:
    """The views of one chosen scan after the other."""
    settings = ViewRange(count=options.views, max_yaw_deg=options.max_yaw)
    folders = {folder.name: folder for folder in find_scan_folders(options.scans)}
    if unknown := set(options.names or ()) - set(folders):
        raise SystemExit(f"{options.scans}: no scans called {', '.join(sorted(unknown))}")
    for name, folder in folders.items():
        if options.names and name not in options.names:
            continue
        try:
            views = scan_views(folder, shape, dense, settings)
        except UnsupportedInputError as error:
            if options.names:
                raise
            print(f"{name} is left out: {error}")
            continue
        yield views


def scan_views(folder: ScanFolder, shape: MorphableModel, dense: DensePoints, settings: ViewRange) -> list[View]:
    """Register the model to a scan, draw views of the scan and project the registered points into them."""
    read, textured = folder.read(), folder.read_textured()
    scan = at_face_size(read)
    factor = float(np.ptp(scan.mesh.vertices, 0).max() / np.ptp(read.mesh.vertices, 0).max())
    stored = template_from_model(shape)
    registered = register_scan(stored.template, scan.mesh, scan.landmarks_mm, RegistrationConfig())
    quality = registered.quality
    print(f"{folder.name}: {quality.residual_mm:.2f} mm off the scan, landmarks {quality.landmark_rms_mm:.2f} mm")
    place = {int(vertex): index for index, vertex in enumerate(stored.model_vertices)}
    index = np.array([place[int(vertex)] for vertex in dense.vertices])
    on_scan = KDTree(scan.mesh.vertices).query(registered.vertices_mm[index])[0] < ON_SCAN_MM
    coloured = Mesh(textured.mesh.vertices * factor, textured.mesh.triangles)
    drawn, extent, centre = upright(coloured, scan.landmarks_mm)
    model, _, _ = upright(Mesh(registered.vertices_mm, stored.template.mesh.triangles), scan.landmarks_mm)
    points, normals = model.vertices[index], vertex_normals(model)[index]
    colours = texture_colours(drawn.triangles, textured.uv, textured.texture_rgb)
    views: list[View] = []
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
    """Box and five points of the face that is most surely one, as landmark networks take them."""
    found = detector(image)
    if not len(found.scores) or found.scores.max() < MIN_SCORE:
        return None
    best = slice(index := int(found.scores.argmax()), index + 1)
    return found.boxes_xyxy_px[best], found.points_px[best]
