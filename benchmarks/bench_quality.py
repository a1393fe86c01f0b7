"""How well a bundle's quality ranges tell fits of photos from fits that understood them wrong.

    OMP_NUM_THREADS=1 python -m benchmarks.bench_quality --photos FOLDER --models ict --record FILE.jsonl --steps 80

FOLDER holds one folder per person. Every photo is fitted as it is, alone; of every second person one photo is also
spoilt and fitted, with everything that would have rejected it switched off:

    stranger   the landmarks are another person's, placed in the face's box
    shifted    the same, displaced by 0.15 to 0.35 boxes
    turned     the photo is turned by 180 degrees under its landmarks
    quarter    the same by 90 degrees
    blurred    by 0.08 to 0.15 boxes, the landmarks found on that
    covered    0.5 to 0.7 of the face behind a board, the landmarks found on that

Landmarks are found again on all crops first, then faces are fitted in an order that mixes people and kinds. What is
measured is appended to FILE; the same command continues there. Limits are estimated on the right fits of one half of
the people (by the checksum of their names), at the median and three times the distance from it to the 95th percentile,
and counted on the other half.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32

from benchmarks.command_line import parser_of
from benchmarks.photo_folders import photos_by_person
from ops.face.alignment import five_points
from ops.face.landmark_parts import outer_eye_distance
from ops.files.photo import Photo, decode_photo
from ops.fit import preset
from ops.reconstruction.alignment import AlignedCrop, align_face
from ops.reconstruction.detection import Candidate, DetectionConfig, DetectionNetworks, Rejection, find_faces
from ops.reconstruction.fitting import AlignedFace, fit_people, pack_faces
from ops.reconstruction.quality import QualityRange, QualityRanges, judge_quality
from ops.reconstruction.second_look import HOLDS, look_again
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition, resolve_bundle
from pipeline.stages.models import load_fit_models

KINDS = ("stranger", "shifted", "turned", "quarter", "blurred", "covered")
MEASURES = {"landmark_shift": max, "landmark_error": max, "judge_similarity": min}
"""Which values of a measure are the bad ones."""
BATCH = 4
SIDE_PX = preset("default").render_px
REACH = 3.0
"""Of a limit: how many times as far from the median as the 95th percentile."""


@dataclass(frozen=True)
class Case:
    """One photo, as it is or spoilt."""

    person: str
    photo: Path
    kind: str
    """`right`, or one of `KINDS`."""

    @property
    def name(self) -> str:
        """Unique."""
        return f"{self.person}/{self.photo.name}:{self.kind}"

    @property
    def order(self) -> str:
        """Mixes people and kinds."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def seed(self) -> int:
        """Of what is random in the case."""
        return int(self.order[:15], 16)

    @property
    def reported(self) -> bool:
        """Whether the person is of the half that the limits are not estimated on."""
        return hashlib.sha256(self.person.encode()).digest()[-1] % 2 == 1


class Look(NamedTuple):
    """What a fit would be given."""

    photo: Photo
    crop: AlignedCrop
    landmarks_px: Float32[np.ndarray, "68 2"]
    right_px: Float32[np.ndarray, "68 2"]
    """Those of the unspoilt photo."""


