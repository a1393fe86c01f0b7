"""MediaPipe's face detectors (BlazeFace, Bazarevsky et al. 2019) for near faces and for faces up to five metres away.

Both look at the whole picture, the second also at overlapping parts of it, so that small faces of large pictures are
found. Anchors, decoding and weighted suppression are those of MediaPipe's face detection graphs.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from ops.networks.detector import Detections, no_detections
from ops.networks.lite import LiteNetwork

FULL_RANGE_FILE = "mediapipe_face_detection_full.tflite"
"""Lies beside the network of near faces."""
SHORT_SIDE_PX, FULL_SIDE_PX = 128, 192
"""Sides of the networks' square inputs."""
SHORT_STRIDES, FULL_STRIDES = ((8, 2), (16, 6)), ((4, 1),)
"""Strides of the anchor grids, and how many anchors each cell has."""
MIN_SCORE = 0.3
"""Detections below this are not reported; callers choose their own, stricter limit."""
OVERLAP = 0.3
"""Boxes of one view that share more of their joint area are one face: their mean, weighted by score."""
SAME_FACE = 0.5
"""Of boxes from different views that share more of the smaller one's area, the one of the best score is kept."""
MARGIN = 1.5
"""Side of the widest view in longer sides of the image, for faces that fill the picture."""
PART_PX = 448
"""Parts of the image are not made smaller than this; a face of 40 px is then 17 px of the network's input."""
PART_OVERLAP = 0.3
"""Of neighbouring parts, in their sides. Larger faces are found in the next larger parts."""
CUT = 0.02
"""A box that comes so near to the edge of a part within the image, in sides of the part, may be a cut face."""
MAX_ASPECT = 32
"""Images longer than this times their width hold no face."""
MOUTH_HALF = 0.414
"""Half the mouth's width in distances of the eyes, as in the ArcFace template."""


class _View(NamedTuple):
    """A square of the image that one network looks at; pixels of the image."""

    left: float
    top: float
    side: float


class _Anchored:
    """A network and the anchors of its outputs."""

    def __init__(self, path: Path, side_px: int, strides: tuple[tuple[int, int], ...]) -> None:
        self.side_px = side_px
        self.anchors = anchor_centres(side_px, strides)
        self.network = LiteNetwork(path, side_px, (16 * len(self.anchors), len(self.anchors)))

    def __call__(self, image_rgb: UInt8[np.ndarray, "height width 3"], view: _View) -> Detections:
        """The faces of one view."""
        scale = self.side_px / view.side
        # cv2 puts pixel centres at integers, we put them at +0.5.
        affine = np.array(
            ((scale, 0, (0.5 - view.left) * scale - 0.5), (0, scale, (0.5 - view.top) * scale - 0.5)), np.float64
        )
        part = cv2.warpAffine(image_rgb, affine, (self.side_px, self.side_px), flags=cv2.INTER_LINEAR)
        raw, logits = self.network(np.asarray(part).astype(np.float32) / 127.5 - 1)
        found = decode(raw.reshape(-1, 16), logits, self.anchors, self.side_px)
        boxes = found.boxes_xyxy_px / scale + np.tile(np.array((view.left, view.top), np.float32), 2)
        points = found.points_px / scale + np.array((view.left, view.top), np.float32)
        return Detections(boxes.astype(np.float32), found.scores, points.astype(np.float32))


class MediapipeDetector:
    """Implements `ops.networks.detector.FaceDetector`."""

    def __init__(self, short_range: Path, full_range: Path) -> None:
        self._short = _Anchored(short_range, SHORT_SIDE_PX, SHORT_STRIDES)
        self._full = _Anchored(full_range, FULL_SIDE_PX, FULL_STRIDES)

    def __call__(self, image_rgb: UInt8[np.ndarray, "height width 3"]) -> Detections:
        """The faces, best score first."""
        height, width = image_rgb.shape[:2]
        if min(height, width) * MAX_ASPECT < max(height, width):
            return no_detections()
        found: list[Detections] = []
        longest = float(max(height, width))
        reduced, zoom = _reduced(image_rgb, longest, 2.0 * FULL_SIDE_PX)
        for factor, network in ((MARGIN, self._short), (1.0, self._short), (1.0, self._full)):
            found.append(_enlarged(network(reduced, _centred(reduced.shape[1], reduced.shape[0], factor)), zoom))
        side = longest / 2
        while side >= PART_PX:
            reduced, zoom = _reduced(image_rgb, side, 2.0 * FULL_SIDE_PX)
            for view in _parts(reduced.shape[1], reduced.shape[0], side / zoom):
                kept = self._full(reduced, view)
                whole = ~_cut(kept.boxes_xyxy_px, view, reduced.shape[1], reduced.shape[0])
                found.append(_enlarged(Detections(*(field[whole] for field in kept)), zoom))
            side /= 2
        return _best(Detections(*(np.concatenate(fields) for fields in zip(*found, strict=True))))


