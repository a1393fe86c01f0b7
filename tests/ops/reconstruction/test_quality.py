import pytest

from ops.errors import ConfigurationError
from ops.reconstruction.quality import QualityRange, judge_quality, ranges_from_pairs

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