def main() -> None:
    """Measure what FILE lacks, and print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--models", default="ict")
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="iterations of the fits (default: the preset's; 0: no fits)")
    parser.add_argument("--photos-fitted", type=int, help="so many cases alone are fitted (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = resolve_bundle(options.models)
    known = read_record(options.record)
    cases = sorted(find_cases(options.photos), key=lambda case: case.order)
    measure(bundle, cases, options.record, known, options.steps, options.photos_fitted)
    print(report(bundle, list(known.values())))


def find_cases(folder: Path) -> Iterator[Case]:
    """Every photo as it is, and a spoilt one of every second person."""
    people = photos_by_person(folder)
    for rank, person in enumerate(sorted(people, key=lambda name: hashlib.sha256(name.encode()).hexdigest())):
        photos = people[person]
        yield from (Case(person, photo, "right") for photo in photos)
        if rank % 2 == 0 and photos:
            yield Case(person, photos[0], KINDS[rank // 2 % len(KINDS)])


def read_record(path: Path) -> dict[str, dict[str, Any]]:
    """What was measured, by the name of the case; the later line of a case completes the earlier one."""
    known: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(line)
        known[row["name"]] = known.get(row["name"], {}) | row
    return known


def measure(
    bundle: ModelBundle,
    cases: Sequence[Case],
    record: Path,
    known: dict[str, dict[str, Any]],
    steps: int | None,
    fitted: int | None,
) -> None:
    """Measure what is not known, and add it to `known` and the record."""
    networks = DetectionNetworks(
        load_detector(bundle.detector), load_landmarks(bundle.landmarks), load_recognition(bundle.recognition, ())
    )
    strangers = _strangers(cases)
    with record.open("a") as lines:

        def add(case: Case, values: dict[str, Any]) -> None:
            row = {"name": case.name, "kind": case.kind, "reported": case.reported} | values
            known[case.name] = known.get(case.name, {}) | row
            lines.write(json.dumps(row) + "\n")
            lines.flush()

        for case in cases:
            if case.name not in known:
                add(case, _shift(networks, case, strangers))
        config = preset("default")
        config = config if steps is None else replace(config, steps=steps)
        wanted = [case for case in cases if "landmark_shift" in known[case.name]][:fitted]
        waiting = [case for case in wanted if "landmark_error" not in known[case.name]] if config.steps else []
        models = load_fit_models(bundle, "cpu")
        for first in range(0, len(waiting), BATCH):
            batch = waiting[first : first + BATCH]
            faces = [_aligned(networks, case, strangers) for case in batch]
            started = time.process_time()
            fits = fit_people(models, pack_faces(faces, models.device), config)
            seconds = (time.process_time() - started) / len(batch)
            for case, fit in zip(batch, fits, strict=True):
                values = {name: getattr(fit, name) for name in ("landmark_error", "judge_similarity")}
                add(case, values | {"steps": config.steps, "cpu_s": seconds, "diverged": fit.diverged})


def _strangers(cases: Sequence[Case]) -> dict[str, Case]:
    """For every person a photo of another one."""
    first = {case.person: case for case in cases if case.kind == "right"}
    names = list(first)
    return {name: first[other] for name, other in zip(names, names[1:] + names[:1], strict=True)}


def _shift(networks: DetectionNetworks, case: Case, strangers: dict[str, Case]) -> dict[str, Any]:
    look = _look(networks, case, strangers)
    if isinstance(look, str):
        return {"rejected": look}
    second = look_again(networks.landmarks, look.crop, look.landmarks_px)
    values: dict[str, Any] = {"landmark_shift": second.shift, "off": _off(look, look.landmarks_px)}
    if np.isfinite(second.landmarks_px).all():
        crop = align_face(look.photo, second.landmarks_px, SIDE_PX)
        values["second_shift"] = look_again(networks.landmarks, crop, second.landmarks_px).shift
        values["second_off"] = _off(look, second.landmarks_px)
    return values


def _off(look: Look, landmarks_px: Float32[np.ndarray, "68 2"]) -> float:
    """The distance from the unspoilt photo's landmarks over the outer eye distance."""
    return float(np.linalg.norm(landmarks_px - look.right_px, axis=-1).mean()) / outer_eye_distance(look.right_px)


def _aligned(networks: DetectionNetworks, case: Case, strangers: dict[str, Case]) -> AlignedFace:
    look = _look(networks, case, strangers)
    if isinstance(look, str):
        raise RuntimeError(f"{case.name} could be looked at before: {look}")
    return AlignedFace(case.name, look.crop.image_rgba, look.crop.crop_from_image, look.landmarks_px)


