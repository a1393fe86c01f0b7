"""The ablation as runs: one reconstruction a variant, then one table, one picture and one page over all of them.

::

    OUT/full/  OUT/no-identity/  ...   an output of ganfit reconstruct each
    OUT/people.parquet                 one row per person and variant: what was measured
    OUT/table.txt  OUT/grid.png  OUT/index.html
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import torch

from evaluation.ablation import FULL, VARIANTS, Outcome, Outcomes, Variant, render_table, table_cells, variants_of
from evaluation.albedo_error import albedo_error, region_texels
from evaluation.contact_sheet import SheetRow, draw_contact_sheet
from evaluation.shape_error import neutral_face_error_mm
from ops.errors import ConfigurationError
from ops.face.morphable_model import MorphableModel
from ops.files.photo import encode_png
from ops.texture.pca import PcaTexture
from ops.weights.bundle import ModelBundle, ModelRef, load_shape, load_texture
from pipeline.cluster.session import ray_session
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.reader import Run, open_run
from pipeline.studies.truth import Truth, find_truth
from pipeline.tables.schema import Status

PEOPLE_FILE, TABLE_FILE, GRID_FILE, PAGE_FILE = "people.parquet", "table.txt", "grid.png", "index.html"
GRID_PEOPLE = 12
"""Rows of the picture; further people are in the tables alone."""
TRUTH_REGION = "face"
"""Where albedo and shape are compared with the truth."""
PCA_TEXTURE = ModelRef(kind="procedural-pca", path=None, sha256=None)
"""What takes the place of a texture generator."""
Say = Callable[[str], None]
pc: Any = pyarrow.compute
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222 } table { border-collapse: collapse }
td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }
td { white-space: pre-line } td:first-child { text-align: left }
"""


class Ablation(NamedTuple):
    """What a run measured."""

    results: Mapping[str, Outcomes]
    """By variant, then by person."""
    text: str
    """The table."""
    complete: bool
    """Whether every planned item of every variant is accounted for."""


def ablate(config: ReconstructConfig, bundle: ModelBundle, names: Sequence[str], say: Say) -> Ablation:
    """Run the variants that are not finished yet below `config.output`, and compare them after each.

    Args:
        config: the full run; every variant goes to a sub-folder of its output.
        bundle: verified models.
        names: of the variants to run; the full one always runs.
        say: receives the lines of progress.

    Raises:
        ConfigurationError: an unknown variant, or whatever `reconstruct` refuses.
    """
    root = Path(config.output)
    variants = choose_variants(names, bundle, say)
    shape = load_shape(bundle.shape)
    truth = find_truth(Path(config.input), shape)
    results: dict[str, Outcomes] = {}
    text, complete = "", True
    with ray_session(config.cluster):
        for number, variant in enumerate(variants, 1):
            say(f"{number}/{len(variants)} {variant.heading}")
            run = replace(config, output=root / variant.name, fit=variant.applied_to(config.fit))
            complete &= reconstruct(run, bundle_of(variant, bundle), say).complete
            results[variant.name] = outcomes_of(open_run(root / variant.name), shape, truth)
            text = _publish(root, results)
    return Ablation(results, text, complete)


def choose_variants(names: Sequence[str], bundle: ModelBundle, say: Say) -> list[Variant]:
    """The variants of these names and the full one; without the PCA texture where the bundle has no other.

    Raises:
        ConfigurationError: an unknown name.
    """
    known = [variant.name for variant in VARIANTS]
    if unknown := [name for name in names if name not in known]:
        raise ConfigurationError(f"expected variants out of {', '.join(known)}, got {', '.join(unknown)}")
    chosen = [variant for variant in VARIANTS if variant is FULL or variant.name in names]
    if any(variant.pca_texture for variant in chosen) and _has_pca_texture(bundle):
        say(f"the texture model of the bundle {bundle.name} is a PCA already: no variant pca-texture")
        return [variant for variant in chosen if not variant.pca_texture]
    return chosen


def _has_pca_texture(bundle: ModelBundle) -> bool:
    return isinstance(load_texture(bundle.texture, load_shape(bundle.shape)), PcaTexture)


def bundle_of(variant: Variant, bundle: ModelBundle) -> ModelBundle:
    """The models of a variant; a regressor goes with the texture model it was trained with."""
    return replace(bundle, texture=PCA_TEXTURE, regressor=None) if variant.pca_texture else bundle


