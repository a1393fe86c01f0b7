"""What the readings of the published objective give on photos of people: a table and a picture.

    OMP_NUM_THREADS=1 python -m benchmarks.bench_paper --photos FOLDER --models ict --output OUT [--readings A B]

The paper (Gecer et al. 2019) gives weights, Adam and its step size, and leaves open what its terms are measured in.
Every reading has the weights as published. FOLDER holds one folder per person; the first colour photo of each is fitted
alone. The hue is the median over the pixels that the face covers, of saturated ones alone, in degrees on the colour
circle, and is compared with the photo's.
"""

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

import ganfit
from benchmarks.command_line import parser_of
from benchmarks.photo_folders import photos_by_person
from ganfit.photos import Face, reconstruct_photos
from ops.face.signal import are_grey
from ops.files.photo import decode_photo
from ops.fit import FitConfig, preset

PAPER = preset("paper")
WHOLE = replace(PAPER, skin_mask=False)
BARE = replace(WHOLE, landmark_term="norm", pixel_range=1.0, composite=False)
READINGS: dict[str, FitConfig] = {
    "norm-1-stop": replace(BARE, early_stop_window=30),
    "norm-1": BARE,
    "squares-6": replace(WHOLE, composite=False),
    "squares-6-over": WHOLE,
    "squares-6-over-skin": PAPER,
    "squares-255-over": replace(WHOLE, pixel_range=255.0),
}
"""By the landmark term, what white is in the pixel term, whether recognition sees the render over the photo, and
whether only the skin inside the landmarks' hull is drawn and compared."""
LEAST_SATURATION = 40
"""Of 255: below it a hue means nothing."""


@dataclass(frozen=True)
class Outcome:
    """Of one photo."""

    person: str
    judge: float
    similarity: float
    landmark_error: float
    hue_off_deg: float
    iterations: int
    seconds: float


def main() -> None:
    """Fit photo by photo, reading by reading, and print a line per reading."""
    parser = parser_of(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--models", default="ict")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--readings", nargs="+", default=list(READINGS), choices=list(READINGS))
    parser.add_argument("--people", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = ganfit.load_bundle(options.models)
    options.output.mkdir(parents=True, exist_ok=True)
    chosen = list(colour_photos(options.photos))[: options.people]
    print(
        f"{'reading':20}{'photos':>7}{'judge':>8}{'least':>8}{'similarity':>12}"
        f"{'landmarks':>11}{'hue off':>9}{'worst':>7}"
    )
    for name in options.readings:
        found: list[Outcome] = []
        for photo in chosen:
            face = reconstruct_photos([photo], bundle, people=[photo.parent.name], config=READINGS[name])[0]
            if not face.ok:
                continue
            found.append(outcome(photo.parent.name, face))
            picture = np.concatenate((over(face), face.input_rgba[..., :3]), 1)
            cv2.imwrite(str(options.output / f"{name}_{photo.parent.name}.png"), picture[..., ::-1])
            with (options.output / "outcomes.jsonl").open("a") as file:
                file.write(json.dumps({"reading": name, **vars(found[-1])}) + "\n")
        print(summary(name, found), flush=True)


def colour_photos(folder: Path) -> Iterator[Path]:
    """The first photo with colours of every person."""
    for photos in photos_by_person(folder).values():
        for path in photos:
            image = torch.from_numpy(decode_photo(path.read_bytes()).image_rgb / 255).permute(2, 0, 1)
            if not are_grey(image.unsqueeze(0)).any():
                yield path
                break


def over(face: Face) -> UInt8[np.ndarray, "side side 3"]:
    """The render before the photo."""
    rendered, photo = face.render_rgba.astype(float), face.input_rgba.astype(float)
    alpha = rendered[..., 3:] / 255
    return (alpha * rendered[..., :3] + (1 - alpha) * photo[..., :3]).round().astype(np.uint8)


def outcome(person: str, face: Face) -> Outcome:
    """What is said of a photo."""
    mask = (face.render_rgba[..., 3] > 127) & (face.input_rgba[..., 3] > 127)
    apart = abs(hue_deg(over(face)[mask]) - hue_deg(face.input_rgba[..., :3][mask]))
    return Outcome(
        person,
        float(face.judge_similarity or np.nan),
        float(face.identity_similarity or np.nan),
        float(face.landmark_error or np.nan),
        min(apart, 360 - apart),
        face.iterations,
        face.fit_seconds,
    )


def hue_deg(pixels: UInt8[np.ndarray, "n 3"]) -> float:
    """The median hue of saturated pixels, turned so that red, where skin lies, is no border."""
    hsv = cv2.cvtColor(pixels[None], cv2.COLOR_RGB2HSV_FULL)[0].astype(float)
    hue = hsv[:, 0][hsv[:, 1] >= LEAST_SATURATION] * 360 / 256
    return float(np.median((hue + 180) % 360)) - 180 if len(hue) else float("nan")


def summary(name: str, found: list[Outcome]) -> str:
    """A line of the table."""

    def median(value: str) -> float:
        return statistics.median(getattr(one, value) for one in found)

    hues = [one.hue_off_deg for one in found]
    least = min(one.judge for one in found)
    return (
        f"{name:20}{len(found):>7}{median('judge'):>8.3f}{least:>8.3f}{median('similarity'):>12.3f}"
        f"{100 * median('landmark_error'):>10.1f}%{statistics.median(hues):>8.1f}°{max(hues):>6.1f}°"
    )


if __name__ == "__main__":
    main()
