"""Photos of scanned people: those that lie beside the scan, or views drawn of its texture."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image

from evaluation.scan_distance import face_frame
from ops.errors import ConfigurationError
from ops.face.landmark_parts import OUTER_EYES, outer_eye_distance
from ops.geometry.mesh import Mesh
from ops.registration.scan_views import ViewSettings, draw_view, texture_colours
from pipeline.scans.scan_folder import ScanFolder

EXTENT_IN_EYES = 2.6
"""Of a view, in outer-eye distances: a face with its hair."""
DOWN_IN_EYES = 0.45
"""Of a view's centre below the eyes."""


@dataclass(frozen=True, kw_only=True)
class ViewRange:
    """From what views are drawn; yaws are spread evenly, the rest is uniform."""

    count: int = 5
    max_yaw_deg: float = 30.0
    max_pitch_deg: float = 8.0
    focal: tuple[float, float] = (2.5, 6.0)
    max_light_deg: float = 50.0
    """To either side; upwards half of that."""
    ambient: tuple[float, float] = (0.5, 0.9)
    side_px: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigurationError(f"expected at least 1 view, got {self.count}")

    def draw(self, name: str) -> list[ViewSettings]:
        """The views of a scan: a function of its name and the seed."""
        rng = np.random.default_rng((self.seed, crc32(name.encode())))
        yaws = np.linspace(-self.max_yaw_deg, self.max_yaw_deg, self.count) if self.count > 1 else [0.0]
        return [
            ViewSettings(
                yaw_deg=float(yaw),
                pitch_deg=rng.uniform(-self.max_pitch_deg, self.max_pitch_deg),
                focal=rng.uniform(*self.focal),
                light_yaw_deg=rng.uniform(-self.max_light_deg, self.max_light_deg),
                light_pitch_deg=rng.uniform(0, self.max_light_deg / 2),
                ambient=rng.uniform(*self.ambient),
                side_px=self.side_px,
            )
            for yaw in yaws
        ]


def upright(mesh: Mesh, landmarks: np.ndarray) -> tuple[Mesh, float, np.ndarray]:
    """A scan turned to look along +z with y up, and the extent and centre of a view of its face."""
    frame = face_frame(landmarks)
    turned = landmarks @ frame.T
    eyes = outer_eye_distance(turned)
    centre = turned[list(OUTER_EYES)].mean(0) - DOWN_IN_EYES * eyes * np.array([0.0, 1.0, 0.0])
    return Mesh(mesh.vertices @ frame.T, mesh.triangles), EXTENT_IN_EYES * eyes, centre


def gather_photos(scan: ScanFolder, landmarks: np.ndarray, views: ViewRange, folder: Path, *, draw: bool) -> list[Path]:
    """Put a scan's photos into a folder: its own, or drawn views where it has none or `draw` is set.

    Raises:
        InputError: no photos, and no texture to draw any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if scan.photos and not draw:
        for path in scan.photos:
            if not (folder / path.name).is_file():
                shutil.copyfile(path, folder / path.name)
        return [folder / path.name for path in scan.photos]
    textured = scan.read_textured()
    mesh, extent, centre = upright(textured.mesh, landmarks)
    colours = texture_colours(mesh.triangles, textured.uv, textured.texture_rgb)
    paths: list[Path] = []
    for number, settings in enumerate(views.draw(scan.name)):
        path = folder / f"view_{number}.png"
        Image.fromarray(draw_view(mesh, colours, settings, extent, centre)).save(path)
        paths.append(path)
    return paths
