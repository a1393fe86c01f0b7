"""The benchmark's table: best scan a subject and setting, mean and deviation over subjects, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from evaluation.micc import SUBJECT_COUNT, Setting
from evaluation.protocols import DESCRIPTIONS, WEAKNESSES, Protocol


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One (subject, setting, scan) pair: a distance, or the reason there is none."""

    subject: str
    setting: Setting
    scan: str
    distance_mm: float | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A subject without a figure in one setting, and why."""

    subject: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SettingResult:
    """One cell of the table."""

    setting: Setting
    mean_mm: float | None
    std_mm: float | None
    """Population deviation over subjects."""
    count: int
    missing: tuple[Missing, ...]
    incomplete: tuple[Missing, ...]
    """Subjects measured although some of their scans gave no figure: their best is out of fewer."""


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """Figures printed in the literature, in the order of `Setting`."""

    method: str
    mean_std_mm: tuple[tuple[float, float], ...]


PUBLISHED = (
    PublishedRow(method="Tran et al. 2017", mean_std_mm=((1.93, 0.27), (2.02, 0.25), (1.86, 0.23))),
    PublishedRow(method="Booth et al. 2017", mean_std_mm=((1.82, 0.29), (1.85, 0.22), (1.63, 0.16))),
    PublishedRow(method="Genova et al. 2018", mean_std_mm=((1.50, 0.13), (1.50, 0.11), (1.48, 0.11))),
    PublishedRow(method="GANFIT 2019", mean_std_mm=((0.95, 0.107), (0.94, 0.106), (0.94, 0.106))),
)
"""Table 1 of the GANFIT paper, in its millimetres; the protocol behind each figure is its authors'."""


def summarise(measurements: Sequence[Measurement]) -> tuple[SettingResult, ...]:
    """Per setting: the smaller distance of a subject's scans, averaged over the subjects that have one."""
    return tuple(_summarise_setting(setting, measurements) for setting in Setting)


def _summarise_setting(setting: Setting, measurements: Sequence[Measurement]) -> SettingResult:
    subjects: dict[str, list[Measurement]] = {}
    for measurement in measurements:
        if measurement.setting is setting:
            subjects.setdefault(measurement.subject, []).append(measurement)
    best: list[float] = []
    missing: list[Missing] = []
    incomplete: list[Missing] = []
    for subject, pairs in sorted(subjects.items()):
        known = [pair.distance_mm for pair in pairs if pair.distance_mm is not None]
        lost = " / ".join(sorted({pair.reason for pair in pairs if pair.distance_mm is None}))
        if known:
            best.append(min(known))
        if lost:
            (incomplete if known else missing).append(Missing(subject=subject, reason=lost))
    mean = fmean(best) if best else None
    std = None if mean is None else sqrt(fmean((value - mean) ** 2 for value in best))
    return SettingResult(
        setting=setting, mean_mm=mean, std_mm=std, count=len(best), missing=tuple(missing), incomplete=tuple(incomplete)
    )


def render_table(
    method: str,
    protocol: Protocol,
    results: Sequence[SettingResult],
    *,
    subjects: int,
    remarks: Sequence[str] = (),
    synthetic: bool = False,
) -> str:
    """The table as text: this run, published figures marked as such, n, missing subjects, protocol and weaknesses.

    Published figures are left out where the data are `synthetic`: they are not for these people.
    """
    headings = [setting.value for setting in Setting]
    published = () if synthetic else PUBLISHED
    width = max([len(method), *(len(row.method) + len(" [published]") for row in published)]) + 2
    data = "Synthetic data in the layout of MICC Florence" if synthetic else "MICC Florence"
    lines = [f"{data}, protocol {protocol.value}, millimetres (mean ± deviation over subjects)", ""]
    lines.append("".ljust(width) + "".join(heading.rjust(21) for heading in headings))
    lines.append(method.ljust(width) + "".join(_cell(result).rjust(21) for result in results))
    counts = [f"n = {result.count} of {subjects}" for result in results]
    lines.append("".ljust(width) + "".join(count.rjust(21) for count in counts))
    for row in published:
        cells = "".join(f"{mean:.2f} ± {std:.3f}".rjust(21) for mean, std in row.mean_std_mm)
        lines.append(f"{row.method} [published]".ljust(width) + cells)
    lines += ["", *_missing_lines(results)]
    if synthetic:
        lines.append("Rendered people, not recorded ones: not comparable with figures for MICC Florence.")
    elif subjects != SUBJECT_COUNT:
        lines.append(f"{subjects} subjects here; the data set has {SUBJECT_COUNT}, and so have the published figures.")
    lines += [*remarks, "", f"Protocol {protocol.value}: {DESCRIPTIONS[protocol]}"]
    if published:
        lines.append("Published figures were measured by their authors' own code, not by this protocol as run here.")
    lines += ["Known weaknesses:", *(f"  - {weakness}" for weakness in WEAKNESSES[protocol])]
    return "\n".join(lines)


def _cell(result: SettingResult) -> str:
    if result.mean_mm is None or result.std_mm is None:
        return "no result"
    return f"{result.mean_mm:.3f} ± {result.std_mm:.3f}"


def _missing_lines(results: Sequence[SettingResult]) -> list[str]:
    places: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        for words, entries in (("missing", result.missing), ("one scan only", result.incomplete)):
            by_reason: dict[str, list[str]] = {}
            for entry in entries:
                by_reason.setdefault(entry.reason, []).append(entry.subject)
            for reason, names in by_reason.items():
                places.setdefault((words, reason, ", ".join(names)), []).append(result.setting.value)
    lines = [
        f"{words} in {'every setting' if len(settings) == len(results) else ', '.join(settings)}: {names} ({reason})"
        for (words, reason, names), settings in sorted(places.items())
    ]
    return lines or ["No subject and no scan is missing."]
