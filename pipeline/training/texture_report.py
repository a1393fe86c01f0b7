"""OUT/report/index.html: a learned texture model to look at; opens from a disk and loads nothing from elsewhere.

::

    OUT/report/index.html
               modes.png            mean and modes
               people_00.png ...    held out: photo, fit before, fit with the learned texture
"""

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch
from jaxtyping import UInt8

from ops.errors import GanfitError
from ops.files.photo import encode_png
from ops.reconstruction.fitting import to_bytes
from ops.texture.pca import PcaTexture
from ops.weights.bundle import ModelBundle, load_shape, load_texture
from pipeline.run.reader import Run, open_run
from pipeline.storage.store import Storage
from pipeline.tables.schema import Status

REPORT = "report"
MODES_SHOWN = 8
PEOPLE_SHOWN = 24
pc: Any = pyarrow.compute

MEASURED = ("judge_similarity", "identity_similarity", "landmark_error", "loss_pixel")


class Change(NamedTuple):
    """A measure of the photos of people held out, medians."""

    before: float
    after: float
    better: int
    """Photos for which it is better with the learned texture."""
    photos: int


@dataclass(frozen=True, kw_only=True)
class LearningReport:
    """All that a report tells."""

    people: pa.Table
    """Rows of `pipeline.training.texture_people.MEASURES`."""
    rounds: Sequence[dict[str, Any]]
    before: Storage
    """The run of the first round."""
    after: Storage | None
    """The run of the people held out with the learned texture; None where there are none."""
    bundle: ModelBundle
    """With the learned texture."""


def write_learning_report(root: Storage, content: LearningReport) -> str:
    """Write the page and its pictures; returns where it is."""
    texture = load_texture(content.bundle.texture, load_shape(content.bundle.shape))
    assert isinstance(texture, PcaTexture)
    root.write(f"{REPORT}/modes.png", encode_png(draw_modes(texture)))
    sections = [_people_section(content), _rounds_section(content)]
    if content.after is not None:
        before, after = open_run(content.before, content.bundle), open_run(content.after, content.bundle)
        changes = compare_runs(before, after)
        sections.insert(0, _change_section(changes))
        sections.append(_picture_section(root, before, after))
    page = _PAGE.format(
        title=f"Texture learned from {content.rounds[-1]['people']} people",
        sections="\n".join(sections),
        sha256=content.bundle.texture.sha256,
    )
    root.write(f"{REPORT}/index.html", page.encode())
    return f"{root}/{REPORT}/index.html"


def compare_runs(before: Run, after: Run) -> dict[str, Change]:
    """Measures of the photos that both runs fitted; the second one's people decide."""
    values: list[dict[str, dict[str, Any]]] = []
    for run in (before, after):
        rows = run.table("frames", ["image_id", "status", *MEASURED]).to_pylist()
        values.append({row["image_id"]: row for row in rows if row["status"] == Status.OK})
    changes: dict[str, Change] = {}
    for name in MEASURED:
        pairs = [
            (values[0][image][name], row[name])
            for image, row in sorted(values[1].items())
            if image in values[0] and row[name] is not None and values[0][image][name] is not None
        ]
        if pairs:
            sign = 1 if name.endswith("similarity") else -1
            better = sum(sign * (second - first) > 0 for first, second in pairs)
            firsts, seconds = zip(*pairs, strict=True)
            changes[name] = Change(median(firsts), median(seconds), better, len(pairs))
    return changes


def draw_modes(texture: PcaTexture) -> UInt8[np.ndarray, "height width 3"]:
    """The mean, and every leading mode at two standard deviations to either side; one mode a column."""
    empty = torch.zeros_like(texture.mean)
    columns = [torch.cat((texture.mean, empty), 1)]
    for mode in texture.basis[:MODES_SHOWN]:
        columns.append(torch.cat((texture.mean - 2 * mode, texture.mean + 2 * mode), 1))
    return to_bytes(torch.cat(columns, 2))


def _change_section(changes: dict[str, Change]) -> str:
    rows = "".join(
        f"<tr><td>{name}</td><td>{change.before:.4f}</td><td>{change.after:.4f}</td>"
        f"<td>{change.better} of {change.photos}</td></tr>"
        for name, change in changes.items()
    )
    return (
        "<h2>People held out</h2><p>Never learned from, fitted alike with the texture model of before and with the "
        "learned one. Medians over photos.</p><table><tr><th></th><th>before</th><th>learned</th><th>better</th></tr>"
        f"{rows}</table>"
    )


def _people_section(content: LearningReport) -> str:
    people = content.people
    used = people.filter(people.column("used"))
    reasons = Counter(people.filter(pc.invert(people.column("used"))).column("reason").to_pylist())
    rows = "".join(
        f"<tr><td>{html.escape(reason)}</td><td>{count}</td></tr>" for reason, count in sorted(reasons.items())
    )
    lumas = [value for value in used.column("skin_luma").to_pylist() if value is not None]
    low, middle, high = np.quantile(lumas, (0.05, 0.5, 0.95)) if lumas else (0.0, 0.0, 0.0)
    grey = sum(bool(value) for value in used.column("grey").to_pylist())
    return (
        f"<h2>People</h2><p>{used.num_rows} of {people.num_rows} were learned from, {grey} of them from grey photos "
        f"alone. Luma of their skin as fitted: {low:.2f} (5 %), {middle:.2f} (median), {high:.2f} (95 %). Bright skin "
        "and bright light are the same picture, so this spread is narrower than that of the people.</p>"
        f"<table><tr><th>not learned from</th><th>people</th></tr>{rows}</table>"
        "<p>learning.parquet has a row per person.</p>"
    )


def _rounds_section(content: LearningReport) -> str:
    rows = "".join(
        f"<tr><td>{number}.{step}</td><td>{done['people']}</td><td>{done['left']:.4f}</td>"
        f"<td>{100 * done['trusted']:.1f} %</td></tr>"
        for number, one in enumerate(content.rounds, start=1)
        for step, done in enumerate(one["iterations"], start=1)
    )
    return (
        '<h2>Mean and modes</h2><p>Each mode at -2 and +2 standard deviations.</p><img src="modes.png">'
        "<h2>Rounds</h2><table><tr><th>round.iteration</th><th>people</th><th>luma left over</th><th>believed</th></tr>"
        f"{rows}</table>"
    )


def _picture_section(root: Storage, before: Run, after: Run) -> str:
    shown: list[str] = []
    for number, person in enumerate(after.people(["status"]).identity_id.tolist()[:PEOPLE_SHOWN]):
        try:
            first, second = before.pictures(person), after.pictures(person)
        except GanfitError:
            continue
        name = f"people_{number:02d}.png"
        strip = np.concatenate([first.input, first.render, second.render], 1)
        root.write(f"{REPORT}/{name}", encode_png(np.ascontiguousarray(strip)))
        shown.append(f'<figure><img src="{name}"><figcaption>{html.escape(person)}</figcaption></figure>')
    return f"<h2>Held out: photo, before, learned</h2>{''.join(shown)}"


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2em 1em .2em 0; text-align: left; }}
td + td {{ text-align: right; }} img {{ max-width: 100%; }} figure {{ margin: 0 0 1em; }}
</style>
<h1>{title}</h1>
{sections}
<p>texture.safetensors: sha256 {sha256}</p>
</html>
"""
