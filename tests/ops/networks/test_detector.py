from pathlib import Path

import numpy as np
import pytest

from ops.errors import MissingModelFileError, ModelFormatError
from ops.files.photo import decode_photo
from ops.networks.detector import (
    INPUT_SIDES_PX,
    NATIVE_SIDE_PX,
    FaceDetector,
    QuickScrfd,
    ScrfdDetector,
    load_quick_scrfd,
    load_scrfd,
)


@pytest.fixture(scope="module")
def detector(model_dir: Path) -> FaceDetector:
    return load_scrfd(model_dir / "scrfd_500m.onnx")


@pytest.fixture(scope="module")
def astronaut(model_dir: Path) -> np.ndarray:
    path = model_dir.parent / "photos" / "astronaut.png"
    if not path.is_file():
        pytest.skip(f"needs the photo {path}")
    return decode_photo(path.read_bytes()).image_rgb


@pytest.mark.models
def test_a_face_is_found_where_it_is(detector: FaceDetector, astronaut: np.ndarray) -> None:
    found = detector(astronaut)
    assert found.boxes_xyxy_px.dtype == found.scores.dtype == found.points_px.dtype == np.float32
    assert len(found.scores) == 1
    assert found.scores[0] > 0.8
    np.testing.assert_allclose(found.boxes_xyxy_px[0], (180, 61, 271, 179), atol=6)
    left_eye, right_eye, nose, left_mouth, right_mouth = found.points_px[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.models
def test_mirrored_images_give_mirrored_faces(detector: FaceDetector, astronaut: np.ndarray) -> None:
    plain, mirrored = detector(astronaut), detector(np.ascontiguousarray(astronaut[:, ::-1]))
    left, top, right, bottom = mirrored.boxes_xyxy_px[0]
    width = astronaut.shape[1]
    np.testing.assert_allclose(plain.boxes_xyxy_px[0], (width - right, top, width - left, bottom), atol=4)


@pytest.mark.models
@pytest.mark.parametrize("zoom", [0.15, 2.0])
def test_sizes_do_not_matter(zoom: float, detector: FaceDetector, astronaut: np.ndarray) -> None:
    from PIL import Image

    side = round(astronaut.shape[0] * zoom)
    resized = np.asarray(Image.fromarray(astronaut).resize((side, side), Image.Resampling.LANCZOS))
    found = detector(resized)
    np.testing.assert_allclose(found.boxes_xyxy_px[0] / zoom, detector(astronaut).boxes_xyxy_px[0], atol=8)


@pytest.mark.models
@pytest.mark.parametrize("margin", [0.3, 0.15, 0.0, -0.08])
def test_a_face_that_fills_the_picture_is_found(margin: float, detector: FaceDetector, astronaut: np.ndarray) -> None:
    left, top, right, bottom = detector(astronaut).boxes_xyxy_px[0]
    grow_x, grow_y = margin * (right - left), margin * (bottom - top)
    x0, x1, y0, y1 = (round(edge) for edge in (left - grow_x, right + grow_x, top - grow_y, bottom + grow_y))
    found = detector(np.ascontiguousarray(astronaut[max(y0, 0) : y1, max(x0, 0) : x1]))
    assert len(found.scores) == 1
    assert found.scores[0] > 0.6
    centre = (found.boxes_xyxy_px[0, :2] + found.boxes_xyxy_px[0, 2:]) / 2 + (max(x0, 0), max(y0, 0))
    np.testing.assert_allclose(centre, ((left + right) / 2, (top + bottom) / 2), atol=0.1 * (bottom - top))


@pytest.mark.models
def test_several_faces_come_best_first(detector: FaceDetector, astronaut: np.ndarray) -> None:
    part = astronaut[20:260, 100:340]
    dim = (part[:, ::-1] * 0.3 + 20).astype(np.uint8)
    found = detector(np.ascontiguousarray(np.concatenate((dim, part), 1)))
    assert len(found.scores) == 2
    assert found.scores[0] >= found.scores[1]
    assert sorted((found.boxes_xyxy_px[:, 0] > 240).tolist()) == [False, True]


@pytest.mark.models
@pytest.mark.parametrize("shape", [(1, 1), (5, 900), (900, 5), (1, 4000), (64, 64), (480, 640)])
def test_images_without_a_face_give_none(shape: tuple[int, int], detector: FaceDetector) -> None:
    found = detector(np.full((*shape, 3), 127, np.uint8))
    assert found.boxes_xyxy_px.shape == (0, 4)
    assert found.scores.shape == (0,)
    assert found.points_px.shape == (0, 5, 2)


@pytest.mark.models
def test_loading_is_silent(model_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_scrfd(model_dir / "scrfd_500m.onnx")
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")


@pytest.mark.models
@pytest.mark.parametrize("name", ["pfld_68.onnx", "arcface_mobilefacenet.onnx"])
def test_other_networks_are_refused(name: str, model_dir: Path) -> None:
    with pytest.raises(ModelFormatError, match="is not an SCRFD network"):
        load_scrfd(model_dir / name)


def test_files_that_are_no_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=r"none\.onnx"):
        load_scrfd(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(ModelFormatError, match=r"text\.onnx is not an ONNX network"):
        load_scrfd(tmp_path / "text.onnx")


class Recording:
    """An SCRFD that finds one face of a given share of the image, and remembers at which sizes it was asked."""

    def __init__(self, share: float, score: float) -> None:
        self.share, self.score = share, score
        self.asked: list[tuple[int, ...]] = []

    def detect(
        self, image_bgr: np.ndarray, sizes: list[tuple[int, int]], det_thresh: float
    ) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(tuple(side for side, _ in sizes))
        side = self.share * max(image_bgr.shape[:2])
        return np.array([[0, 0, side, side, self.score]]), np.zeros((1, 5, 2))


SMALLER_PX = min(INPUT_SIDES_PX)


@pytest.mark.parametrize(
    ("side_px", "share", "score", "asked"),
    [
        (NATIVE_SIDE_PX, 0.1, 0.4, [(NATIVE_SIDE_PX,)]),
        (600, 0.3, 0.8, [(SMALLER_PX,)]),
        (600, 0.1, 0.8, [(SMALLER_PX,), INPUT_SIDES_PX]),
        (600, 0.3, 0.4, [(SMALLER_PX,), INPUT_SIDES_PX]),
    ],
)
def test_one_size_is_enough_for_portraits_and_small_images(
    side_px: int, share: float, score: float, asked: list[tuple[int, ...]]
) -> None:
    network = Recording(share, score)
    found = QuickScrfd(ScrfdDetector(network))(np.zeros((side_px, side_px // 2, 3), np.uint8))
    assert network.asked == asked
    assert found.scores.tolist() == [pytest.approx(score)]


@pytest.mark.models
def test_the_quick_way_finds_the_same_face(model_dir: Path, detector: FaceDetector, astronaut: np.ndarray) -> None:
    found = load_quick_scrfd(model_dir / "scrfd_500m.onnx")(astronaut)
    np.testing.assert_allclose(found.boxes_xyxy_px, detector(astronaut).boxes_xyxy_px, atol=6)
