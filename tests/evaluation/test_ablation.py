import pytest

from evaluation.ablation import FULL, MEASURES, VARIANTS, Outcome, compare, render_table, table_cells
from ops.fit.config import LossWeights, default_preset

JUDGE = next(measure for measure in MEASURES if measure.name == "judge_similarity")
SHAPE = next(measure for measure in MEASURES if measure.name == "shape_error_mm")


def test_a_variant_switches_off_its_terms_and_nothing_else() -> None:
    config = default_preset()
    for variant in VARIANTS:
        changed = variant.applied_to(config)
        off = {name for name in vars(LossWeights()) if getattr(changed.weights, name) != getattr(config.weights, name)}
        assert off == set(variant.without)
        assert changed.terms() == config.terms() - off
    assert FULL.applied_to(config) == config
    assert [variant.name for variant in VARIANTS if variant.pca_texture] == ["pca-texture"]


def test_people_are_paired_with_themselves() -> None:
    full = {"a": Outcome(judge_similarity=0.8, shape_error_mm=1.0), "b": Outcome(judge_similarity=0.6)}
    other = {
        "a": Outcome(judge_similarity=0.7, shape_error_mm=1.5),
        "b": Outcome(judge_similarity=0.9),
        "c": Outcome(judge_similarity=0.1, shape_error_mm=9.0),
    }
    found = compare(full, other, JUDGE)
    assert found is not None
    assert (found.people, found.worse) == (2, 1)
    assert (found.mean, found.deviation, found.difference) == pytest.approx((0.8, 0.1, 0.1))
    assert found.difference_error == pytest.approx(0.2)
    shape = compare(full, other, SHAPE)
    assert shape is not None
    assert (shape.people, shape.worse, shape.difference) == (1, 1, pytest.approx(0.5))
    assert shape.difference_error is None
    assert compare(full, {"c": Outcome(judge_similarity=0.1)}, JUDGE) is None


def test_equal_is_not_worse() -> None:
    full = {"a": Outcome(judge_similarity=0.8, shape_error_mm=1.0)}
    for measure in (JUDGE, SHAPE):
        found = compare(full, full, measure)
        assert found is not None
        assert (found.worse, found.difference) == (0, 0.0)


def test_the_table_leaves_out_what_nobody_has() -> None:
    full = {
        "a": Outcome(identity_similarity=0.8, landmark_error=0.02),
        "b": Outcome(identity_similarity=0.6),
    }
    other = {
        "a": Outcome(identity_similarity=0.5, landmark_error=0.01),
        "b": Outcome(identity_similarity=0.5),
    }
    results = {"no-pixel": other, "full": full}
    cells = table_cells(results)
    assert cells == [
        ["", "similarity", "landmarks, %"],
        ["full objective", "0.700 ± 0.100", "2.00 ± 0.00"],
        ["no pixel", "0.500\n-0.2000 ± 0.1000\n2/2 worse", "1.00\n-1.000\n0/1 worse"],
    ]
    lines = render_table(cells).splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
