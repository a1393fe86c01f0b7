"""A run on people of the face world, where the truth is known: data, benchmark, comparison and a page to look at.

::

    OUT/data                synthetic subjects in the layout of MICC Florence
    OUT/registered          OUT/reconstructions    OUT/evaluation-paper    as pipeline.micc.benchmark
    OUT/variants/NAME       reconstructions made in other ways, where asked for
    OUT/table.txt           OUT/index.html
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from evaluation.micc import Setting, find_subjects
from evaluation.protocols import Protocol
from evaluation.settings_table import (
    Case,
    KnownShapes,
    ShapeError,
    Spread,
    render_cells,
    settings_cells,
    variant_cells,
)
from evaluation.shape_error import neutral_face_error_mm, neutral_surface_error_mm
from evaluation.template import template_from_model
from ops.face.morphable_model import MorphableModel
from ops.fit.config import FitConfig, Method, faceworld_preset
from ops.weights.bundle import ModelBundle
from ops.weights.models import load_shape
from pipeline.cluster.progress import Show
from pipeline.cluster.session import ClusterConfig, local_cpus, ray_session
from pipeline.gallery.report import REPORT_FILE
from pipeline.input.planner import PlanConfig
from pipeline.micc.benchmark import EVALUATION, RECONSTRUCTIONS, MiccConfig, run_micc
from pipeline.micc.evaluation import Evaluation
from pipeline.micc.synthetic import SyntheticMiccSettings, read_truth, write_synthetic_micc
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.reader import open_run
from pipeline.tables.schema import Status

DATA, VARIANTS, TABLE_FILE, INDEX_FILE = "data", "variants", "table.txt", "index.html"
PROTOCOL = Protocol.PAPER
DEMO_METHOD: Method = "ganfit++"
DEMO_STEPS = 64
"""About a quarter of the preset's, from the regressor's answer."""
Say = Callable[[str], None]
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
pre { background: #f5f5f5; padding: 1rem; overflow: auto } img { max-width: 100% }
"""


def demo_fit(method: Method = DEMO_METHOD, steps: int = DEMO_STEPS) -> FitConfig:
    """The preset for the face world, for a method and a number of iterations.

    Raises:
        ConfigurationError: a method that optimises, without iterations.
    """
    return replace(faceworld_preset(), steps=steps).by(method)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """How much is shown, and where."""

    output: Path
    subjects: int = 3
    """At least so many; a folder that has more keeps them."""
    frames: int = 3
    """Drawn from every clip."""
    seed: int = 1
    """Another seed gives other people."""
    variants: bool = False
    """Reconstruct from landmarks alone and from one frame as well."""
    fit: FitConfig = field(default_factory=demo_fit)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)


class Demonstration(NamedTuple):
    """What came of it."""

    text: str
    """The tables."""
    page: Path
    gallery: Path
    """The report of the reconstructions."""
    complete: bool
    """Whether every clip is accounted for."""


class _Variant(NamedTuple):
    """A way of reconstructing."""

    name: str
    heading: str
    frames: int
    fit: FitConfig


class _Clip(NamedTuple):
    """A committed reconstruction."""

    identity: np.ndarray | None
    message: str
    sheet: Path


def demonstrate(config: DemoConfig, bundle: ModelBundle, say: Say, show: Show = lambda progress: None) -> Demonstration:
    """Do what is missing, compare with the truth, and write the tables and the page.

    `say` receives the lines of progress, `show` how far a reconstruction is, once a second, in another thread.

    Raises:
        OutputError: a folder that cannot be used or continued.
        StageFailure: something unexpected; what is finished stays.
    """
    shape = load_shape(bundle.shape)
    data, output = config.output / DATA, config.output
    say(f"0. film synthetic people and scan them: {data}")
    write_synthetic_micc(shape, data, config.subjects, SyntheticMiccSettings(seed=config.seed), local_cpus(), say)
    subjects = list(find_subjects(data))
    main = MiccConfig(
        data=data,
        output=output,
        fit=config.fit,
        plan=PlanConfig(frames=config.frames, shard_size=1),
        protocols=(PROTOCOL,),
        cluster=config.cluster,
    )
    finished = (output / TABLE_FILE).is_file()
    with nullcontext() if finished else ray_session(config.cluster):
        result = run_micc(main, bundle, template_from_model(shape), say, show)
        complete = result.summary.complete
        folders = {f"full fit, {_frames(config.frames)}": output / RECONSTRUCTIONS}
        for variant in _variants(config) if config.variants else ():
            folder = output / VARIANTS / variant.name
            say(f"\n{variant.heading}")
            settings = ReconstructConfig(
                input=data,
                output=folder,
                layout="micc",
                plan=replace(main.plan, frames=variant.frames),
                fit=variant.fit,
                cluster=config.cluster,
            )
            complete &= reconstruct(settings, bundle, say, show).complete
            folders = {variant.heading: folder, **folders}
    say("\n4. compare with the truth")
    truth = {subject: torch.from_numpy(read_truth(data, subject).identity) for subject in subjects}
    clips = {heading: _clips(folder) for heading, folder in folders.items()}
    shapes = compare_with_truth(shape, truth, clips)
    text = _tables(shapes, result.evaluations[PROTOCOL], len(subjects), config.fit)
    (output / TABLE_FILE).write_text(text + "\n")
    page = output / INDEX_FILE
    page.write_text(_page(output, text, list(shapes.values())[-1], list(clips.values())[-1]))
    return Demonstration(text, page, output / RECONSTRUCTIONS / REPORT_FILE, complete)


