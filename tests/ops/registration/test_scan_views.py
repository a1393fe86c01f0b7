from dataclasses import replace

import numpy as np
import pytest

from ops.geometry.mesh import Mesh
from ops.registration.scan_views import FIELD, ViewSettings, draw_view, texture_colours, vertex_colours

SIDE = 64
SQUARE = Mesh(
    np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
)
FRONT = ViewSettings(side_px=SIDE)


def draw(settings: ViewSettings, colours: np.ndarray | None = None) -> np.ndarray:
    white = np.ones((4, 3)) if colours is None else colours
    return draw_view(SQUARE, vertex_colours(SQUARE.triangles, white), settings, 2.0, np.zeros(3))


def test_the_picture_spans_the_field_and_keeps_left_and_up() -> None:
    colours = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    image = draw(FRONT, colours).astype(int)
    seen = (image != 128).any(-1)
    assert seen.mean() == pytest.approx(1 / FIELD**2, abs=0.05)
    rows, columns = np.nonzero(seen)
    inner = image[rows.min() + 2 : rows.max() - 1, columns.min() + 2 : columns.max() - 1]
    assert (np.diff(inner[10, :, 0]) > 0).mean() > 0.9
    assert (np.diff(inner[:, 10, 1]) < 0).mean() > 0.9


def test_a_turned_camera_sees_the_square_narrower() -> None:
    def size(settings: ViewSettings) -> tuple[int, int]:
        rows, columns = np.nonzero((draw(settings) != 128).any(-1))
        return int(np.ptp(columns)), int(np.ptp(rows))

    front = size(FRONT)
    far = replace(FRONT, focal=20.0)
    assert size(replace(far, yaw_deg=60.0))[0] == pytest.approx(front[0] / 2, abs=2)
    assert size(replace(far, pitch_deg=60.0))[1] == pytest.approx(front[1] / 2, abs=2)


def test_light_shades_by_the_cosine() -> None:
    lit = replace(FRONT, ambient=0.2, light_pitch_deg=0.0)
    for angle in (0.0, 60.0, 120.0):
        shade = 0.2 + 0.8 * max(np.cos(np.deg2rad(angle)), 0)
        centre = draw(replace(lit, light_yaw_deg=angle))[SIDE // 2, SIDE // 2]
        assert centre == pytest.approx(255 * shade, abs=1)


def test_textures_are_read_between_their_texels() -> None:
    texture = np.zeros((2, 2, 3), np.uint8)
    texture[0, 1] = 200
    uv = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    at = texture_colours(SQUARE.triangles, uv, texture)
    middle = at(np.array([0]), np.array([[0.5, 0.0, 0.5]]))
    np.testing.assert_allclose(middle, 200 / 4 / 255)
    corner = at(np.array([0]), np.array([[0.0, 0.0, 1.0]]))
    np.testing.assert_allclose(corner, 200 / 255)
