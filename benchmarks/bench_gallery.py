"""How fast the gallery of a large run is written and opens: a made run, and headless Chromium.

    python -m benchmarks.bench_gallery --people 20000 --folder /tmp/gallery

The people are drawn, not fitted: tables, thumbnails and person files as a run writes them, every hundredth person with
a mesh of the built-in face world. --pictures FOLDER keeps screenshots.
"""

import shutil
import statistics
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.random import Generator

from benchmarks.browser import Browser, find_browser
from benchmarks.command_line import parser_of
from ops.face.morphable_model import MorphableModel
from ops.files.photo import encode_png
from ops.weights.bundle import load_shape, resolve_bundle
from pipeline.gallery.person_files import write_person
from pipeline.gallery.report import ReportContent, write_report
from pipeline.run.shards import ShardSummary, folder_of
from pipeline.run.summary import RunSummary, label_of, total
from pipeline.storage.store import open_storage
from pipeline.tables.schema import ModelSizes, identities_schema

SHARD_PEOPLE = 16
OUTCOMES = (("ok", ""),) * 46 + (("rejected", "no_face"),) * 2 + (("rejected", "low_score"), ("failed", "unreadable"))
SCORES = ("identity_similarity", "judge_similarity", "landmark_error")


def drawn_face(rng: Generator, side: int = 160) -> np.ndarray:
    """An oval with eyes and a mouth on a plain ground, RGBA."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    image = np.full((side, side, 4), 255, np.uint8)
    image[..., :3] = rng.integers(60, 220, 3)
    skin = np.array([225, 180, 150]) * rng.uniform(0.5, 1.05) + rng.normal(0, 8, 3)
    face = (x / rng.uniform(0.28, 0.36)) ** 2 + (y / rng.uniform(0.38, 0.46)) ** 2 < 1
    shade = (1 - 0.8 * np.abs(x + rng.uniform(-0.2, 0.2)))[..., None]
    image[..., :3] = np.where(face[..., None], np.clip(skin * shade, 0, 255), image[..., :3])
    for centre in (-0.13, 0.13):
        image[(x - centre) ** 2 + 3 * (y + 0.08) ** 2 < 0.002, :3] = (50, 40, 40)
    image[(x / 0.12) ** 2 + ((y - 0.22) / 0.025) ** 2 < 1, :3] = (150, 70, 70)
    return image


def make_run(folder: Path, people: int, shape: MorphableModel) -> list[ShardSummary]:
    """Write the shards of a run that never was."""
    rng = np.random.default_rng(0)
    faces = [encode_png(drawn_face(rng)) for _ in range(48)]
    texture = np.full((256, 256, 3), (205, 165, 140), np.uint8)
    texture[::16] = texture[:, ::16] = (150, 110, 95)
    sizes = ModelSizes(identity=1, expression=1, texture=1)
    shards: list[ShardSummary] = []
    for index in range(-(-people // SHARD_PEOPLE)):
        place = folder / folder_of(index)
        place.mkdir(parents=True)
        rows = []
        for number in range(index * SHARD_PEOPLE, min(people, (index + 1) * SHARD_PEOPLE)):
            rows.append(_make_person(place, number, rng, faces, shape if number % 100 == 0 else None, texture))
        pq.write_table(pa.Table.from_pylist(rows, identities_schema(sizes)), place / "identities.parquet")
        labels = [label_of(row["status"], row["reason"]) for row in rows]
        counts = {label: labels.count(label) for label in sorted(set(labels))}
        shards.append(
            ShardSummary(
                shard=index, fingerprint="made", items=len(rows), identities=counts, frames=counts, fit_seconds=10.0
            )
        )
    return shards


def _make_person(
    place: Path, number: int, rng: Generator, faces: list[bytes], shape: MorphableModel | None, texture: np.ndarray
) -> dict[str, Any]:
    status, reason = OUTCOMES[int(rng.integers(len(OUTCOMES)))] if number % 100 else ("ok", "")
    stem = f"person-{number:06d}"
    judge = float(np.clip(rng.normal(0.74, 0.08), 0, 1))
    scores = dict(zip(SCORES, (judge + 0.08, judge, float(rng.gamma(6, 0.005))), strict=True))
    empty = dict.fromkeys(SCORES)
    person: dict[str, Any] = {
        "identity_id": stem,
        "status": status,
        "reason": reason,
        "message": "" if status == "ok" else f"no usable image: 1 {status} {reason}",
        "n_images": 1,
        "n_ok": int(status == "ok"),
        "method": "made",
        "fingerprint": "made",
        **(scores if status == "ok" else empty),
    }
    face, render = faces[number % len(faces)], faces[(number + 1) % len(faces)]
    frame = person | {
        "image_id": f"{stem}-0",
        "uri": f"{stem}.jpg",
        "crop_png": None if status == "failed" else face,
        "render_png": render if status == "ok" else None,
        "shape_png": encode_png(np.full((160, 160, 3), 180, np.uint8)),
    }
    surface = None
    if shape is not None:
        identity = torch.from_numpy(rng.normal(0, 1, shape.identity_size)).float()
        surface = shape.vertices_mm(identity, torch.zeros(shape.expression_size)).numpy(), texture
    return person | {"page_path": write_person(place, stem, person, [frame], surface)}


def report_of(folder: Path, shards: list[ShardSummary], shape: MorphableModel) -> str:
    """Write the report of the made shards."""
    frames, identities = total(shards, "frames"), total(shards, "identities")
    items = sum(shard.items for shard in shards)
    summary = RunSummary(
        items=items, planned_items=items, identities=identities, frames=frames, new_frames_ok=0, seconds=0.0,
        fit_seconds=0.0, fit_workers=1,
    )  # fmt: skip
    content = ReportContent(summary=summary, shards=shards, record={"configuration": "made"}, superseded={})
    return write_report(open_storage(folder), content, lambda: shape)


IMAGES_DRAWN = """new Promise((done) => {
  const look = () => {
    const all = [...document.querySelectorAll('#cards img')];
    const seen = all.filter((i) => i.getBoundingClientRect().top < innerHeight);
    if (!seen.length || !seen.every((i) => i.complete)) setTimeout(look, 5);
    else requestAnimationFrame(() => done(performance.now()));
  };
  look();
})"""
ALL_DRAWN = """(async () => {
  document.querySelectorAll('#cards img').forEach((i) => { i.loading = 'eager'; });
  await Promise.all([...document.querySelectorAll('#cards img')].map((i) => i.decode().catch(() => 0)));
  return new Promise((done) => requestAnimationFrame(() => done(performance.now())));
})()"""


def measure(page: Path, pictures: Path | None, rounds: int) -> None:
    """Open the gallery some times and print how long things take, in the page's own clock."""
    program = find_browser()
    if program is None:
        raise SystemExit("no Chromium was found")
    first, complete, seen, turned, sorting, searching = [], [], [], [], [], []
    for _ in range(rounds):
        with Browser(program) as browser:
            browser.open(page.as_uri())
            browser.wait("window.ganfit && ganfit.state.loaded > 0")
            first.append(browser.run(IMAGES_DRAWN))
            browser.wait("ganfit.state.complete", 120)
            complete.append(browser.run("ganfit.state.completeAt ?? performance.now()"))
            for _ in range(5):
                turn = "(() => { const now = performance.now(); turnPage(7); return now; })()"
                start = browser.run(turn)
                seen.append(browser.run(IMAGES_DRAWN) - start)
                start = browser.run(turn)
                turned.append(browser.run(ALL_DRAWN) - start)
            select = "element('sort').value = 'judge_similarity'; element('search').value = "
            clock = "const t = performance.now(); refresh(); return performance.now() - t; })()"
            sorting.append(browser.run(f"(() => {{ {select} ''; {clock}"))
            searching.append(browser.run(f"(() => {{ {select} '777'; {clock}"))
            if browser.console:
                raise SystemExit(f"the page complains: {browser.console}")
    for name, values in (
        ("open, first page drawn", first),
        ("all data files read", complete),
        ("turn to a page of 100, those in view drawn", seen),
        ("turn to a page of 100, all its pictures decoded", turned),
        ("sort all by a score", sorting),
        ("search all", searching),
    ):
        print(f"{name:50}{statistics.median(values) / 1000:8.3f} s median{max(values) / 1000:8.3f} s slowest")
    if pictures:
        for dark in (False, True):
            with Browser(program, dark=dark) as browser:
                take_pictures(browser, page, pictures, "-dark" if dark else "")


