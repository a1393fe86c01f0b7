"""Small faces in large pictures: a detector that sees a picture reduced to its input misses them, tiles show them."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from ops.networks.detector import Detections, FaceDetector, no_detections

TILE_PX = 640
"""Side of a tile; about the detectors' own input."""
SHARED_PX = 160
"""By how much neighbouring tiles overlap: a face up to this size lies whole in one of them."""
OVERLAP = 0.4
"""Of two boxes with a larger intersection over union, the one of lower score is dropped."""


def search_tiles(
    detector: FaceDetector, image_rgb: UInt8[np.ndarray, "height width 3"], min_score: float
) -> Detections:
    """The faces of a picture, searched in tiles: reduced to a quarter first, then to a half, then as it is.

    The search ends at the first size at which a face scores `min_score`; otherwise everything found is given. Costs
    about one call of the detector per 0.23 megapixels of the sizes searched.
    """
    found = [no_detections()]
    for factor in (4, 2, 1):
        if max(image_rgb.shape[:2]) < 2 * TILE_PX * factor / 2 and factor > 1:
            continue
        tiles = [_shifted(detector(tile), left, top, factor) for left, top, tile in _tiles(_reduced(image_rgb, factor))]
        found.append(_suppressed(_joined(tiles)))
        if len(found[-1].scores) and found[-1].scores[0] >= min_score:
            return found[-1]
    return _suppressed(_joined(found))


def _reduced(image_rgb: UInt8[np.ndarray, "height width 3"], factor: int) -> UInt8[np.ndarray, "rows columns 3"]:
    import cv2

    if factor == 1:
        return image_rgb
    size = (max(1, image_rgb.shape[1] // factor), max(1, image_rgb.shape[0] // factor))
    return np.asarray(cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA))


def _tiles(
    image_rgb: UInt8[np.ndarray, "height width 3"],
) -> Iterator[tuple[int, int, UInt8[np.ndarray, "rows columns 3"]]]:
    """Left edge, top edge and pixels of every tile; together they cover the picture."""
    height, width = image_rgb.shape[:2]
    for top in _starts(height):
        for left in _starts(width):
            yield left, top, np.ascontiguousarray(image_rgb[top : top + TILE_PX, left : left + TILE_PX])


def _starts(length: int) -> list[int]:
    """Where tiles begin on an axis, evenly spaced."""
    count = max(1, -(-(length - SHARED_PX) // (TILE_PX - SHARED_PX)))
    return [round(number * (length - TILE_PX) / (count - 1)) for number in range(count)] if count > 1 else [0]


def _shifted(found: Detections, left: int, top: int, factor: int) -> Detections:
    corner = np.array((left, top), np.float32)
    boxes = (found.boxes_xyxy_px + np.tile(corner, 2)) * factor
    return Detections(boxes.astype(np.float32), found.scores, ((found.points_px + corner) * factor).astype(np.float32))


def _joined(parts: list[Detections]) -> Detections:
    return Detections(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _suppressed(found: Detections) -> Detections:
    from ops.networks.embedded_detector import suppress

    return suppress(found, OVERLAP)
