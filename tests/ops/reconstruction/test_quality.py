import numpy as np
import pytest
import torch

from ops.errors import ConfigurationError
from ops.face.alignment import crop_from_image
from ops.reconstruction.alignment import AlignedCrop
from ops.reconstruction.quality import QualityRange, judge_quality, landmark_shift, ranges_from_pairs

RANGES = ranges_from_pairs({"landmark_shift": [0.06, 0.02], "judge_similarity": [0.4, 0.7]})


def test_the_worst_measure_decides() -> None:
    good = judge_quality({"landmark_shift": 0.02, "judge_similarity": 0.55, "landmark_error": 9.0}, RANGES)
    assert good is not None
    assert good.value == pytest.approx(0.5)
    assert good.message == ""
    bad = judge_quality({"landmark_shift": 0.10, "judge_similarity": 0.9}, RANGES)
    assert bad is not None
    assert bad.value == pytest.approx(-1.0)
    assert bad.message == "landmark_shift 0.100, expected at most 0.060"
    alien = judge_quality({"landmark_shift": 0.01, "judge_similarity": 0.1}, RANGES)
    assert alien is not None
    assert alien.value == pytest.approx(-1.0)
    assert alien.message == "judge_similarity 0.100, expected at least 0.400"


def test_better_than_typical_is_no_more_than_good() -> None:
    found = judge_quality({"landmark_shift": 0.0, "judge_similarity": 1.0}, RANGES)
    assert found is not None
    assert found.value == 1.0


def test_measures_that_are_not_known_do_not_count() -> None:
    found = judge_quality({"landmark_shift": 0.04, "judge_similarity": None}, RANGES)
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert judge_quality({"judge_similarity": None, "landmark_error": 0.1}, RANGES) is None


@pytest.mark.parametrize("pairs", [{"beauty": [0.1, 0.2]}, {"landmark_error": [0.1]}, {"landmark_error": [0.1, 0.1]}])
def test_ranges_without_sense_are_refused(pairs: dict[str, list[float]]) -> None:
    with pytest.raises(ConfigurationError, match="expected"):
        ranges_from_pairs(pairs)
    assert QualityRange(limit=0.5, typical=1.0).place(0.75) == 0.5


def test_landmarks_found_again_elsewhere_have_shifted() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(100, 300, (68, 2))
    points[36], points[45] = (100.0, 200.0), (200.0, 200.0)
    matrix = crop_from_image(torch.from_numpy(points), 224).numpy()
    crop = AlignedCrop(np.zeros((224, 224, 4), np.uint8), matrix)
    scale = float(np.sqrt(np.linalg.det(matrix[:, :2])))
    places = points @ matrix[:, :2].T + matrix[:, 2]

    def finds(offset_px: float) -> float:
        def network(image_rgb: np.ndarray, boxes_xyxy_px: np.ndarray, points_px: np.ndarray) -> np.ndarray:
            assert image_rgb.shape == (224, 224, 3)
            np.testing.assert_allclose(boxes_xyxy_px[0], [*places.min(0), *places.max(0)], rtol=1e-5)
            return (places + np.array([0.0, offset_px * scale]))[None].astype(np.float32)

        return landmark_shift(network, crop, points)

    assert finds(0.0) == pytest.approx(0, abs=1e-6)
    assert finds(7.0) == pytest.approx(0.07, rel=1e-4)
