"""Grouping faces by person at scale: time, memory, precision and recall on made embeddings.

Run as `python -m benchmarks.bench_cluster --faces 100000`. Persons have between one photo and twice the mean number;
photos of one have a mean cosine of 0.75, strangers one of 0 with a spread of 1 / sqrt(channels). Goals for 100,000
faces on one core: ten minutes and 2 GB.
"""

import resource
import time

import numpy as np

from benchmarks.command_line import parser_of
from ops.face.clustering import cluster_faces, unit_rows

SAME = 0.75
"""Mean cosine of two photos of a person."""


def made_faces(count: int, photos: int, channels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [face, channel] in random order, and the person of each."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 2 * photos, count)
    people = np.repeat(np.arange(count), sizes)[:count]
    people = people[rng.permutation(count)]
    directions = unit_rows(rng.standard_normal((int(people.max()) + 1, channels)).astype(np.float32))
    spread = np.float32(np.sqrt((1 / SAME - 1) / channels))
    return directions[people] + spread * rng.standard_normal((count, channels), dtype=np.float32), people


def pairwise(groups: np.ndarray, people: np.ndarray) -> tuple[float, float]:
    """Precision and recall over all pairs of faces."""

    def pairs(labels: np.ndarray) -> int:
        counts = np.unique(labels, return_counts=True)[1].astype(np.int64)
        return int((counts * (counts - 1) // 2).sum())

    both = pairs(groups.astype(np.int64) * (int(people.max()) + 1) + people)
    return both / max(pairs(groups), 1), both / max(pairs(people), 1)


def main() -> None:
    """Measure and print one line."""
    parser = parser_of(__doc__)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--photos", type=int, default=4, help="of a person, on average")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--min-similarity", type=float, default=0.48)
    options = parser.parse_args()
    faces, people = made_faces(options.faces, options.photos, options.channels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    groups = cluster_faces(faces, options.min_similarity)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    precision, recall = pairwise(groups, people)
    print(
        f"{options.faces} faces of {int(people.max()) + 1} people, {options.channels} channels: {cpu:.1f} CPU s, "
        f"{seconds:.1f} s, peak {peak / 1e6:.2f} GB ({before / 1e6:.2f} before); {int(groups.max()) + 1} groups, "
        f"precision {precision:.4f}, recall {recall:.4f}"
    )


if __name__ == "__main__":
    main()
