from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ops.errors import MissingModelFileError, ModelFormatError
from ops.files.photo import decode_photo
from ops.networks.detector import FaceDetector, load_scrfd
from ops.networks.face_crop import MIRRORED_68, CropView
from ops.networks.landmarks import (
    PFLD_DRIFT,
    PFLD_VIEWS,
    QUICK_PFLD_VIEWS,
    LandmarkNetwork,
    PfldLandmarks,
    load_pfld,
    load_quick_pfld,
)
from ops.networks.onnx.graph import OnnxOutputs


class BrightnessCentre(nn.Module):
    """Answers every point with the centre of brightness of the crop."""

    def forward(self, images: Tensor) -> OnnxOutputs:
        weight = images.mean(1)
        side = weight.shape[-1]
        at = (torch.arange(side) + 0.5) / side
        total = weight.sum((-2, -1))
        centre = torch.stack(((weight.sum(-2) * at).sum(-1) / total, (weight.sum(-1) * at).sum(-1) / total), -1)
        return OnnxOutputs((centre.repeat(1, 68),), ())


def spots(*centres: tuple[float, float]) -> np.ndarray:
    rows, columns = np.mgrid[:400, :600] + 0.5
    image = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 200) for x, y in centres)
    return np.repeat((255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], 3, 2)


