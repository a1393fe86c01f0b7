from evaluation.micc import Setting
from evaluation.settings_table import (
    Case,
    KnownShapes,
    ShapeError,
    by_setting,
    render_cells,
    settings_cells,
    spread,
    variant_cells,
)

SHAPES = KnownShapes(
    reconstructed={
        Case("a", Setting.COOPERATIVE): ShapeError(0.5, 1.0),
        Case("b", Setting.COOPERATIVE): ShapeError(0.7, 2.0),
        Case("a", Setting.OUTDOOR): ShapeError(0.9, 1.5),
    },
    mean_face={"a": ShapeError(1.0, 2.0), "b": ShapeError(2.0, 4.0)},
)


def test_means_and_population_deviations_are_over_the_subjects_of_a_setting() -> None:
    ours, mean_face = by_setting(SHAPES, "surface_mm"), by_setting(SHAPES, "surface_mm", mean_face=True)
    cooperative = ours[Setting.COOPERATIVE]
    assert cooperative is not None
    assert [round(value, 6) for value in cooperative] == [0.6, 0.1, 2]
    assert mean_face[Setting.COOPERATIVE] == (1.5, 0.5, 2)
    assert mean_face[Setting.OUTDOOR] == (1.0, 0.0, 1), "the mean face is judged on the same subjects"
    assert ours[Setting.INDOOR] is None


def test_a_setting_without_a_result_says_so() -> None:
    to_scans = {setting: spread([1.25] if setting is Setting.OUTDOOR else []) for setting in Setting}
    cells = {row[0]: row[1:] for row in settings_cells(SHAPES, to_scans, subjects=2)}
    assert cells["Indoor-Cooperative"] == [
        "no result", "0.60 ± 0.10", "1.50 ± 0.50", "1.50 ± 0.50", "3.00 ± 1.00", "2 of 2",
    ]  # fmt: skip
    assert cells["PTZ-Indoor"] == [*["no result"] * 5, "0 of 2"]
    assert cells["PTZ-Outdoor"][0] == "1.25 ± 0.00"


def test_ways_of_reconstructing_stand_below_the_mean_face() -> None:
    lines = render_cells(variant_cells({"landmarks alone": SHAPES, "full fit": SHAPES})).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["mean face", "landmarks alone", "full fit"]
    assert lines[1].endswith("1.00 ± 0.00")
    assert len({len(line) for line in lines}) == 1
