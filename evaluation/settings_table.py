"""Reconstructions of known people beside the truth, setting by setting."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean
from typing import NamedTuple

from evaluation.micc import Setting


class Spread(NamedTuple):
    """A mean over subjects, with the deviation of the population."""

    mean: float
    deviation: float
    subjects: int


class ShapeError(NamedTuple):
    """How far a neutral face is from the true one, millimetres."""

    surface_mm: float
    """See `evaluation.shape_error.neutral_surface_error_mm`."""
    vertex_mm: float
    """See `evaluation.shape_error.neutral_face_error_mm`."""


class Case(NamedTuple):
    """One subject in one setting."""

    subject: str
    setting: Setting


class KnownShapes(NamedTuple):
    """Errors of every reconstruction that came about, and of the mean face for every subject."""

    reconstructed: Mapping[Case, ShapeError]
    mean_face: Mapping[str, ShapeError]


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and deviation; None of nothing."""
    if not values:
        return None
    mean = fmean(values)
    return Spread(mean, sqrt(fmean((value - mean) ** 2 for value in values)), len(values))


def by_setting(shapes: KnownShapes, field: str, *, mean_face: bool = False) -> dict[Setting, Spread | None]:
    """A field of `ShapeError` over the subjects reconstructed in each setting."""
    found: dict[Setting, Spread | None] = {}
    for setting in Setting:
        cases = [case for case in shapes.reconstructed if case.setting is setting]
        errors = [shapes.mean_face[case.subject] if mean_face else shapes.reconstructed[case] for case in cases]
        found[setting] = spread([getattr(error, field) for error in errors])
    return found


def settings_cells(shapes: KnownShapes, to_scans: Mapping[Setting, Spread | None], subjects: int) -> list[list[str]]:
    """A row per setting: distance to the scan, to the true surface, to the true vertices, and the mean face's."""
    columns = [
        ("to the scan", to_scans),
        ("true surface", by_setting(shapes, "surface_mm")),
        ("mean face's", by_setting(shapes, "surface_mm", mean_face=True)),
        ("true vertices", by_setting(shapes, "vertex_mm")),
        ("mean face's", by_setting(shapes, "vertex_mm", mean_face=True)),
    ]
    rows = [["", *(heading for heading, _ in columns), "subjects"]]
    for setting in Setting:
        surface = columns[1][1][setting]
        count = f"{surface.subjects if surface else 0} of {subjects}"
        rows.append([setting.value, *(_cell(values[setting]) for _, values in columns), count])
    return rows


def variant_cells(variants: Mapping[str, KnownShapes]) -> list[list[str]]:
    """A row per way of reconstructing, the mean face first; a column per setting: distance to the true surface."""
    rows = [["", *(setting.value for setting in Setting)]]
    last = list(variants.values())[-1]
    rows.append(["mean face", *(_cell(value) for value in by_setting(last, "surface_mm", mean_face=True).values())])
    for heading, shapes in variants.items():
        rows.append([heading, *(_cell(value) for value in by_setting(shapes, "surface_mm").values())])
    return rows


def render_cells(cells: Sequence[Sequence[str]]) -> str:
    """The cells in aligned columns."""
    widths = [max(map(len, column)) + 3 for column in zip(*cells, strict=True)]
    return "\n".join(
        row[0].ljust(widths[0]) + "".join(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in cells
    )


def _cell(value: Spread | None) -> str:
    return "no result" if value is None else f"{value.mean:.2f} ± {value.deviation:.2f}"