def anchor_centres(side_px: int, strides: tuple[tuple[int, int], ...]) -> Float32[np.ndarray, "anchor 2"]:
    """Centres (x, y) of the anchors in sides of the input, row by row, the anchors of a cell together."""
    layers: list[Float32[np.ndarray, "anchor 2"]] = []
    for stride, count in strides:
        cells = (np.arange(side_px // stride, dtype=np.float32) + 0.5) * stride / side_px
        y, x = np.meshgrid(cells, cells, indexing="ij")
        layers.append(np.repeat(np.stack((x, y), -1).reshape(-1, 2), count, 0))
    return np.concatenate(layers)


def decode(
    raw: Float32[np.ndarray, "anchor 16"],
    logits: Float32[np.ndarray, " anchor"],
    anchors: Float32[np.ndarray, "anchor 2"],
    side_px: int,
) -> Detections:
    """Faces of one view in pixels of the network's input, after weighted suppression, best score first.

    `raw` holds centre and size of the box and six points, in pixels from the anchor.
    """
    scores = 1 / (1 + np.exp(-logits.astype(np.float64).clip(-100, 100)))
    chosen = np.flatnonzero(scores >= MIN_SCORE)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    placed = raw[chosen].reshape(-1, 8, 2).astype(np.float32)
    half = placed[:, 1] / 2
    placed = placed + (anchors[chosen] * side_px)[:, None]
    centre = placed[:, 0]
    boxes = np.concatenate((centre - half, centre + half), 1)
    return weighted_suppression(boxes, scores[chosen].astype(np.float32), placed[:, 2:])


def weighted_suppression(
    boxes: Float32[np.ndarray, "face 4"], scores: Float32[np.ndarray, " face"], points: Float32[np.ndarray, "face 6 2"]
) -> Detections:
    """Every group of overlapping boxes as its mean weighted by score, with the best score; input best score first."""
    merged: list[tuple[np.ndarray, float, np.ndarray]] = []
    rest = np.arange(len(scores))
    while len(rest):
        shared, joint = _areas(boxes[rest[0]], boxes[rest])
        group = shared > OVERLAP * joint
        group[0] = True
        members = rest[group]
        weight = scores[members] / scores[members].sum()
        merged.append((weight @ boxes[members], float(scores[rest[0]]), np.tensordot(weight, points[members], 1)))
        rest = rest[~group]
    if not merged:
        return no_detections()
    faces, best, places = (np.asarray(part, np.float32) for part in zip(*merged, strict=True))
    return Detections(faces, best, five_of_six(places))


def five_of_six(points: Float32[np.ndarray, "face 6 2"]) -> Float32[np.ndarray, "face 5 2"]:
    """Eyes, nose tip and mouth corners from eyes, nose tip, mouth centre and two ears.

    The corners lie on both sides of the mouth's centre, along the line of the eyes.
    """
    along = (points[:, 1] - points[:, 0]) * np.float32(MOUTH_HALF)
    return np.stack((points[:, 0], points[:, 1], points[:, 2], points[:, 3] - along, points[:, 3] + along), 1)


def _reduced(
    image_rgb: UInt8[np.ndarray, "height width 3"], view_px: float, at_most_px: float
) -> tuple[UInt8[np.ndarray, "rows columns 3"], float]:
    """The image reduced by area averaging so that a view of it has at most so many pixels; and by how much."""
    zoom = view_px / at_most_px
    if zoom <= 1:
        return image_rgb, 1.0
    height, width = image_rgb.shape[:2]
    size = (max(1, round(width / zoom)), max(1, round(height / zoom)))
    return np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA)), max(height, width) / max(size)


def _enlarged(found: Detections, zoom: float) -> Detections:
    return Detections(found.boxes_xyxy_px * np.float32(zoom), found.scores, found.points_px * np.float32(zoom))


def _centred(width: int, height: int, factor: float) -> _View:
    side = max(width, height) * factor
    return _View((width - side) / 2, (height - side) / 2, side)


def _parts(width: int, height: int, side: float) -> Iterator[_View]:
    """Overlapping squares that cover an image, evenly spread."""
    for top in _starts(float(height), side):
        for left in _starts(float(width), side):
            yield _View(left, top, side)


def _starts(length: float, side: float) -> list[float]:
    if length <= side:
        return [(length - side) / 2]
    count = 1 + int(np.ceil((length - side) / (side * (1 - PART_OVERLAP))))
    return np.linspace(0, length - side, count).tolist()


def _cut(boxes: Float32[np.ndarray, "face 4"], view: _View, width: int, height: int) -> Bool[np.ndarray, " face"]:
    """Which boxes come near an edge of a part that is no edge of the image."""
    near = CUT * view.side
    low = np.array((view.left, view.top))
    high = low + view.side
    outside_low = (boxes[:, :2] < low + near) & (low > 0)
    outside_high = (boxes[:, 2:] > high - near) & (high < (width, height))
    return np.asarray((outside_low | outside_high).any(1))


def _best(found: Detections) -> Detections:
    """The faces of all views, each once."""
    rest = np.argsort(-found.scores, kind="stable")
    kept: list[int] = []
    while len(rest):
        kept.append(int(rest[0]))
        shared, _ = _areas(found.boxes_xyxy_px[rest[0]], found.boxes_xyxy_px[rest])
        sizes = np.clip(found.boxes_xyxy_px[rest, 2:] - found.boxes_xyxy_px[rest, :2], 0, None).prod(1)
        other = shared <= SAME_FACE * np.minimum(sizes, sizes[0])
        other[0] = False
        rest = rest[other]
    return Detections(*(field[kept] for field in found))


def _areas(
    box: Float32[np.ndarray, "4"], boxes: Float32[np.ndarray, "face 4"]
) -> tuple[Float[np.ndarray, " face"], Float[np.ndarray, " face"]]:
    """Shared and joint areas of one box and others."""
    shared = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(1)
    sizes = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)
    own = float(np.clip(box[2:] - box[:2], 0, None).prod())
    return shared, np.maximum(own + sizes - shared, 1e-9)


def load_mediapipe_detector(path: Path, device: str = "cpu") -> MediapipeDetector:
    """MediaPipe's detectors: near faces from `path`, far ones from `FULL_RANGE_FILE` beside it; on the CPU always.

    Raises:
        MissingModelFileError: one of the two files is not there.
        ModelFormatError: one is another network.
    """
    return MediapipeDetector(path, path.with_name(FULL_RANGE_FILE))
