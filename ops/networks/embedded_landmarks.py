"""The embedded landmark network: two stacked hourglasses over a 128 px crop (Newell et al. 2016), one map per point."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from ops.networks.embedded_blocks import ConvUnit, Residual, load_weights
from ops.networks.face_crop import MIRRORED_68

ARCHITECTURE = "ganfit-embedded-landmarks-v2"
CROP_PX, MAP_SIDE = 128, 32
CROP_SCALE = 1.20
"""Side of the crop relative to the longer side of the detected box."""
STEM_CHANNELS = 24
CHANNELS = 64
DEPTH = 4
STACKS = 2
POINTS = 68
BATCH = 16


class Hourglass(nn.Module):
    """Down to a sixteenth of the resolution and back, with a skip connection at every level."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.skip = ConvUnit(channels, channels)
        self.down = ConvUnit(channels, channels, 2)
        self.middle = Hourglass(channels, depth - 1) if depth > 1 else Residual(channels)
        self.up = ConvUnit(channels, channels)

    def forward(self, x: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image channel height width"]:
        """Same shape as the input; its sides must be divisible by 2 ** depth."""
        coarse = self.up(self.middle(self.down(x)))
        return self.skip(x) + nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")


class StackedHourglass(nn.Module):
    """Crop to one logit map a point from every stack, the last one last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvUnit(3, STEM_CHANNELS, 2), ConvUnit(STEM_CHANNELS, CHANNELS, 2), Residual(CHANNELS)
        )
        self.hourglasses = nn.ModuleList([Hourglass(CHANNELS, DEPTH) for _ in range(STACKS)])
        self.features = nn.ModuleList([ConvUnit(CHANNELS, CHANNELS) for _ in range(STACKS)])
        self.maps = nn.ModuleList([nn.Conv2d(CHANNELS, POINTS, 1) for _ in range(STACKS)])
        self.back = nn.ModuleList([nn.Conv2d(POINTS, CHANNELS, 1) for _ in range(STACKS - 1)])

    def forward(self, crops: Float[Tensor, "image 3 128 128"]) -> tuple[Float[Tensor, "image 68 32 32"], ...]:
        """Logit maps of crops that are RGB in [0, 1]."""
        x = self.stem(2 * crops - 1)
        outputs: list[Tensor] = []
        for index in range(STACKS):
            feature = self.features[index](self.hourglasses[index](x))
            maps = self.maps[index](feature)
            outputs.append(maps)
            if index + 1 < STACKS:
                x = x + feature + self.back[index](maps)
        return tuple(outputs)


def expected_points(maps: Float[Tensor, "image point side side"]) -> Float[Tensor, "image point 2"]:
    """The mean of each map's softmax, in crop units: [0, 1] over the crop, y down. Differentiable."""
    side = maps.shape[-1]
    centres = (torch.arange(side, dtype=maps.dtype, device=maps.device) + 0.5) / side
    chance = maps.flatten(2).softmax(-1).unflatten(-1, (side, side))
    return torch.stack(((chance.sum(-2) * centres).sum(-1), (chance.sum(-1) * centres).sum(-1)), -1)


def crop_from_box(
    box_xyxy_px: Float32[np.ndarray, "4"], roll: float, crop_px: int = CROP_PX, scale: float = CROP_SCALE
) -> Float32[np.ndarray, "2 3"]:
    """Image pixels to crop pixels: a square round the box, turned so that a face rolled by `roll` stands upright.

    `roll` is the angle in radians of the line from the eye at image left to the other, y down.
    """
    centre = (box_xyxy_px[:2] + box_xyxy_px[2:]) / 2
    side = float((box_xyxy_px[2:] - box_xyxy_px[:2]).max()) * scale
    cos, sin = np.cos(roll) * crop_px / side, np.sin(roll) * crop_px / side
    linear = np.array([[cos, sin], [-sin, cos]])
    return np.concatenate([linear, (crop_px / 2 - linear @ centre)[:, None]], 1).astype(np.float32)


def eye_roll(points_px: Float32[np.ndarray, "point 2"]) -> float:
    """Angle of the line through the first two of five points."""
    along = points_px[1] - points_px[0]
    return float(np.arctan2(along[1], along[0]))


def cut_crop(
    image_rgb: UInt8[np.ndarray, "height width 3"], crop_from_image: Float32[np.ndarray, "2 3"], crop_px: int = CROP_PX
) -> UInt8[np.ndarray, "side side 3"]:
    """Sample a crop; an image much finer than the crop is reduced by area averaging first."""
    import cv2

    image, matrix = image_rgb, crop_from_image.astype(np.float64)
    shrink = int(1 / max(float(np.hypot(*matrix[:, 0])), 1e-6))
    if shrink > 1:
        height, width = image.shape[:2]
        small = (max(width // shrink, 1), max(height // shrink, 1))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA))
        matrix[:, 0] *= width / small[0]
        matrix[:, 1] *= height / small[1]
    # cv2 puts pixel centres at whole numbers.
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    crop = cv2.warpAffine(image, matrix, (crop_px, crop_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop)


class EmbeddedLandmarks:
    """Implements `ops.networks.landmarks.LandmarkNetwork`."""

    def __init__(self, network: StackedHourglass, device: str = "cpu") -> None:
        self._network = network.to(device)
        self._device = device

    def __call__(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        boxes_xyxy_px: Float32[np.ndarray, "face 4"],
        points_px: Float32[np.ndarray, "face 5 2"],
    ) -> Float32[np.ndarray, "face 68 2"]:
        """Landmarks in pixels of the image."""
        found = np.zeros((len(boxes_xyxy_px), POINTS, 2), np.float32)
        for first in range(0, len(boxes_xyxy_px), BATCH):
            group = slice(first, first + BATCH)
            matrices = [
                crop_from_box(box, eye_roll(points))
                for box, points in zip(boxes_xyxy_px[group], points_px[group], strict=True)
            ]
            crops = np.stack([cut_crop(image_rgb, matrix) for matrix in matrices]).transpose(0, 3, 1, 2)
            with torch.no_grad():
                batch = torch.from_numpy(np.ascontiguousarray(crops)).to(self._device).float() / 255
                points = self._points(batch).cpu().numpy() * CROP_PX
            for index, (matrix, inside) in enumerate(zip(matrices, points, strict=True)):
                found[first + index] = (inside - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        return found

    def _points(self, crops: Float[Tensor, "image 3 128 128"]) -> Float[Tensor, "image 68 2"]:
        """The mean over the crops and their mirror images, in crop units."""
        plain, mirrored = expected_points(self._network(torch.cat((crops, crops.flip(-1))))[-1]).chunk(2)
        back = mirrored[:, MIRRORED_68] * mirrored.new_tensor((-1, 1)) + mirrored.new_tensor((1, 0))
        return (plain + back) / 2


def load_embedded_landmarks(path: Path, device: str = "cpu") -> EmbeddedLandmarks:
    """The embedded landmark network.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it holds something else.
    """
    network = StackedHourglass()
    load_weights(network, path, ARCHITECTURE)
    return EmbeddedLandmarks(network, device)
