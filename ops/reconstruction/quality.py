"""How far a reconstruction can be believed: its measures against those of good ones, as one number.

Each measure is placed on a line with 1 at its median over good reconstructions and 0 where good ones end; the quality
is the lowest place of all, so one bad measure is enough. What is below 0 did not pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from ops.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class QualityRange:
    """Where a measure lies over good reconstructions; whichever of the two is larger is the better."""

    limit: float
    """Hardly any good one is beyond it."""
    typical: float
    """Their median."""

    def __post_init__(self) -> None:
        if self.limit == self.typical:
            raise ConfigurationError(f"expected a limit that differs from the typical value, got {self.limit} twice")

    def place(self, value: float) -> float:
        """1 for what is typical or better, 0 at the limit, negative beyond."""
        return min(1.0, (value - self.limit) / (self.typical - self.limit))


@dataclass(frozen=True, kw_only=True)
class QualityRanges:
    """The ranges of a bundle's networks; None for a measure that is not asked."""

    landmark_shift: QualityRange | None = None
    """See `ops.reconstruction.second_look`."""
    landmark_error: QualityRange | None = None
    """Mean distance of fitted to detected landmarks over the outer eye distance."""
    judge_similarity: QualityRange | None = None
    """Cosine between photo and render by the judge."""


def ranges_from_pairs(pairs: Mapping[str, Sequence[float]]) -> QualityRanges:
    """Ranges from pairs (limit, typical) by the name of the measure.

    Raises:
        ConfigurationError: another name, or no pair of different numbers.
    """
    names = [field.name for field in fields(QualityRanges)]
    for name, pair in pairs.items():
        if name not in names or len(pair) != 2:
            raise ConfigurationError(
                f"expected pairs [limit, typical] for some of {', '.join(names)}, got {name}: {pair}"
            )
    return QualityRanges(**{name: QualityRange(limit=pair[0], typical=pair[1]) for name, pair in pairs.items()})


class Quality(NamedTuple):
    """The quality of a reconstruction and what decided it."""

    value: float
    """At most 1; what is below 0 did not pass."""
    message: str
    """The measure that is furthest beyond its limit; empty where all are within."""


def judge_quality(measures: Mapping[str, float | None], ranges: QualityRanges) -> Quality | None:
    """The quality by the measures that are known and have a range; None where there are none."""
    worst: tuple[float, str, float, QualityRange] | None = None
    for field in fields(ranges):
        value, limits = measures.get(field.name), getattr(ranges, field.name)
        if value is not None and limits is not None and (worst is None or limits.place(value) < worst[0]):
            worst = (limits.place(value), field.name, value, limits)
    if worst is None:
        return None
    place, name, value, limits = worst
    bound = "at least" if limits.typical > limits.limit else "at most"
    return Quality(place, f"{name} {value:.3f}, expected {bound} {limits.limit:.3f}" if place < 0 else "")