def _variants(config: DemoConfig) -> list[_Variant]:
    """In the order in which they come to stand above the full fit, from below."""
    found = [_Variant("one-frame", f"full fit, {_frames(1)}", 1, config.fit)] if config.frames > 1 else []
    landmarks = replace(config.fit, start="landmarks", steps=0, identity_prior="population")
    return [*found, _Variant("landmarks", f"landmarks alone, {_frames(config.frames)}", config.frames, landmarks)]


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _clips(output: Path) -> dict[Case, _Clip]:
    """The current reconstructions of an output."""
    found: dict[Case, _Clip] = {}
    for folder, row in open_run(output).rows("identities", ["status", "reason", "message", "identity"]):
        subject, setting = row["identity_id"].split("/")
        ok = row["status"] == Status.OK
        identity = np.asarray(row["identity"], np.float32) if ok else None
        message = "" if ok else f"{row['status']} {row['reason']}: {row['message']}"
        found[Case(subject, Setting(setting))] = _Clip(identity, message, output / folder / "contact_sheet.png")
    return found


def compare_with_truth(
    shape: MorphableModel, truth: Mapping[str, torch.Tensor], clips: Mapping[str, Mapping[Case, _Clip]]
) -> dict[str, KnownShapes]:
    """The errors of every way of reconstructing, by its heading."""
    mean_face = {
        subject: _shape_error(shape, torch.zeros_like(identity), identity) for subject, identity in truth.items()
    }
    compared: dict[str, KnownShapes] = {}
    for heading, found in clips.items():
        errors = {
            case: _shape_error(shape, torch.from_numpy(clip.identity), truth[case.subject])
            for case, clip in sorted(found.items(), key=lambda item: (item[0].subject, item[0].setting.value))
            if clip.identity is not None
        }
        compared[heading] = KnownShapes(errors, mean_face)
    return compared


def _shape_error(shape: MorphableModel, found: torch.Tensor, truth: torch.Tensor) -> ShapeError:
    pair = found.unsqueeze(0), truth.unsqueeze(0)
    return ShapeError(neutral_surface_error_mm(shape, *pair).item(), neutral_face_error_mm(shape, *pair).item())


def _tables(shapes: Mapping[str, KnownShapes], evaluation: Evaluation, subjects: int, fit: FitConfig) -> str:
    to_scans = {
        result.setting: None
        if result.mean_mm is None or result.std_mm is None
        else Spread(result.mean_mm, result.std_mm, result.count)
        for result in evaluation.results
    }
    *others, heading = shapes
    text = (
        f"Synthetic people, {heading}; millimetres, mean ± deviation over subjects\n\n"
        f"{render_cells(settings_cells(shapes[heading], to_scans, subjects))}\n\n"
        "to the scan: protocol paper, the better of two scans. true surface: the same distance to the true neutral\n"
        "face, within 95 mm of the nose tip.\n"
        "true vertices: mean distance after the best similarity.\n"
        f"full fit: {fit.method}, {fit.steps} iterations."
    )
    if others:
        text += f"\n\nDistance to the true surface\n\n{render_cells(variant_cells(shapes))}"
    return text


def _page(root: Path, text: str, shapes: KnownShapes, clips: Mapping[Case, _Clip]) -> str:
    """The tables and the contact sheet of every clip; the pictures are shown from where they are."""
    parts: list[str] = []
    for case in sorted(clips, key=lambda case: (case.subject, list(Setting).index(case.setting))):
        clip = clips[case]
        error = shapes.reconstructed.get(case)
        mean = shapes.mean_face[case.subject].surface_mm
        remark = clip.message if error is None else f"{error.surface_mm:.2f} mm from the true surface"
        source = clip.sheet.relative_to(root).as_posix()
        parts.append(
            f"<h2>{escape(case.subject)}, {escape(case.setting.value)}</h2>"
            f"<p>{escape(remark)} (mean face {mean:.2f} mm)</p>"
            f'<img loading="lazy" src="{source}" alt="contact sheet of {escape(case.subject)}">'
        )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Reconstructions of synthetic people</title>'
        f"<style>{_STYLE}</style><h1>Reconstructions of synthetic people</h1><pre>{escape(text)}</pre>"
        f'<p><a href="{EVALUATION.format(protocol=PROTOCOL.value)}/table.txt">Distances to the scans</a>, '
        f'<a href="{RECONSTRUCTIONS}/{REPORT_FILE}">gallery of the run</a>, meshes and textures in '
        f"<code>{RECONSTRUCTIONS}/shards</code>.</p>{''.join(parts)}</html>"
    )
