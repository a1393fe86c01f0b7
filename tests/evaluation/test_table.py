import pytest

from evaluation.micc import Setting
from evaluation.protocols import DESCRIPTIONS, WEAKNESSES, Protocol
from evaluation.table import Measurement, Missing, render_table, summarise


def measured(subject: str, scan: str, distance: float | None, reason: str = "") -> Measurement:
    return Measurement(subject=subject, setting=Setting.INDOOR, scan=scan, distance_mm=distance, reason=reason)


def test_the_better_scan_counts_and_the_deviation_is_the_population_s() -> None:
    rows = [
        measured("a", "frontal1", 1.0),
        measured("a", "frontal2", 3.0),
        measured("b", "frontal1", None, "missing_scan"),
        measured("b", "frontal2", 2.0),
        measured("c", "frontal1", None, "units"),
        measured("c", "frontal2", None, "topology"),
    ]
    indoor = {result.setting: result for result in summarise(rows)}[Setting.INDOOR]
    assert (indoor.mean_mm, indoor.std_mm, indoor.count) == (1.5, 0.5, 2)
    assert indoor.missing == (Missing(subject="c", reason="topology / units"),)
    assert indoor.incomplete == (Missing(subject="b", reason="missing_scan"),)


def test_nothing_measured_is_said_so() -> None:
    text = render_table("x", Protocol.PAPER, summarise([measured("a", "frontal1", None, "units")]), subjects=1)
    assert text.count("no result") == 3
    assert "missing in PTZ-Indoor: a (units)" in text
    assert "nan" not in text.lower().split()


@pytest.mark.parametrize("protocol", list(Protocol))
def test_every_protocol_is_described_beside_its_figures(protocol: Protocol) -> None:
    text = render_table("ours", protocol, summarise([measured("a", "frontal1", 1.234)]), subjects=53)
    assert DESCRIPTIONS[protocol] in text
    assert all(weakness in text for weakness in WEAKNESSES[protocol])
    assert "1.234 ± 0.000" in text
    assert text.count("[published]") == 4


def test_synthetic_data_are_called_so_and_stand_beside_no_published_figure() -> None:
    results = summarise([measured("a", "frontal1", 1.0)])
    text = render_table("ours", Protocol.PAPER, results, subjects=3, synthetic=True)
    assert text.startswith("Synthetic data in the layout of MICC Florence, protocol paper")
    assert "published" not in text.lower()
    assert "not comparable" in text