def outcomes_of(run: Run, shape: MorphableModel, truth: Mapping[str, Truth]) -> dict[str, Outcome]:
    """Measures of everybody a run reconstructed."""
    outcomes: dict[str, Outcome] = {}
    losses = _mean_losses(run)
    people = [row for _, row in run.rows("identities") if row["status"] == Status.OK]
    texels = None
    if truth and people:
        texels = region_texels(shape, TRUTH_REGION, len(run.texture(people[0]["identity_id"])))
    for row in people:
        second, pixel = losses[row["identity_id"]]
        outcome = Outcome(
            identity_similarity=row["identity_similarity"],
            judge_similarity=row["judge_similarity"],
            second_similarity=None if second is None else 1 - second,
            landmark_error=row["landmark_error"],
            pixel_error=pixel,
        )
        known = truth.get(row["identity_id"])
        if known is not None:
            found = torch.tensor([row["identity"]], dtype=torch.float32)
            error = neutral_face_error_mm(shape, found, known.identity.unsqueeze(0), TRUTH_REGION)
            outcome = outcome._replace(shape_error_mm=error.item())
        if known is not None and known.texture is not None and texels is not None:
            rgb = torch.tensor(run.texture(row["identity_id"]))
            albedo = rgb.permute(2, 0, 1).unsqueeze(0).float() / 255
            error = albedo_error(albedo, known.texture.unsqueeze(0).float() / 255, texels)
            outcome = outcome._replace(texture_error=error.item())
        outcomes[row["identity_id"]] = outcome
    return outcomes


def _mean_losses(run: Run) -> dict[str, tuple[float | None, float | None]]:
    """Distance of the second render's identity and colour difference, means over every person's images."""
    columns = ["loss_identity_second", "loss_pixel"]
    table = run.table("frames", ["status", *columns])
    ok = table.filter(pc.equal(table["status"], Status.OK.value))
    means = ok.group_by("identity_id").aggregate([(name, "mean") for name in columns]).to_pylist()
    return {row["identity_id"]: (row[f"{columns[0]}_mean"], row[f"{columns[1]}_mean"]) for row in means}


def _publish(root: Path, results: Mapping[str, Outcomes]) -> str:
    """Write tables, picture and page; gives the table."""
    cells = table_cells(results)
    text = render_table(cells)
    rows = [
        {"variant": variant, "identity_id": person} | outcome._asdict()
        for variant, outcomes in results.items()
        for person, outcome in outcomes.items()
    ]
    columns = [("variant", pa.string()), ("identity_id", pa.string())]
    columns += [(name, pa.float64()) for name in Outcome._fields]
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), root / PEOPLE_FILE)
    (root / TABLE_FILE).write_text(text + "\n", encoding="utf-8")
    (root / GRID_FILE).write_bytes(encode_png(_grid(root, results)))
    (root / PAGE_FILE).write_text(_page(cells, results), encoding="utf-8")
    return text


def _grid(root: Path, results: Mapping[str, Outcomes]) -> np.ndarray:
    """The figure: two rows per person, the render over the photo and the albedo; a column per variant."""
    variants = variants_of(results)
    people = sorted(results[FULL.name])[:GRID_PEOPLE]
    runs = [open_run(root / variant.name) for variant in variants]
    rows: list[SheetRow] = []
    for person in people:
        found = [
            run.pictures(person) if person in results[variant.name] else None
            for variant, run in zip(variants, runs, strict=True)
        ]
        photo = next(pictures.input for pictures in found if pictures is not None)
        rows.append(SheetRow(person, False, (photo, *(pictures and pictures.render for pictures in found))))
        rows.append(SheetRow("", False, (None, *(pictures and pictures.texture for pictures in found))))
    return draw_contact_sheet(("input", *(variant.heading for variant in variants)), rows)


def _page(cells: Sequence[Sequence[str]], results: Mapping[str, Outcomes]) -> str:
    head, *body = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in cells)
    links = ", ".join(
        f'<a href="{variant.name}/report/index.html">{escape(variant.heading)}</a>' for variant in variants_of(results)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Ablation</title>'
        f"<style>{_STYLE}</style><h1>Ablation</h1><table><tr>{head}</tr>"
        + "".join(f"<tr>{row}</tr>" for row in body)
        + "</table><p>The full objective: mean ± deviation over people. A variant: its mean over the people whom both "
        "reconstructed, then, paired by person, what it changes ± the standard error of that, and for how many of them "
        "it is worse. Similarity is the cosine between photo and render, by the network that was optimised and by a "
        "judge that was not; other pose is that of photo and a render in a random pose and light, the same for all "
        "variants. Colours and albedo are mean absolute differences.</p>"
        f'<p>The runs: {links}</p><img src="{GRID_FILE}" alt="people and variants"></html>'
    )
