"""How well recognition tells the people of a photo folder apart: strangers, and the persons of `--layout cluster`.

    ganfit reconstruct PHOTOS OUT --layout cluster --models open --limit 1 --fit.steps 0 --learn-texture never
    python -m benchmarks.bench_people --run OUT

The photos are called PERSON_*.jpg. Says what thresholds on the cosine cost on each half of the people (by the checksum
of their names), for strangers among a person's photos and for groups; then what the run itself made of all.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.bench_cluster import pairwise
from benchmarks.command_line import parser_of
from ops.face.clustering import cluster_faces, unit_rows
from pipeline.run.groups import FACES_FOLDER, read_faces, read_people
from pipeline.storage.store import open_storage


def main() -> None:
    """Print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cosines", type=float, nargs=3, default=(0.30, 0.98, 0.02), metavar=("FROM", "TO", "STEP"))
    options = parser.parse_args()
    people = read_people(open_storage(options.run))
    if people is None:
        raise SystemExit(f"{options.run}: expected a run with --layout cluster")
    # OUT/faces/FINGERPRINT-00000
    fingerprint = sorted((options.run / FACES_FOLDER).iterdir())[0].name.rpartition("-")[0]
    faces, _ = read_faces(open_storage(options.run), fingerprint)
    names = [Path(uri).name.partition("_")[0] for uri in people.column("uri").to_pylist()]
    keys = people.column("face_key").to_pylist()
    shown = [position for position, key in enumerate(keys) if faces[key] is not None]
    unit = unit_rows(np.stack([face for position in shown if (face := faces[keys[position]]) is not None]))
    owners = np.unique([names[position] for position in shown], return_inverse=True)[1]
    odd = np.array([hashlib.sha256(names[position].encode()).digest()[-1] % 2 == 1 for position in shown])
    print(f"{len(shown)} of {len(keys)} photos show a face, of {owners.max() + 1} people")
    cosines = np.arange(*options.cosines).tolist()
    for title, half in (("one half", ~odd), ("the other half", odd), ("all", odd | ~odd)):
        print(f"\n{title}: {half.sum()} faces")
        print("\n".join(table(unit[half], owners[half], cosines)))
    ids = np.unique(people.column("identity_id").to_pylist(), return_inverse=True)[1]
    everybody = np.unique(names, return_inverse=True)[1]
    for title, rows in (("of those that show a face", shown), ("of all photos", list(range(len(names))))):
        precision, recall = pairwise(ids[rows], everybody[rows])
        print(f"\nthe run's persons, {title}: precision {precision:.4f}, recall {recall:.4f}")


def table(unit: np.ndarray, owners: np.ndarray, cosines: Sequence[float]) -> list[str]:
    """What every threshold costs: pairs refused and accepted, and the groups that average linkage makes."""
    cosine = unit @ unit.T
    upper = np.triu(np.ones_like(cosine, bool), 1)
    same = owners[:, None] == owners[None]
    own, strange = cosine[upper & same], cosine[upper & ~same]
    lines = [
        f"own: {len(own)} pairs, median {np.median(own):.3f}, least {own.min():.3f}; "
        f"strangers: {len(strange)} pairs, median {np.median(strange):.3f}, most {strange.max():.3f}",
        f"{'cosine':>8}{'own refused':>14}{'strangers accepted':>20}{'precision':>12}{'recall':>9}",
    ]
    for value in cosines:
        precision, recall = pairwise(cluster_faces(unit, value), owners)
        lines.append(
            f"{value:>8.2f}{np.mean(own < value):>14.4f}{np.mean(strange >= value):>20.5f}"
            f"{precision:>12.4f}{recall:>9.4f}"
        )
    return lines


if __name__ == "__main__":
    main()
