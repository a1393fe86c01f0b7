"""Whether a data set gives the same rows as a folder, tar, ZIP, Parquet and RecordIO, by the real command.

    python -m benchmarks.bench_containers --folder DIR

Makes portraits of people of the face world, two of each, writes them into the five containers in DIR, runs

    ganfit reconstruct CONTAINER OUT --models embedded --method fastganfit --learn-texture never --num-gpus 0

on each, and compares the tables row by row with those of the folder: every column but those that name the container
(ids of images, addresses) and the shard and seconds. A portrait in a hundred is cut short, and one is a lawn.
"""

import io
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.command_line import parser_of
from ops.faceworld import album
from ops.faceworld.shape import faceworld_model
from tests.pipeline.input.containers import write_parquet, write_records, write_tar, write_zip

PHOTOS = 2
NAMES_CONTAINER = {"image_id", "uri", "stem", "shard", "fit_seconds", "mesh_path", "texture_path", "page_path"}
"""Columns that may differ: they are made of the container's name, or tell of the run."""
COMMAND = ("--models", "embedded", "--method", "fastganfit", "--learn-texture", "never", "--num-gpus", "0")


def main() -> None:
    """Print a row a container."""
    parser = parser_of(__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=1000)
    options = parser.parse_args()
    pictures = make_pictures(options.folder / "album", options.photos)
    inputs = write_containers(options.folder / "inputs", pictures)
    expected: dict[str, pd.DataFrame] = {}
    print(f"{'container':10}{'rows':>6}{'ok':>6}{'people':>8}{'seconds':>9}{'CPU s':>8}  against the folder")
    for name, (path, words) in inputs.items():
        seconds, cpu_seconds = run(path, options.folder / "runs" / name, words)
        found = {table: read(options.folder / "runs" / name, table) for table in ("frames", "identities")}
        expected = expected or found
        said = "; ".join(f"{table}: {difference(found[table], expected[table])}" for table in found)
        frames = found["frames"]
        people = len(found["identities"])
        ok = np.count_nonzero(frames["status"] == "ok")
        print(f"{name:10}{len(frames):>6}{ok:>6}{people:>8}{seconds:>9.0f}{cpu_seconds:>8.0f}  {said}", flush=True)


def make_pictures(folder: Path, count: int) -> dict[str, bytes]:
    """`PERSON/NUMBER.jpg`: portraits, some of them damaged; made once."""
    album.TEXTURE_PX = 128
    settings = album.AlbumSettings(people=-(-count // PHOTOS), photos=PHOTOS, side_px=200, seed=11, yaw_deg=10.0)
    album.write_album(faceworld_model(), folder / "people", folder / "truth.safetensors", settings)
    paths = [
        folder / "people" / album.person_name(number // PHOTOS) / f"photo_{number % PHOTOS}.jpg"
        for number in range(count)
    ]
    found = {f"{number // PHOTOS}/{number:04d}.jpg": path.read_bytes() for number, path in enumerate(paths)}
    for number, name in enumerate(found):
        if number % 100 == 7:
            found[name] = found[name][: len(found[name]) // 3]
    lawn = io.BytesIO()
    Image.new("RGB", (200, 200), (90, 120, 90)).save(lawn, "JPEG")
    return found | {next(iter(found)): lawn.getvalue()}


def write_containers(folder: Path, pictures: dict[str, bytes]) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """The same pictures in every container: where, and what the command has to be told."""
    for name, data in pictures.items():
        path = folder / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    people = [int(name.partition("/")[0]) for name in pictures]
    numbered = dict(zip((name.rpartition("/")[2] for name in pictures), pictures.values(), strict=True))
    label = ("--identity-field", "label")
    return {
        "folder": (folder / "folder", ()),
        "tar": (write_tar(folder / "people.tar", pictures), ()),
        "zip": (write_zip(folder / "people.zip", pictures), ()),
        "parquet": (write_parquet(folder / "people.parquet", numbered, list(people)), label),
        "recordio": (write_records(folder / "train.rec", list(pictures.values()), list(map(float, people))), ()),
    }


def run(source: Path, output: Path, words: tuple[str, ...]) -> tuple[float, float]:
    """The command; returns its seconds and CPU seconds."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "jobs", "reconstruct", str(source), str(output), *COMMAND, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read(output: Path, table: str) -> pd.DataFrame:
    """A table of all shards, by person and, of frames, the number of the picture."""
    found = pd.concat((pd.read_parquet(path) for path in output.glob(f"shards/*/{table}.parquet")), ignore_index=True)
    if table == "identities":
        return found.set_index("identity_id").sort_index()
    return found.assign(number=place_in_person(found)).set_index(["identity_id", "number"]).sort_index()


def place_in_person(frames: pd.DataFrame) -> pd.Series:
    """Whether a row is of the first (0) or second picture of its person: by the numbers that end the addresses."""
    numbers = [int(re.findall(r"\d+", uri.removesuffix(".jpg"))[-1]) for uri in frames["uri"]]
    return frames.assign(number=numbers).sort_values("number").groupby("identity_id").cumcount()


def difference(found: pd.DataFrame, expected: pd.DataFrame) -> str:
    """How many rows and columns are compared and what differs, with the largest difference of numbers."""
    if not found.index.equals(expected.index) or list(found) != list(expected):
        return f"other rows or columns: {found.shape} and {expected.shape}"
    columns = [name for name in found if name not in NAMES_CONTAINER]
    differing = {name: worst for name in columns if (worst := _worst(_values(found, name), _values(expected, name)))}
    said = ", ".join(f"{name} by {worst:.1e}" for name, worst in differing.items())
    return f"{len(found)} rows, {len(columns)} columns, differing: {said or 'none'}"


def _values(table: pd.DataFrame, column: str) -> list[Any]:
    return table[column].to_numpy().tolist()


def _worst(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """The largest difference; infinite between values that are no numbers or missing in one."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
            worst = max(worst, float(np.abs(a.astype(float) - b.astype(float)).max(initial=0.0)))
        elif isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            return float("inf")
        elif not (a is b or a == b or (a != a and b != b)):
            numbers = isinstance(a, int | float) and isinstance(b, int | float)
            worst = max(worst, abs(a - b)) if numbers else float("inf")
    return worst


if __name__ == "__main__":
    main()
