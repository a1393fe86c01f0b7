import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ops.face.alignment import crop_from_image
from ops.files.photo import decode_photo, decode_png, encode_png
from ops.reconstruction.detection import DetectionConfig, DetectionNetworks, Rejection, find_faces
from ops.reconstruction.quality import ranges_from_pairs
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition
from pipeline.stages.alignment import AlignFaces
from pipeline.stages.gate import QualityGate
from pipeline.stages.stage import run_stage
from pipeline.tables.schema import DETECTED, Frame, frames_from_table, table_from_frames

SIDE = 64


def landmarks(scale: float) -> torch.Tensor:
    """68 points whose five derived ones are a frontal face about 35 * scale px wide, at (100, 80) * scale."""
    points = torch.zeros(68, 2, dtype=torch.float64)
    points[36:42] = torch.tensor((-17.0, -20.0))
    points[42:48] = torch.tensor((17.0, -20.0))
    points[48], points[54] = torch.tensor((-14.0, 20.0)), torch.tensor((14.0, 20.0))
    return (points + torch.tensor((100.0, 80.0))) * scale


def picture(scale: int = 1) -> np.ndarray:
    """200 x 160: red left of the face's middle, green right of it."""
    image = np.zeros((160 * scale, 200 * scale, 3), np.uint8)
    image[:, : 100 * scale, 0] = 200
    image[:, 100 * scale :, 1] = 200
    return image


def frame(data: bytes | None, width: int, scale: float, **changes: object) -> Frame:
    fields: dict[str, object] = {
        "image_id": "a", "identity_id": "a", "uri": "a", "shard": 0, "item_id": "a", "stem": "a", "image": data,
        "width_px": width, "height_px": width * 160 // 200, "landmarks_px": landmarks(scale).reshape(-1).tolist(),
    }  # fmt: skip
    return Frame(**(fields | changes))  # type: ignore[arg-type]


def align(row: Frame, *, quick: bool = False) -> Frame:
    stage = AlignFaces(side_px=SIDE, quick=quick)
    (result,) = frames_from_table(run_stage(stage, None, table_from_frames([row], DETECTED)))
    return result


def test_the_face_comes_to_the_middle_of_the_crop() -> None:
    result = align(frame(encode_png(picture()), 200, 1))
    expected = crop_from_image(landmarks(1), SIDE).reshape(-1)
    assert result.crop_from_image == pytest.approx(expected.tolist())
    assert result.crop_png is not None
    crop = decode_png(result.crop_png)
    assert crop.shape == (SIDE, SIDE, 4)
    assert crop[SIDE // 2, 8].tolist() == [200, 0, 0, 255]
    assert crop[SIDE // 2, -8].tolist() == [0, 200, 0, 255]


def test_pixels_outside_the_image_are_transparent() -> None:
    shifted = (landmarks(1) - torch.tensor((90.0, 0.0))).reshape(-1).tolist()
    result = align(frame(encode_png(picture()), 200, 1, landmarks_px=shifted))
    assert result.crop_png is not None
    alpha = decode_png(result.crop_png)[..., 3]
    assert (alpha[:, 0] == 0).all()
    assert (alpha[:, -1] == 255).all()


@pytest.mark.parametrize("quick", [False, True])
def test_the_matrix_is_for_the_full_resolution_though_a_reduced_image_is_decoded(quick: bool) -> None:
    scale = 30
    stream = io.BytesIO()
    Image.fromarray(picture(scale)).save(stream, "JPEG", quality=90)
    result = align(frame(stream.getvalue(), 200 * scale, scale), quick=quick)
    expected = crop_from_image(landmarks(scale), SIDE).reshape(-1)
    assert result.crop_from_image == pytest.approx(expected.tolist())
    small = align(frame(encode_png(picture()), 200, 1))
    assert result.crop_png is not None
    assert small.crop_png is not None
    difference = decode_png(result.crop_png).astype(int) - decode_png(small.crop_png).astype(int)
    assert np.abs(difference).mean() < 3


def test_a_texture_may_have_a_finer_crop_of_its_own() -> None:
    row = frame(encode_png(picture(2)), 400, 2)
    stage = AlignFaces(side_px=SIDE, texture_side_px=2 * SIDE)
    result = frames_from_table(run_stage(stage, None, table_from_frames([row], DETECTED)))[0]
    assert result.crop_png is not None
    assert result.texture_crop_png is not None
    crop, fine = decode_png(result.crop_png).astype(int), decode_png(result.texture_crop_png)
    assert fine.shape == (2 * SIDE, 2 * SIDE, 4)
    reduced = fine.reshape(SIDE, 2, SIDE, 2, 4).mean((1, 3))
    assert np.abs(reduced - crop).mean() < 3
    assert align(row).texture_crop_png is None


def test_a_rejected_image_leaves_a_small_picture() -> None:
    result = align(frame(encode_png(picture()), 200, 1, status="rejected", reason="no_face", landmarks_px=None))
    assert result.crop_from_image is None
    assert result.crop_png is not None
    small = decode_png(result.crop_png)
    assert small[SIDE // 2, 4].tolist() == [200, 0, 0, 255]
    assert small[0, 0, 3] == 0


def test_an_unreadable_image_leaves_nothing() -> None:
    row = frame(None, 200, 1, status="failed", reason="unreadable", landmarks_px=None)
    assert align(row).crop_png is None


def test_landmarks_of_another_face_shift_when_they_are_looked_for_again(embedded: ModelBundle, album: Path) -> None:
    faces: list[Frame] = []
    for person in ("person_00", "person_01"):
        data = (album / person / "photo_0.jpg").read_bytes()
        photo = decode_photo(data)
        networks = DetectionNetworks(
            load_detector(embedded.detector),
            load_landmarks(embedded.landmarks),
            load_recognition(embedded.recognition, ()),
        )
        found = find_faces(networks, photo, DetectionConfig())
        assert not isinstance(found, Rejection)
        points = found[0].landmarks_px.reshape(-1).tolist()
        faces.append(frame(data, 240, 1, height_px=240, image_id=person, landmarks_px=points))
    upside_down = (240 - np.array(faces[1].landmarks_px)).tolist()
    wrong = replace(faces[0], image_id="wrong", landmarks_px=upside_down)
    stage = AlignFaces(side_px=224, landmarks=embedded.landmarks)
    table = table_from_frames([*faces, wrong], DETECTED)
    *right, wrong = frames_from_table(run_stage(stage, stage.load(), table))
    shifts = [row.landmark_shift or 0 for row in right]
    assert min(shifts) > 0
    assert max(shifts) < 0.08
    assert wrong.landmark_shift is not None
    assert wrong.landmark_shift > 0.15
    gate = QualityGate(ranges=ranges_from_pairs({"landmark_shift": [0.1, 0.03]}), policy="reject")
    gated = frames_from_table(run_stage(replace(stage, gate=gate), stage.load(), table))
    assert [(row.status, row.reason) for row in gated] == [("ok", ""), ("ok", ""), ("rejected", "low_quality")]
    assert gated[2].quality is not None
    assert gated[2].quality < 0
    assert gated[2].crop_png, "the report shows what was rejected"
