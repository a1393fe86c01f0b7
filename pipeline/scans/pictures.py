"""One picture per scan: photo, reconstruction, scan, and the signed error of the scan in colour."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.spatial import KDTree

from evaluation.contact_sheet import SheetRow, draw_contact_sheet
from evaluation.scan_distance import FaceSamples, ScanDistances
from evaluation.scan_protocols import AnnotatedMesh
from ops.geometry.mesh import Mesh
from ops.registration.scan_views import ViewSettings, draw_view, vertex_colours
from pipeline.scans.views import upright

RANGE_MM = 3.0
"""Errors of this size have the strongest colour."""
NEAR_MM = 4.0
"""Vertices farther from every sample are no part of what was measured."""
TILE_PX = 384
GREY = 0.75
LIGHT = ViewSettings(ambient=0.35, light_yaw_deg=25.0, light_pitch_deg=35.0, side_px=TILE_PX)


def draw_scan_picture(
    path: Path, scan: AnnotatedMesh, samples: FaceSamples, distances: ScanDistances, photo: Path
) -> None:
    """Write the picture; the mesh comes as it was aligned to the scan."""
    mesh, extent, centre = upright(scan.mesh, scan.landmarks_mm)
    rebuilt = Mesh(distances.mesh.vertices @ samples.frame.T, distances.mesh.triangles)

    def draw(shown: Mesh, colours: Float[np.ndarray, "vertex 3"]) -> np.ndarray:
        return draw_view(shown, vertex_colours(shown.triangles, colours), LIGHT, extent, centre)

    with Image.open(photo) as picture:
        shown = np.asarray(picture.convert("RGB"))
    tiles = (
        shown,
        draw(rebuilt, np.full(rebuilt.vertices.shape, GREY)),
        draw(mesh, np.full(mesh.vertices.shape, GREY)),
        draw(mesh, error_colours(scan.mesh.vertices, samples, distances)),
    )
    label = (
        f"{path.stem}: mean {distances.mean_mm:.2f} mm; scan outside the mesh red, inside blue, {RANGE_MM:g} mm full"
    )
    headings = ("photo", "reconstruction", "scan", "signed error")
    Image.fromarray(draw_contact_sheet(headings, [SheetRow(label, False, tiles)], TILE_PX)).save(path)


def error_colours(
    vertices: Float[np.ndarray, "vertex 3"], samples: FaceSamples, distances: ScanDistances
) -> Float[np.ndarray, "vertex 3"]:
    """Red for what lies outside the mesh, blue for what lies inside, white between, grey for what was not measured."""
    counted = distances.counted
    far, nearest = KDTree(samples.points_mm[counted]).query(vertices)
    share = np.clip(distances.signed_mm[counted][nearest] / RANGE_MM, -1, 1)[:, None]
    red, blue, white = np.array([0.85, 0.1, 0.1]), np.array([0.1, 0.2, 0.85]), np.ones(3)
    colours = white + np.abs(share) * (np.where(share > 0, red, blue) - white)
    return np.where((far < NEAR_MM)[:, None], colours, GREY * 0.8)
