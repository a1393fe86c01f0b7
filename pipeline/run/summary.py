"""What came of a run: every row counted, by status and reason, and how busy the workers were."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.run.shards import ShardSummary
from pipeline.tables.schema import Status

NO_JUDGE = (
    "the models have no judge: nothing but the optimised network says how alike faces are (judge_similarity is null)"
)


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """Totals over the current rows of an output, and the pace of the run that finished it."""

    items: int
    """Input files in committed shards, by the newest plan of every person."""
    planned_items: int
    """Input files in the newest plan of every person."""
    identities: Mapping[str, int]
    frames: Mapping[str, int]
    new_frames_ok: int
    """Faces fitted by this run."""
    seconds: float
    """Wall time of this run from the start of the workers."""
    fit_seconds: float
    """Fit time of this run, summed over the workers."""
    fit_workers: int
    judged: bool = True
    """Whether the bundle has a judge; without one the columns `judge_similarity` are null."""
    mixed: Mapping[str, str] = field(default_factory=dict)
    """Persons whose images mostly show different people, and how many faces that are; some of them."""
    doubtful: Mapping[str, str] = field(default_factory=dict)
    """Images whose reconstruction did not pass the quality gate, and why; some of them."""

    @property
    def complete(self) -> bool:
        """Whether every planned item is accounted for."""
        return self.items == self.planned_items

    @property
    def faces_per_minute(self) -> float:
        """Faces this run fitted per minute."""
        return 60 * self.new_frames_ok / self.seconds if self.seconds > 0 else 0.0

    @property
    def utilisation(self) -> float:
        """Fit time over the time the fit workers existed."""
        available = self.fit_workers * self.seconds
        return self.fit_seconds / available if available > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """As stored in run.json."""
        return asdict(self) | {"faces_per_minute": self.faces_per_minute, "utilisation": self.utilisation}


def label_of(status: str, reason: str) -> str:
    """How a status and its reason are counted and printed."""
    return f"{status} {reason}".strip()


def count_ok(counts: Mapping[str, int]) -> int:
    """Rows that are ok, with a remark or without."""
    return sum(count for label, count in counts.items() if label.split(" ")[0] == Status.OK)


def total(summaries: Iterable[ShardSummary], field: str) -> dict[str, int]:
    """The counts `identities` or `frames` of all shards together."""
    counts: Counter[str] = Counter()
    for summary in summaries:
        counts.update(getattr(summary, field))
    return dict(sorted(counts.items()))


def duration_text(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def table_text(summary: RunSummary) -> str:
    """The table printed at the end of a run."""
    lines = [
        f"{'':28}{'images':>10}{'identities':>12}",
        f"{'all':28}{sum(summary.frames.values()):>10}{sum(summary.identities.values()):>12}",
    ]
    order = {status: position for position, status in enumerate(Status)}
    labels = sorted({*summary.frames, *summary.identities}, key=lambda label: (order[Status(label.split()[0])], label))
    for label in labels:
        lines.append(f"{label:28}{summary.frames.get(label, 0):>10}{summary.identities.get(label, 0):>12}")
    lines.append("")
    lines.append(f"{summary.items} of {summary.planned_items} input files accounted for")
    if not summary.judged:
        lines.append(NO_JUDGE)
    if summary.new_frames_ok:
        lines.append(
            f"this run: {summary.new_frames_ok} faces in {summary.seconds:.0f} s, {summary.faces_per_minute:.2f} faces "
            f"per minute, {100 * summary.utilisation:.0f} % of {summary.fit_workers} fit workers' time spent fitting"
        )
    if summary.mixed:
        lines.append("")
        lines.append("not one person each, as it seems (if every file is a person of its own, use --layout mixed):")
        lines += [f"  {name}: {what}" for name, what in summary.mixed.items()]
    if summary.doubtful:
        lines.append("")
        lines.append("did not pass the quality gate (frames.parquet has all of them, in the column quality):")
        lines += [f"  {name}: {why}" for name, why in summary.doubtful.items()]
    return "\n".join(lines)