def take_pictures(browser: Browser, page: Path, folder: Path, suffix: str = "") -> None:
    """Screenshots of the gallery, a person, the scores."""
    folder.mkdir(parents=True, exist_ok=True)
    browser.open(page.as_uri())
    browser.wait("window.ganfit && ganfit.state.complete", 120)
    browser.run(IMAGES_DRAWN)
    browser.picture(folder / f"people{suffix}.png")
    browser.run("document.querySelector('#cards a').click()")
    browser.wait("document.querySelector('#canvas').dataset.ready")
    browser.run(IMAGES_DRAWN.replace("#cards", "#frames"))
    browser.picture(folder / f"person{suffix}.png")
    browser.run("location.hash = '#/scores'")
    browser.wait("!!document.querySelector('#scores svg')")
    browser.picture(folder / f"scores{suffix}.png")


def main() -> None:
    """Run the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="keep the made run here, and use it if it is there")
    parser.add_argument("--pictures", type=Path, help="folder for screenshots")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gallery-") as scratch:
        run(options, (options.folder or Path(scratch)) / f"run-{options.people}")


def run(options: Namespace, folder: Path) -> None:
    """Make the run where it is not yet there, and measure its gallery."""
    if not (folder / "report" / "index.html").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        shape = load_shape(resolve_bundle("embedded").shape)
        shards = make_run(folder, options.people, shape)
        for name in ("write the report", "write it again, nothing new"):
            start = time.process_time()
            report_of(folder, shards, shape)
            print(f"{name:50}{time.process_time() - start:8.3f} CPU s")
    print(f"{options.people} people in {folder}")
    measure((folder / "report" / "index.html").resolve(), options.pictures, options.rounds)


if __name__ == "__main__":
    main()
