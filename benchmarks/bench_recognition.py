"""How well recognition networks tell people apart: two photos per person, in one folder per person.

    python -m benchmarks.bench_recognition --photos FOLDER --network open ict:recognition ict:judge

A network is a bundle and one of its roles, recognition or judge. All see the same crops, which detector and landmarks
of the bundle --models find. Accuracy is that of telling pairs of one person from pairs of two (each person's first
photo with the next person's second) by the cosine, at the threshold that is best for nine tenths of the people, on the
other tenth.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.command_line import parser_of
from benchmarks.photo_folders import photos_by_person
from ops.files.photo import decode_photo
from ops.networks.recognition import cosine_similarity
from ops.reconstruction.face_choice import face_crop
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition, resolve_bundle

FOLDS = 10
BATCH = 20


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--models", default="open", help="the bundle whose detector and landmarks are used")
    parser.add_argument("--network", nargs="+", default=["open"], metavar="BUNDLE[:ROLE]")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pairs = [photos[:2] for photos in photos_by_person(options.photos).values() if len(photos) >= 2]
    crops = cut_crops([path for photos in pairs for path in photos], resolve_bundle(options.models))
    both = [
        torch.stack((first, second))
        for first, second in zip(crops[::2], crops[1::2], strict=True)
        if first is not None and second is not None
    ]
    print(f"{len(both)} of {len(pairs)} people with a face in both photos")
    print(f"{'network':24}{'accuracy':>10}{'same':>8}{'least':>8}{'different':>11}{'most':>8}{'rank 1':>8}")
    for name in options.network:
        bundle, _, role = name.partition(":")
        network = load_recognition(getattr(resolve_bundle(bundle), role or "recognition"), ())
        with torch.no_grad():
            seen = torch.cat([network(part.flatten(0, 1)).embedding for part in torch.stack(both).split(BATCH)])
        print(f"{name:24}{_figures(seen.unflatten(0, (-1, 2)))}")


def cut_crops(photos: Sequence[Path], bundle: ModelBundle) -> list[Tensor | None]:
    """The largest face of each photo as recognition sees it, RGB in [0, 1]; None where there is no face."""
    detector, landmarks = load_detector(bundle.detector), load_landmarks(bundle.landmarks)
    crops: list[Tensor | None] = []
    for path in photos:
        image = decode_photo(path.read_bytes()).image_rgb
        found = detector(image)
        if not len(found.scores):
            crops.append(None)
            continue
        sides = found.boxes_xyxy_px[:, 2:] - found.boxes_xyxy_px[:, :2]
        best = slice(index := int((sides.prod(1) * found.scores).argmax()), index + 1)
        points = landmarks(image, found.boxes_xyxy_px[best], found.points_px[best])[0]
        if np.isfinite(points).all():
            crops.append(torch.from_numpy(face_crop(image, points)).permute(2, 0, 1).float() / 255)
        else:
            crops.append(None)
    return crops


def _figures(seen: Tensor) -> str:
    first, second = seen.unbind(1)
    cosine = cosine_similarity(*torch.broadcast_tensors(first[:, None], second[None]))
    count = len(cosine)
    same, strangers = cosine.diagonal(), cosine.diagonal(1)
    different = cosine[~torch.eye(count, dtype=torch.bool)]
    accuracy = _accuracy(same, torch.cat((strangers, cosine[-1:, 0])))
    rank_one = float((cosine.argmax(1) == torch.arange(count)).double().mean())
    return (
        f"{accuracy:>10.3f}{float(same.mean()):>8.3f}{float(same.min()):>8.3f}"
        f"{float(different.mean()):>11.3f}{float(different.max()):>8.3f}{rank_one:>8.3f}"
    )


def _accuracy(same: Tensor, different: Tensor) -> float:
    fold = torch.arange(len(same)) % FOLDS
    right = 0.0
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        thresholds = torch.cat((same[train], different[train]))
        hits = (same[train] >= thresholds[:, None]).sum(1) + (different[train] < thresholds[:, None]).sum(1)
        best = thresholds[hits.argmax()]
        right += float((same[test] >= best).sum() + (different[test] < best).sum())
    return right / (2 * len(same))


if __name__ == "__main__":
    main()
