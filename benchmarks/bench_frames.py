"""What it costs to choose a clip's frames, and what it brings where the truth is known.

    ganfit make-synthetic --layout micc --subjects 8 --seed 77 --output CLIPS
    OMP_NUM_THREADS=1 python -m benchmarks.bench_frames --clips CLIPS --models embedded --method landmarks
    OMP_NUM_THREADS=1 python -m benchmarks.bench_frames --clips FOLDER --models open --method none

The same clips are read, searched for faces and fitted with frames drawn uniformly and with the best ones: CPU seconds a
clip of decoding and detection, and, for clips of people of the face world, the distance of the fitted neutral face to
the true one with the difference clip by clip and its standard error. `landmarks` fits shape and pose to the landmarks.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch

from benchmarks.command_line import parser_of
from evaluation.shape_error import neutral_surface_error_mm
from ops.fit.config import FitConfig, preset
from ops.weights.bundle import ModelBundle, load_shape, resolve_bundle
from pipeline.input.planner import FrameChoice, PlanConfig, block_of, plan_shards
from pipeline.micc.synthetic import RECORD_FILE, TRUTH_DIR
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.graph import face_stages
from pipeline.stages.alignment import AlignFaces
from pipeline.stages.fitting import FitFaces
from pipeline.stages.models import model_sizes
from pipeline.stages.stage import run_stage
from pipeline.studies.truth import find_truth
from pipeline.tables.schema import Status

Fit = Literal["none", "landmarks", "fastganfit", "ganfit++", "ganfit"]
pc: Any = pyarrow.compute


class Prepared(NamedTuple):
    """Aligned crops of all clips, and CPU seconds a clip."""

    rows: pa.Table
    decoding_s: float
    detection_s: float


def main() -> None:
    """Print the seconds, then the distances."""
    parser = parser_of(__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="a folder of clips, or a synthetic MICC data set")
    parser.add_argument("--models", default="embedded", help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=5, help="of a clip that are fitted (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="use the first so many persons (default: all)")
    parser.add_argument("--preset", default="faceworld", help="of the fit (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="iterations of the fit (default: the preset's)")
    parser.add_argument("--method", choices=get_args(Fit), default="landmarks", help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = resolve_bundle(options.models)
    fit = preset(options.preset)
    fit = dataclasses.replace(fit, steps=options.steps or fit.steps)
    fit = dataclasses.replace(fit, steps=0) if options.method in ("none", "landmarks") else fit.by(options.method)
    errors: dict[str, Mapping[str, float]] = {}
    for choice in get_args(FrameChoice):
        plan = PlanConfig(frames=options.frames, frame_choice=choice, limit=options.limit)
        found = prepare(bundle, options.clips, plan, fit)
        clips = len(set(found.rows.column("item_id").to_pylist()))
        usable = pc.sum(pc.equal(found.rows.column("status"), Status.OK)).as_py()
        print(f"{choice}: {clips} clips, {usable} usable frames, CPU seconds a clip: ", end="")
        print(f"decoding {found.decoding_s:.2f}, detection {found.detection_s:.2f}", flush=True)
        if options.method != "none":
            errors[choice] = distances(bundle, options.clips, found.rows, fit)
    if errors:
        print(comparison(errors["uniform"], errors["best"]))


def prepare(bundle: ModelBundle, clips: Path, plan: PlanConfig, fit: FitConfig) -> Prepared:
    """Everything before the fit, in this process and the one that decodes."""
    synthetic = (clips / TRUTH_DIR / RECORD_FILE).is_file()
    config = ReconstructConfig(
        input=clips, output="unused", layout="micc" if synthetic else "videos", plan=plan, fit=fit
    )
    read, detect = face_stages(config, bundle)
    rows = block_of(plan_shards(config.listing().items, plan).rows())
    networks = detect.load()
    started = cpu_seconds()
    with read.load() as decoder:
        images = run_stage(read, decoder, rows)
    decoded = cpu_seconds()
    faces = run_stage(detect, networks, images)
    detected = cpu_seconds()
    aligned = run_stage(AlignFaces(side_px=fit.render_px), None, faces)
    return Prepared(aligned, (decoded - started) / len(rows), (detected - decoded) / len(rows))


def distances(bundle: ModelBundle, clips: Path, rows: pa.Table, fit: FitConfig) -> dict[str, float]:
    """Distance of the neutral face of every person to the true one, millimetres."""
    shape = load_shape(bundle.shape)
    truth = find_truth(clips, shape)
    stage = FitFaces(bundle=bundle, config=fit, sizes=model_sizes(bundle), device="cpu", batch_images=1)
    models = stage.load()
    errors: dict[str, float] = {}
    for person in dict.fromkeys(rows.column("identity_id").to_pylist()):
        fitted = run_stage(stage, models, rows.filter(pc.equal(rows.column("identity_id"), person)))
        good = [row for row in fitted.select(["status", "identity"]).to_pylist() if row["status"] == Status.OK]
        if good and person in truth:
            found = torch.tensor(good[0]["identity"]).unsqueeze(0)
            errors[person] = neutral_surface_error_mm(shape, found, truth[person].identity.unsqueeze(0)).item()
    return errors


def comparison(uniform: Mapping[str, float], best: Mapping[str, float]) -> str:
    """Means over the clips that both fitted, and of their differences."""
    names = sorted(set(uniform) & set(best))
    if not names:
        return "nothing is known of these people's true shape"
    pairs = np.array([(uniform[name], best[name]) for name in names])
    change = pairs[:, 1] - pairs[:, 0]
    error = change.std(ddof=1) / np.sqrt(len(change)) if len(change) > 1 else np.nan
    return (
        f"distance to the true surface, mm, {len(names)} clips: uniform {pairs[:, 0].mean():.3f}, best "
        f"{pairs[:, 1].mean():.3f}, difference {change.mean():+.3f} +- {error:.3f}"
    )


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
