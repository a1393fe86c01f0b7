"""The quality gate: what a run does with images whose reconstruction cannot be believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ops.reconstruction.fitting import FittedFace
from ops.reconstruction.quality import QualityRanges, judge_quality
from pipeline.tables.schema import Reason, Status

QualityPolicy = Literal["note", "reject"]


@dataclass(frozen=True, kw_only=True)
class QualityGate:
    """Measures of good reconstructions, and what becomes of images beyond them."""

    ranges: QualityRanges | None = None
    """None: nothing is known, and everything passes."""
    policy: QualityPolicy = "note"

    def fit_quality(self, fit: FittedFace) -> float | None:
        """How far a fit alone can be believed, whatever is known of its landmarks; None where nothing is known."""
        measures = {"landmark_error": fit.landmark_error, "judge_similarity": fit.judge_similarity}
        found = None if self.ranges is None else judge_quality(measures, self.ranges)
        return None if found is None else found.value

    def verdict(self, measures: Mapping[str, float | None], message: str) -> dict[str, Any]:
        """Changes to the columns of a row: `quality`, and what follows from a low one.

        Args:
            measures: by name; those that are not known yet may be absent.
            message: that of the row, which is kept.
        """
        found = None if self.ranges is None else judge_quality(measures, self.ranges)
        if found is None:
            return {}
        changes: dict[str, Any] = {"quality": found.value}
        if found.value < 0:
            changes["message"] = "; ".join(part for part in (message, found.message) if part)
            if self.policy == "reject":
                changes |= {"status": Status.REJECTED, "reason": Reason.LOW_QUALITY}
        return changes
