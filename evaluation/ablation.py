"""The ablation of the objective (Gecer et al. 2019, figure 5): its variants, and how each person fares under them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from ops.fit.config import FitConfig


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One column of the figure."""

    name: str
    heading: str
    without: tuple[str, ...] = ()
    """Terms of the objective that get the weight 0."""
    pca_texture: bool = False
    """Whether a PCA takes the place of the texture generator."""

    def applied_to(self, config: FitConfig) -> FitConfig:
        """The fit without the variant's terms."""
        return replace(config, weights=replace(config.weights, **dict.fromkeys(self.without, 0.0)))


FULL = Variant(name="full", heading="full objective")
VARIANTS = (
    FULL,
    Variant(name="no-identity", heading="no identity", without=("identity",)),
    Variant(name="no-second-render", heading="no second render", without=("identity_second",)),
    Variant(name="no-content", heading="no content", without=("content",)),
    Variant(name="no-pixel", heading="no pixel", without=("pixel",)),
    Variant(name="no-recognition", heading="no recognition", without=("identity", "identity_second", "content")),
    Variant(name="pca-texture", heading="PCA texture", pca_texture=True),
)


class Outcome(NamedTuple):
    """How close one person's reconstruction is to the photos and to the truth; None for what is not known."""

    identity_similarity: float | None = None
    """Cosine between photo and render over it, by the network that was optimised."""
    judge_similarity: float | None = None
    """The same by a network that was not."""
    second_similarity: float | None = None
    """Cosine between photo and a render in another pose and light, by the network that was optimised."""
    landmark_error: float | None = None
    """Over the outer eye distance."""
    pixel_error: float | None = None
    """Mean absolute colour difference between photo and render over the skin, colours in [0, 1]."""
    texture_error: float | None = None
    """Of the albedo, see `evaluation.albedo_error`."""
    shape_error_mm: float | None = None
    """Of the neutral face, see `evaluation.shape_error`."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A field of `Outcome` in a table."""

    name: str
    heading: str
    decimals: int
    factor: float = 1.0
    more_is_better: bool = False


MEASURES = (
    Measure(name="identity_similarity", heading="similarity", decimals=3, more_is_better=True),
    Measure(name="judge_similarity", heading="by the judge", decimals=3, more_is_better=True),
    Measure(name="second_similarity", heading="other pose", decimals=3, more_is_better=True),
    Measure(name="landmark_error", heading="landmarks, %", decimals=2, factor=100.0),
    Measure(name="pixel_error", heading="colours, %", decimals=2, factor=100.0),
    Measure(name="texture_error", heading="albedo, %", decimals=2, factor=100.0),
    Measure(name="shape_error_mm", heading="shape, mm", decimals=3),
)


class Comparison(NamedTuple):
    """A variant beside the full objective by one measure, over the people measured under both."""

    people: int
    mean: float
    deviation: float
    """Of the population."""
    difference: float
    """Mean over people of variant minus full."""
    difference_error: float | None
    """Standard error of that mean; None for a single person."""
    worse: int
    """People for whom the variant is worse than the full objective."""


Outcomes = Mapping[str, Outcome]
"""By person."""


def compare(full: Outcomes, variant: Outcomes, measure: Measure) -> Comparison | None:
    """Pair the people of a variant with themselves under the full objective; None where nobody was measured."""
    pairs: list[tuple[float, float]] = []
    for person, outcome in sorted(variant.items()):
        ours = getattr(outcome, measure.name)
        reference = getattr(full.get(person, Outcome()), measure.name)
        if ours is not None and reference is not None:
            pairs.append((ours, reference))
    if not pairs:
        return None
    values = [ours for ours, _ in pairs]
    differences = [ours - reference for ours, reference in pairs]
    mean = fmean(values)
    return Comparison(
        people=len(pairs),
        mean=mean,
        deviation=sqrt(fmean((value - mean) ** 2 for value in values)),
        difference=fmean(differences),
        difference_error=stdev(differences) / sqrt(len(differences)) if len(differences) > 1 else None,
        worse=sum(change < 0 if measure.more_is_better else change > 0 for change in differences),
    )


def table_cells(results: Mapping[str, Outcomes]) -> list[list[str]]:
    """The table as text, headings first, a row per variant; measures that nobody has are left out.

    The full objective has mean ± deviation over people, a variant three lines: its mean and, paired by person, what it
    changes ± the standard error of that, and how many people it is worse for.
    """
    full = results[FULL.name]
    measures = [measure for measure in MEASURES if compare(full, full, measure) is not None]
    rows = [["", *(measure.heading for measure in measures)]]
    for variant in variants_of(results):
        cells = [_cell(compare(full, results[variant.name], measure), measure, variant) for measure in measures]
        rows.append([variant.heading, *cells])
    return rows


def variants_of(results: Mapping[str, Outcomes]) -> list[Variant]:
    """The variants there are results of, in the order of the figure."""
    return [variant for variant in VARIANTS if variant.name in results]


def render_table(cells: Sequence[Sequence[str]]) -> str:
    """The cells in aligned columns; a cell of several lines stays one."""
    rows = [zip_longest(*(cell.split("\n") for cell in row), fillvalue="") for row in cells]
    lines = [line for row in rows for line in row]
    widths = [max(map(len, column)) + 3 for column in zip(*lines, strict=True)]
    return "\n".join(
        line[0].ljust(widths[0]) + "".join(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def _cell(found: Comparison | None, measure: Measure, variant: Variant) -> str:
    if found is None:
        return "none"
    digits, factor = measure.decimals, measure.factor
    mean = f"{factor * found.mean:.{digits}f}"
    if variant is FULL:
        return f"{mean} ± {factor * found.deviation:.{digits}f}"
    change = f"{factor * found.difference:+.{digits + 1}f}"
    if found.difference_error is not None:
        change += f" ± {factor * found.difference_error:.{digits + 1}f}"
    return f"{mean}\n{change}\n{found.worse}/{found.people} worse"
