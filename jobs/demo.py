"""Photograph people of the built-in face world, reconstruct them, and compare with the truth.

    python -m jobs.demo --output demo

needs no download: the people, the morphable model and the networks ship with this project. The same command again
keeps what is done.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ops.errors import GanfitError
from ops.faceworld.album import AlbumSettings
from ops.fit.config import default_preset
from ops.weights.bundle import resolve_bundle
from pipeline.config import ReconstructConfig
from pipeline.demonstration import ComparedPerson, compare_with_truth, make_input
from pipeline.planner import PlanConfig
from pipeline.reconstruction import reconstruct
from pipeline.summary import table_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for input, truth and results")
    parser.add_argument("--subjects", type=int, default=3, help="people to photograph")
    parser.add_argument("--photos", type=int, default=4, help="photos of each")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other people")
    parser.add_argument("--steps", type=int, help="iterations of the fit; fewer are quicker and worse")
    options = parser.parse_args(arguments)
    if options.subjects < 1 or options.photos < 1 or (options.steps or 1) < 1:
        parser.error("expected at least one subject, one photo and one step")
    try:
        return _run(options)
    except GanfitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: finished shards are kept, the same command continues from them", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    bundle = resolve_bundle("embedded")
    settings = AlbumSettings(people=options.subjects, photos=options.photos, seed=options.seed)
    name = f"{settings.people}-people-{settings.photos}-photos-seed-{settings.seed}"
    folder = options.output / (f"{name}-{options.steps}-steps" if options.steps else name)
    photos = make_input(bundle, folder, settings)
    print(f"{settings.photos} photos of each of {settings.people} synthetic people: {photos}", flush=True)
    results = folder / "results"
    fit = default_preset()
    config = ReconstructConfig(
        input=photos,
        output=results,
        layout="identity-folders",
        plan=PlanConfig(shard_size=settings.photos),
        fit=dataclasses.replace(fit, steps=options.steps or fit.steps),
    )
    summary = reconstruct(config, bundle, lambda line: print(line, flush=True))
    print("\n" + table_text(summary))
    print("\n" + _table(compare_with_truth(bundle, folder, results, settings)))
    print(f"\n{time.perf_counter() - started:.0f} s. Look at {results / 'report' / 'index.html'}")
    print(
        "Next, your own photos: python -m jobs.assets list, then\n"
        "  python -m jobs.reconstruct --input PHOTOS --output OUT --models ict"
    )
    return 0 if summary.complete else 1


def _table(people: Sequence[ComparedPerson]) -> str:
    lines = [f"{'':12}{'photos':>8}{'error to truth':>16}{'mean face':>11}{'similarity':>12}{'landmarks':>11}"]
    for person in people:
        start = f"{person.identity_id:12}{person.images:>8}"
        if person.error_mm is None:
            lines.append(f"{start}{'no reconstruction':>16}{person.mean_face_mm:>8.2f} mm")
        else:
            lines.append(
                f"{start}{person.error_mm:>13.2f} mm{person.mean_face_mm:>8.2f} mm"
                f"{person.identity_similarity:>12.2f}{100 * (person.landmark_error or 0):>9.1f} %"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