def faces_at(*centres: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.array([(x - 60, y - 70, x + 60, y + 70) for x, y in centres], np.float32)
    points = np.array(
        [((x - 25, y - 20), (x + 25, y - 10), (x, y), (x - 20, y + 40), (x + 20, y + 40)) for x, y in centres]
    )
    return boxes, points.astype(np.float32)


def test_points_of_every_view_and_face_come_back_to_the_image() -> None:
    image = spots((150, 120), (430, 260))
    boxes, points = faces_at((145, 126), (436, 255))
    found = PfldLandmarks(BrightnessCentre())(image, boxes, points)
    assert found.shape == (2, 68, 2)
    assert found.dtype == np.float32
    brows = found[:, 17:27]
    np.testing.assert_allclose(
        brows, np.broadcast_to(np.array(((150, 120), (430, 260)))[:, None], brows.shape), atol=0.7
    )


def test_the_drift_is_taken_back_along_the_face_except_from_the_brows() -> None:
    boxes, points = faces_at((145, 126))
    (found,) = PfldLandmarks(BrightnessCentre(), views=(CropView(scale=1.1),))(spots((150, 120)), boxes, points)
    tilt = np.arctan2(10, 50)
    down = np.array((-np.sin(tilt), np.cos(tilt)))
    np.testing.assert_allclose(found[20] - found[40], PFLD_DRIFT * 140 * down, atol=1e-3)


def test_no_face_gives_no_points() -> None:
    empty = PfldLandmarks(BrightnessCentre())(
        np.zeros((9, 9, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
    )
    assert empty.shape == (0, 68, 2)


def test_views_are_symmetric() -> None:
    assert {(view.flip, view.scale, view.rotation_rad) for view in PFLD_VIEWS} == {
        (not view.flip, view.scale, -view.rotation_rad) for view in PFLD_VIEWS
    }


def test_quick_views_are_some_of_all_and_mirrored_in_pairs() -> None:
    assert set(QUICK_PFLD_VIEWS) < set(PFLD_VIEWS)
    plain, mirrored = (
        {(view.scale, view.rotation_rad) for view in QUICK_PFLD_VIEWS if view.flip == flip} for flip in (False, True)
    )
    assert plain == mirrored


@pytest.fixture(scope="module")
def detector(model_dir: Path) -> FaceDetector:
    return load_scrfd(model_dir / "scrfd_500m.onnx")


@pytest.fixture(scope="module")
def pfld(model_dir: Path) -> LandmarkNetwork:
    return load_pfld(model_dir / "pfld_68.onnx")


@pytest.fixture(scope="module")
def astronaut(model_dir: Path) -> np.ndarray:
    path = model_dir.parent / "photos" / "astronaut.png"
    if not path.is_file():
        pytest.skip(f"needs the photo {path}")
    return decode_photo(path.read_bytes()).image_rgb


@pytest.fixture(scope="module")
def plain(detector: FaceDetector, pfld: LandmarkNetwork, astronaut: np.ndarray) -> np.ndarray:
    found = detector(astronaut)
    return pfld(astronaut, found.boxes_xyxy_px, found.points_px)[0]


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance over the outer-eye distance."""
    eyes = np.linalg.norm(expected[36] - expected[45])
    return float(np.linalg.norm(found - expected, axis=-1).mean() / eyes)


@pytest.mark.models
def test_points_lie_on_the_face_parts(detector: FaceDetector, plain: np.ndarray, astronaut: np.ndarray) -> None:
    """Eyes and mouth corners agree with the detector's five points, an independent network."""
    (points,) = detector(astronaut).points_px
    eyes = np.linalg.norm(plain[36] - plain[45])
    five = np.stack((plain[36:42].mean(0), plain[42:48].mean(0), plain[30], plain[48], plain[54]))
    assert (np.linalg.norm(five - points, axis=-1) < 0.12 * eyes).all()
    assert (np.diff(plain[:17, 0]) > -0.01 * eyes).all()
    assert plain[17:27, 1].max() < plain[36:48, 1].min()
    assert plain[8, 1] == plain[:, 1].max()


@pytest.mark.models
def test_mirrored_image_gives_mirrored_points(
    detector: FaceDetector, pfld: LandmarkNetwork, plain: np.ndarray, astronaut: np.ndarray
) -> None:
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    found = detector(astronaut)
    boxes = found.boxes_xyxy_px.copy()
    boxes[:, (0, 2)] = astronaut.shape[1] - found.boxes_xyxy_px[:, (2, 0)]
    points = found.points_px[:, (1, 0, 2, 4, 3)].copy()
    points[..., 0] = astronaut.shape[1] - points[..., 0]
    (back,) = pfld(mirrored, boxes, points)
    back = back[MIRRORED_68]
    back[:, 0] = astronaut.shape[1] - back[:, 0]
    assert error(back, plain) < 0.003


@pytest.mark.models
@pytest.mark.parametrize(("degrees", "zoom"), [(25, 1.0), (-15, 3.0), (0, 0.5)])
def test_points_follow_a_turned_and_scaled_image(
    degrees: float, zoom: float, detector: FaceDetector, pfld: LandmarkNetwork, plain: np.ndarray, astronaut: np.ndarray
) -> None:
    import cv2

    matrix = cv2.getRotationMatrix2D((225, 120), degrees, zoom)
    matrix[:, 2] += np.array((225, 120)) * (zoom - 1)
    height, width = (round(side * max(zoom, 1)) for side in astronaut.shape[:2])
    turned = cv2.warpAffine(astronaut, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    found = detector(turned)
    (points,) = pfld(turned, found.boxes_xyxy_px[:1], found.points_px[:1])
    assert error(points, plain @ matrix[:, :2].T + matrix[:, 2]) < 0.035


@pytest.mark.models
def test_faces_do_not_depend_on_each_other(
    detector: FaceDetector, pfld: LandmarkNetwork, astronaut: np.ndarray
) -> None:
    part = astronaut[20:260, 100:340]
    image = np.ascontiguousarray(np.concatenate((part[:, ::-1], part), 1))
    found = detector(image)
    together = pfld(image, found.boxes_xyxy_px, found.points_px)
    alone = pfld(image, found.boxes_xyxy_px[1:], found.points_px[1:])
    np.testing.assert_allclose(together[1:], alone, atol=1e-3)


@pytest.mark.models
def test_a_face_cut_by_the_border_keeps_its_visible_points(
    detector: FaceDetector, pfld: LandmarkNetwork, plain: np.ndarray, astronaut: np.ndarray
) -> None:
    cut = np.ascontiguousarray(astronaut[:, 205:])
    found = detector(astronaut)
    shift = np.array((205, 0), np.float32)
    (points,) = pfld(cut, found.boxes_xyxy_px - np.tile(shift, 2), found.points_px - shift)
    assert np.isfinite(points).all()
    visible = plain[:, 0] > 225
    eyes = np.linalg.norm(plain[36] - plain[45])
    assert np.linalg.norm(points[visible] + shift - plain[visible], axis=-1).mean() < 0.06 * eyes


@pytest.mark.models
def test_other_networks_are_refused(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="expected 136 numbers an image"):
        load_pfld(model_dir / "arcface_mobilefacenet.onnx")
    with pytest.raises(MissingModelFileError, match=r"none\.onnx"):
        load_pfld(tmp_path / "none.onnx")


@pytest.mark.models
def test_the_quick_way_finds_nearly_the_same_points(
    model_dir: Path, detector: FaceDetector, plain: np.ndarray, astronaut: np.ndarray
) -> None:
    found = detector(astronaut)
    (quick,) = load_quick_pfld(model_dir / "pfld_68.onnx")(astronaut, found.boxes_xyxy_px, found.points_px)
    assert error(quick, plain) < 0.01
