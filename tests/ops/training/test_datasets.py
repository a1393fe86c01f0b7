from pathlib import Path

import numpy as np

from ops.faceworld.shape import faceworld_model
from ops.training.datasets import CrowdSet, PortraitSet, load_or_render


def test_portraits_are_reproducible_and_kept(tmp_path: Path) -> None:
    spec = PortraitSet(first_person=7, people=2, pictures_each=2, side_px=48)
    lines: list[str] = []
    first = load_or_render(spec, faceworld_model(), tmp_path / "a", lines.append)
    other = load_or_render(spec, faceworld_model(), tmp_path / "b", lines.append)
    assert np.array_equal(first.images_rgb, other.images_rgb)
    assert first.person.tolist() == [7, 7, 8, 8]
    assert len(lines) == 2
    load_or_render(spec, faceworld_model(), tmp_path / "a", lines.append)
    assert len(lines) == 2
    inside = (first.landmarks_px > 0) & (first.landmarks_px < 48)
    assert inside.mean() > 0.95


def test_crowds_hold_no_to_three_faces(tmp_path: Path) -> None:
    spec = CrowdSet(first_picture=0, pictures=14, first_person=3, people=2, side_px=64, empty=0.3)
    pictures = load_or_render(spec, faceworld_model(), tmp_path, lambda line: None)
    faces = np.isfinite(pictures.boxes_xyxy_px[..., 0]).sum(1)
    assert faces.min() == 0
    assert 2 <= faces.max() <= 3
    assert (np.isfinite(pictures.landmarks_px[..., 0, 0]).sum(1) == faces).all()
    heights = (pictures.boxes_xyxy_px[..., 3] - pictures.boxes_xyxy_px[..., 1])[
        np.isfinite(pictures.boxes_xyxy_px[..., 0])
    ]
    assert heights.min() > 4
