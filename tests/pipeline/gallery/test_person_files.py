import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ops.files.photo import encode_png
from pipeline.gallery.person_files import MAX_PICTURES, quantised, write_person

PERSON = {"identity_id": "anna </script>", "message": "", "method": "ganfit", "mesh_path": None, "texture_path": None}


def colour(*channels: int) -> bytes:
    return encode_png(np.full((64, 64, len(channels)), channels, np.uint8))


def frame(number: int, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "image_id": f"i{number}", "uri": f"{number}.jpg", "status": "ok", "reason": "", "message": "",
        "identity_similarity": 0.5, "judge_similarity": None, "landmark_error": 0.03,
        "crop_png": colour(200, 0, 0, 255), "render_png": colour(0, 0, 200, 255), "shape_png": colour(9, 9, 9),
    }  # fmt: skip
    return row | changes


def content_of(path: Path) -> dict[str, Any]:
    text = path.read_text()
    assert text.startswith("ganfit.person(")
    return json.loads(text.removeprefix("ganfit.person(").removesuffix(");\n"))


def test_the_thumbnail_shows_the_best_photo_beside_its_render(tmp_path: Path) -> None:
    better = frame(1, identity_similarity=0.9, crop_png=colour(0, 200, 0, 255))
    unused = frame(2, identity_similarity=0.99, render_png=None)
    assert write_person(tmp_path, "anna", PERSON, [frame(0), better, unused], None) == "gallery/anna.js"
    with Image.open(tmp_path / "gallery" / "anna.jpg") as thumbnail:
        pixels = np.asarray(thumbnail, int)
    assert pixels.shape == (128, 256, 3)
    np.testing.assert_allclose(pixels[64, 64], (0, 200, 0), atol=4)
    np.testing.assert_allclose(pixels[64, 192], (0, 0, 200), atol=4)


def test_a_person_of_whom_nothing_could_be_read_has_a_blank_thumbnail(tmp_path: Path) -> None:
    write_person(tmp_path, "b", PERSON, [frame(0, status="failed", crop_png=None, render_png=None)], None)
    content = content_of(tmp_path / "gallery" / "b.js")
    assert content["frames"][0]["pictures"] == [None, None, None]
    assert content["mesh"] is None
    with Image.open(tmp_path / "gallery" / "b.jpg") as thumbnail:
        assert thumbnail.getextrema() == ((225, 225),) * 3


def test_the_images_beyond_the_limit_are_counted_by_outcome(tmp_path: Path) -> None:
    surplus = frame(0, status="rejected", reason="surplus", crop_png=None, render_png=None, identity_similarity=None)
    write_person(tmp_path, "b", PERSON, [frame(0), *[surplus] * (MAX_PICTURES + 6)], None)
    content = content_of(tmp_path / "gallery" / "b.js")
    assert len(content["frames"]) == MAX_PICTURES
    assert content["more"] == {"rejected surplus": 7}


def test_the_mesh_comes_back_within_half_a_step(tmp_path: Path) -> None:
    vertices = np.random.default_rng(0).normal(0, 60, (50, 3))
    vertices[:, 2] = 7.0
    texture = np.full((8, 8, 3), (10, 200, 30), np.uint8)
    write_person(tmp_path, "anna", PERSON, [frame(0)], (vertices, texture))
    mesh = content_of(tmp_path / "gallery" / "anna.js")["mesh"]
    values = np.frombuffer(base64.b64decode(mesh["values"]), "<u2").reshape(-1, 3)
    found = np.array(mesh["low"]) + np.array(mesh["step"]) * values
    assert np.abs(found - vertices).max() <= 0.51 * max(mesh["step"])
    assert max(mesh["step"]) < 0.01, "a hundredth of a millimetre"
    with Image.open(io.BytesIO(base64.b64decode(mesh["texture"]))) as image:
        np.testing.assert_allclose(np.asarray(image, int), texture, atol=4)


def test_the_ends_of_every_axis_are_exact() -> None:
    mesh = quantised(np.array([[-1.0, 0, 5], [2, 0, 6], [0, 0, 7]]))
    values = np.frombuffer(base64.b64decode(mesh["values"]), "<u2").reshape(-1, 3)
    assert values[:, 0].tolist() == [0, 65535, 21845]
    assert values[:, 2].tolist() == [0, 32768, 65535]
