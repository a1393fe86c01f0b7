"""The embedded face detector: faces as the peaks of a centre map (Zhou et al. 2019), over an image pyramid."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from ops.networks.detector import Detections, no_detections
from ops.networks.embedded_blocks import ConvUnit, Residual, load_weights

ARCHITECTURE = "ganfit-embedded-detector-v1"
STRIDE = 8
ALIGNMENT = 32
"""Sides of the network's input are multiples of this."""
POINT_UNIT = 4.0
"""Points are predicted in this many strides."""
PYRAMID_PX = (160, 240, 480)
"""The longer side of the image at each level; every level finds faces of about 16 to 130 px."""
LARGEST_ZOOM = 1.5
"""Levels that would enlarge the image more than this are left out."""
MIN_SCORE = 0.3
OVERLAP = 0.4
"""Of two boxes with a larger intersection over union, the one of lower score is dropped."""
MAX_ASPECT = 32
"""Images longer than this times their width hold no face."""


class DetectorMaps(NamedTuple):
    """What the network says at every cell of its grid (stride 8)."""

    centre: Float[Tensor, "image height width"]
    """Logit of a face's centre lying here."""
    box: Float[Tensor, "image 4 height width"]
    """Logarithm of the distances to the left, top, right and bottom edge, in strides."""
    points: Float[Tensor, "image 10 height width"]
    """Offsets (x, y) of the five points, in `POINT_UNIT` strides."""


class CentreNetwork(nn.Module):
    """Five levels down to stride 32 and back to stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.to_8 = nn.Sequential(
            ConvUnit(3, 16, 2), ConvUnit(16, 24, 2), Residual(24), ConvUnit(24, 48, 2), Residual(48)
        )
        self.to_16 = nn.Sequential(ConvUnit(48, 96, 2), Residual(96))
        self.to_32 = nn.Sequential(ConvUnit(96, 128, 2), Residual(128))
        self.from_32, self.from_16 = nn.Conv2d(128, 96, 1), nn.Conv2d(96, 48, 1)
        self.merge_16, self.merge_8 = ConvUnit(96, 96), nn.Sequential(ConvUnit(48, 64), ConvUnit(64, 64))
        self.head = nn.Conv2d(64, 15, 1)

    def forward(self, images: Float[Tensor, "image 3 height width"]) -> DetectorMaps:
        """Maps of images that are RGB in [0, 1] with sides divisible by 32."""
        at_8 = self.to_8(2 * images - 1)
        at_16 = self.to_16(at_8)
        at_32 = self.to_32(at_16)
        at_16 = self.merge_16(at_16 + _doubled(self.from_32(at_32)))
        out = self.head(self.merge_8(at_8 + _doubled(self.from_16(at_16)))).float()
        return DetectorMaps(out[:, 0], out[:, 1:5], out[:, 5:])


def _doubled(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def decode_maps(maps: DetectorMaps, min_score: float = MIN_SCORE) -> Detections:
    """The local maxima of the first image's centre map as boxes and points in its pixels, best score first."""
    score = maps.centre[:1].sigmoid()
    peak = nn.functional.max_pool2d(score, 3, 1, 1)
    row, column = torch.nonzero((score[0] >= min_score) & (score[0] == peak[0]), as_tuple=True)
    chosen = score[0, row, column]
    order = chosen.argsort(descending=True, stable=True)
    row, column, chosen = row[order], column[order], chosen[order]
    centre = (torch.stack((column, row), 1) + 0.5) * STRIDE
    reach = maps.box[0, :, row, column].T.clamp(-4, 5).exp() * STRIDE
    boxes = torch.cat((centre - reach[:, :2], centre + reach[:, 2:]), 1)
    offsets = maps.points[0, :, row, column].T.unflatten(1, (5, 2)) * (STRIDE * POINT_UNIT)
    return Detections(boxes.numpy(), chosen.numpy(), (centre[:, None] + offsets).numpy())


def suppress(found: Detections, overlap: float = OVERLAP) -> Detections:
    """Greedy non-maximum suppression, best score first."""
    order = np.argsort(-found.scores, kind="stable")
    kept: list[int] = []
    for index in order:
        if all(
            intersection_over_union(found.boxes_xyxy_px[index], found.boxes_xyxy_px[other]) <= overlap for other in kept
        ):
            kept.append(int(index))
    return Detections(found.boxes_xyxy_px[kept], found.scores[kept], found.points_px[kept])


def intersection_over_union(a: Float32[np.ndarray, "4"], b: Float32[np.ndarray, "4"]) -> float:
    """Shared area over joint area of two boxes."""
    size = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = float(size.prod())
    joint = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared / joint if joint > 0 else 0.0


class EmbeddedDetector:
    """Implements `ops.networks.detector.FaceDetector`."""

    def __init__(self, network: CentreNetwork, device: str = "cpu") -> None:
        self._network = network.to(device)
        self._device = device

    def __call__(self, image_rgb: UInt8[np.ndarray, "height width 3"]) -> Detections:
        """The faces, best score first."""
        height, width = image_rgb.shape[:2]
        if min(height, width) * MAX_ASPECT < max(height, width):
            return no_detections()
        longest = max(height, width)
        sides = [side for side in PYRAMID_PX if side <= LARGEST_ZOOM * longest] or [PYRAMID_PX[0]]
        levels = [self._at_level(image_rgb, side / longest) for side in sides]
        merged = Detections(*(np.concatenate(parts) for parts in zip(*levels, strict=True)))
        return suppress(merged)

    def _at_level(self, image_rgb: UInt8[np.ndarray, "height width 3"], zoom: float) -> Detections:
        import cv2

        height, width = image_rgb.shape[:2]
        size = (max(round(width * zoom), 1), max(round(height * zoom), 1))
        resized = np.asarray(
            cv2.resize(image_rgb, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
        )
        padding = ((0, -size[1] % ALIGNMENT), (0, -size[0] % ALIGNMENT), (0, 0))
        padded = np.pad(resized, padding, mode="edge").transpose(2, 0, 1)
        with torch.no_grad():
            batch = torch.from_numpy(np.ascontiguousarray(padded)).to(self._device).unsqueeze(0).float() / 255
            maps = DetectorMaps(*(part.cpu() for part in self._network(batch)))
        found = decode_maps(maps)
        scale = np.array([width / size[0], height / size[1]], np.float32)
        inside = (found.boxes_xyxy_px[:, 0] < size[0]) & (found.boxes_xyxy_px[:, 1] < size[1])
        return Detections(
            found.boxes_xyxy_px[inside] * np.tile(scale, 2), found.scores[inside], found.points_px[inside] * scale
        )


def load_embedded_detector(path: Path, device: str = "cpu") -> EmbeddedDetector:
    """The embedded detector.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it holds something else.
    """
    network = CentreNetwork()
    load_weights(network, path, ARCHITECTURE)
    return EmbeddedDetector(network, device)
