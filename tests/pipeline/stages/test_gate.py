from typing import Any

import pytest

from ops.reconstruction.quality import ranges_from_pairs
from pipeline.stages.gate import QualityGate, QualityPolicy

RANGES = ranges_from_pairs({"landmark_shift": [0.06, 0.02]})


@pytest.mark.parametrize(
    ("policy", "status"), [("reject", {"status": "rejected", "reason": "low_quality"}), ("note", {})]
)
def test_a_bad_measure_is_said_and_has_the_consequence_of_the_policy(
    policy: QualityPolicy, status: dict[str, Any]
) -> None:
    found = QualityGate(ranges=RANGES, policy=policy).verdict({"landmark_shift": 0.1}, "2 faces")
    assert found.pop("quality") == pytest.approx(-1.0)
    assert found == {"message": "2 faces; landmark_shift 0.100, expected at most 0.060"} | status


def test_what_passes_has_its_quality_and_no_other_change() -> None:
    found = QualityGate(ranges=RANGES).verdict({"landmark_shift": 0.04}, "2 faces")
    assert found == {"quality": pytest.approx(0.5)}


def test_where_nothing_is_known_everything_passes() -> None:
    assert QualityGate().verdict({"landmark_shift": 9.0}, "") == {}
    assert QualityGate(ranges=RANGES).verdict({"landmark_shift": None}, "") == {}