def _look(networks: DetectionNetworks, case: Case, strangers: dict[str, Case]) -> Look | str:
    """What a fit would be given; or why there is nothing to give."""
    photo = decode_photo(case.photo.read_bytes())
    face = _face(networks, photo)
    if isinstance(face, str):
        return face
    landmarks = face.landmarks_px
    if case.kind in ("stranger", "shifted"):
        other = _face(networks, decode_photo(strangers[case.person].photo.read_bytes()))
        if isinstance(other, str):
            return f"stranger: {other}"
        landmarks = _strange_landmarks(case, face, other)
    elif case.kind != "right":
        photo, landmarks = _spoilt(networks, case, photo, face)
    if not np.isfinite(landmarks).all():
        return "bad_landmarks"
    return Look(photo, align_face(photo, landmarks, SIDE_PX), landmarks, face.landmarks_px)


def _face(networks: DetectionNetworks, photo: Photo) -> Candidate | str:
    found = find_faces(networks, photo, DetectionConfig())
    return found.reason if isinstance(found, Rejection) else found[0]


def _strange_landmarks(case: Case, face: Candidate, other: Candidate) -> Float32[np.ndarray, "68 2"]:
    """Another face's landmarks, moved and scaled with the box, and displaced where the case says so."""
    (centre, side), (other_centre, other_side) = _square(face), _square(other)
    landmarks = (other.landmarks_px.astype(np.float64) - other_centre) * side / other_side + centre
    if case.kind == "shifted":
        rng = np.random.default_rng(case.seed)
        angle = rng.uniform(0, 2 * np.pi)
        landmarks += rng.uniform(0.15, 0.35) * side * np.array((np.cos(angle), np.sin(angle)))
    return landmarks.astype(np.float32)


def _spoilt(
    networks: DetectionNetworks, case: Case, photo: Photo, face: Candidate
) -> tuple[Photo, Float32[np.ndarray, "68 2"]]:
    """The photo turned under its landmarks; or blurred or covered, with the landmarks found on that."""
    rng = np.random.default_rng(case.seed)
    image = photo.image_rgb
    centre, side = _square(face)
    if case.kind in ("turned", "quarter"):
        turn = cv2.getRotationMatrix2D(centre.tolist(), 180 if case.kind == "turned" else 90, 1.0)
        turned = cv2.warpAffine(image, turn, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REPLICATE)
        return photo._replace(image_rgb=turned), face.landmarks_px
    if case.kind == "blurred":
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.08, 0.15) * side)
    else:
        image = _covered(image, face.box_xyxy_px.astype(np.float64), rng)
    points = five_points(torch.from_numpy(face.landmarks_px.astype(np.float64))).float().numpy()
    landmarks = networks.landmarks(np.ascontiguousarray(image), face.box_xyxy_px[None], points[None])[0]
    return photo._replace(image_rgb=image), landmarks


def _square(face: Candidate) -> tuple[Float[np.ndarray, "2"], float]:
    """Centre and longer side of the box."""
    box = face.box_xyxy_px.astype(np.float64)
    return (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())


def _covered(image: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A board of one colour over a side of the box."""
    left, top, right, bottom = box
    share = rng.uniform(0.5, 0.7)
    width, height = right - left, bottom - top
    boards = (
        (left, top, left + share * width, bottom),
        (right - share * width, top, right, bottom),
        (left, top, right, top + share * height),
        (left, bottom - share * height, right, bottom),
    )
    x0, y0, x1, y1 = (round(max(0.0, value)) for value in boards[int(rng.integers(4))])
    result = image.copy()
    result[y0:y1, x0:x1] = rng.integers(0, 256, 3).astype(np.uint8)
    return result


def report(bundle: ModelBundle, rows: Sequence[dict[str, Any]]) -> str:
    """The ranges, and what they and the bundle's own catch."""
    rejected = [row for row in rows if "rejected" in row]
    rows = [row for row in rows if "rejected" not in row]
    right = [row for row in rows if row["kind"] == "right"]
    ranges = estimate_ranges([row for row in right if not row["reported"]])
    lost = sum(row["kind"] == "right" for row in rejected)
    lines = [
        f"bundle {bundle.name}: {len(right)} right, {len(rows) - len(right)} wrong; "
        f"without landmarks: {lost} right, {len(rejected) - lost} wrong"
    ]
    fitted = [row for row in rows if "landmark_error" in row]
    if fitted:
        cpu_s = float(np.mean([row["cpu_s"] for row in fitted]))
        lines.append(f"{len(fitted)} fitted, {fitted[0]['steps']} iterations, {cpu_s:.1f} CPU s each")
    for name, each in vars(ranges).items():
        if each is not None:
            lines.append(f"{name}: [{each.limit:.3f}, {each.typical:.3f}]")
    held = [row for row in rows if row["reported"]]
    lines.append("estimated on one half, counted on the other:")
    lines += [*_table(ranges, held), "where fitted:", *_table(ranges, [row for row in held if "landmark_error" in row])]
    if bundle.quality:
        lines += ["the bundle's own, on all:", *_table(bundle.quality, rows)]
        lines += ["where fitted:", *_table(bundle.quality, [row for row in rows if "landmark_error" in row])]
    return "\n".join(lines)


def estimate_ranges(right: Sequence[dict[str, Any]]) -> QualityRanges:
    """The ranges of right fits."""
    found: dict[str, QualityRange] = {}
    for name, worse in MEASURES.items():
        values = np.array([row[name] for row in right if row.get(name) is not None])
        if len(values) < 2:
            continue
        typical, end = np.median(values), np.percentile(values, 95 if worse is max else 5)
        found[name] = QualityRange(limit=float(typical + REACH * (end - typical)), typical=float(typical))
    return QualityRanges(**found)


def _table(ranges: QualityRanges, rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """How many of the right and of every kind of wrong are beyond the limit of each measure, and of any.

    Of those beyond that of the shift, how many a second attempt mends, and the median distance of the landmarks that it
    finds from the unspoilt photo's, over the outer eye distance.
    """
    names = [name for name, each in vars(ranges).items() if each is not None]
    yield f"{'':10}{'cases':>6}{'any':>6}" + "".join(f"{name:>18}" for name in names) + f"{'mended':>10}{'off':>8}"
    groups = {kind: [row for row in rows if row["kind"] == kind] for kind in ("right", *KINDS)}
    groups["all wrong"] = [row for row in rows if row["kind"] != "right"]
    for label, group in groups.items():
        alone = [_refused(replace(QualityRanges(), **{name: getattr(ranges, name)}), group) for name in names]
        mended = [row["second_off"] for row in group if _is_mended(ranges, row)]
        off = f"{np.median(mended):>8.3f}" if mended else f"{'':8}"
        counts = "".join(f"{count:>18}" for count in alone)
        yield f"{label:10}{len(group):>6}{_refused(ranges, group):>6}{counts}{len(mended):>10}{off}"


def _is_mended(ranges: QualityRanges, row: dict[str, Any]) -> bool:
    """Whether a second attempt finds landmarks that hold, where the first ones do not."""
    within = ranges.landmark_shift
    if within is None or "second_shift" not in row or within.place(row["landmark_shift"]) >= 0:
        return False
    return within.place(row["second_shift"]) >= HOLDS


def _refused(ranges: QualityRanges, rows: Sequence[dict[str, Any]]) -> int:
    verdicts = [judge_quality({name: row.get(name) for name in MEASURES}, ranges) for row in rows]
    return sum(
        row.get("diverged", False) or (found is not None and found.value < 0)
        for row, found in zip(rows, verdicts, strict=True)
    )


if __name__ == "__main__":
    main()
