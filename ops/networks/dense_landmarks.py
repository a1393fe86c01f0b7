"""Dense landmarks with a standard deviation each (Wood et al., ECCV 2022), by a small convolutional network.

A 128 px crop goes through a residual trunk down to 4 x 4 and back up to 16 x 16, where every point has a map; a point
is the mean of its map's softmax, so that it moves smoothly within the cells. Its deviation is regressed from the
coarsest features and the map's own spread.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from ops.errors import ConfigurationError, ModelFormatError
from ops.face.dense_points import DensePoints, DenseSight, outline_landmarks
from ops.face.landmark_parts import BROWS, CHIN, LEFT_EYE, RIGHT_EYE
from ops.face.morphable_model import MorphableModel
from ops.files.tensor_file import read_tensor_file
from ops.networks.embedded_blocks import CONTENT, ConvUnit, Residual, load_weights
from ops.networks.embedded_landmarks import crop_from_box, cut_crop, eye_roll

ARCHITECTURE = "ganfit-dense-landmarks-v1"
CROP_PX, MAP_SIDE = 128, 16
CROP_SCALE = 1.25
"""Side of the crop over the longer side of the upright box round all points."""
WIDTHS = (16, 32, 64, 128, 256)
"""Channels at 64, 32, 16, 8 and 4 px."""
MAP_CHANNELS = 64
LEAST_DEVIATION = 0.002
"""Of a point, in crop sides: a quarter of a pixel."""
FOREHEAD_SHARE = 0.25
"""How far above the brows dense points go, in distances from the chin to the eyes."""
BATCH = 16


class DenseOutput(NamedTuple):
    """What the network says of crops, in crop sides: [0, 1] over the crop, y down."""

    points: Float[Tensor, "image point 2"]
    deviations: Float[Tensor, "image point"]
    """Standard deviation of each coordinate."""


class DenseFaces(NamedTuple):
    """Dense landmarks of the faces of an image, in its pixels."""

    points_px: Float32[np.ndarray, "face point 2"]
    deviations_px: Float32[np.ndarray, "face point"]
    """Standard deviation of each coordinate."""


class DenseNetwork(nn.Module):
    """Crops to points; which vertices they are is kept with the weights."""

    vertices: Int64[Tensor, " point"]
    mirrored: Int64[Tensor, " point"]
    jaw: Int64[Tensor, "17 candidate"]

    def __init__(self, dense: DensePoints) -> None:
        super().__init__()
        for name, value in dense._asdict().items():
            self.register_buffer(name, value)
        count = len(dense.vertices)
        w64, w32, w16, w8, w4 = WIDTHS
        self.to_16 = nn.Sequential(
            ConvUnit(3, w64, 2), ConvUnit(w64, w32, 2), Residual(w32), ConvUnit(w32, w16, 2), Residual(w16)
        )
        self.to_8 = nn.Sequential(ConvUnit(w16, w8, 2), Residual(w8))
        self.to_4 = nn.Sequential(ConvUnit(w8, w4, 2), Residual(w4))
        self.lateral_8 = nn.Conv2d(w8, w8, 1)
        self.from_4 = nn.Conv2d(w4, w8, 1)
        self.lateral_16 = nn.Conv2d(w16, MAP_CHANNELS, 1)
        self.from_8 = nn.Conv2d(w8, MAP_CHANNELS, 1)
        self.merged = ConvUnit(MAP_CHANNELS, MAP_CHANNELS)
        self.maps = nn.Conv2d(MAP_CHANNELS, count, 1)
        self.spread = nn.Linear(w4, count)
        self.spread_of_map = nn.Parameter(torch.ones(count))

    def forward(self, crops: Float[Tensor, "image 3 128 128"]) -> DenseOutput:
        """Points and deviations of crops that are RGB in [0, 1]."""
        at_16 = self.to_16(2 * crops - 1)
        at_8 = self.to_8(at_16)
        at_4 = self.to_4(at_8)
        up_8 = torch.relu(self.lateral_8(at_8) + _doubled(self.from_4(at_4)))
        up_16 = torch.relu(self.lateral_16(at_16) + _doubled(self.from_8(up_8)))
        merged = self.merged(up_16)
        # In full precision: half a map's cell is eight pixels of a photo.
        with torch.autocast(crops.device.type, enabled=False):
            assert self.maps.bias is not None
            maps = self.maps.weight.flatten(1) @ merged.float().flatten(2) + self.maps.bias.unsqueeze(-1)
            moments = maps.softmax(-1) @ _place_moments(maps)
            points = moments[..., :2]
            variance = (moments[..., 2] - points.square().sum(-1)).clamp_min(1e-6)
            raw = self.spread(at_4.float().mean((2, 3))) + self.spread_of_map * (variance.log() + 4)
            deviations = LEAST_DEVIATION + 0.02 * nn.functional.softplus(raw)
        return DenseOutput(points, deviations)


def _place_moments(like: Tensor) -> Float[Tensor, "cell 3"]:
    """x, y and x^2 + y^2 of the centres of a map's cells, in crop sides."""
    centres = (torch.arange(MAP_SIDE, dtype=like.dtype, device=like.device) + 0.5) / MAP_SIDE
    y, x = (axis.flatten() for axis in torch.meshgrid(centres, centres, indexing="ij"))
    return torch.stack((x, y, x * x + y * y), -1)


def _doubled(maps: Float[Tensor, "image channel side side"]) -> Float[Tensor, "image channel twice twice"]:
    return nn.functional.interpolate(maps, scale_factor=2.0, mode="nearest")


def crop_about_points(
    points_px: Float[np.ndarray, "point 2"], turn: float = 0.0, scale: float = CROP_SCALE
) -> Float32[np.ndarray, "2 3"]:
    """Image pixels to crop pixels: a square round dense points, turned so that the eyes are level.

    `turn` in radians is added to the eyes' angle.
    """
    along = points_px[LEFT_EYE].mean(0) - points_px[RIGHT_EYE].mean(0)
    angle = float(np.arctan2(along[1], along[0])) + turn
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    level = points_px @ linear.T
    low, high = level.min(0), level.max(0)
    zoom = CROP_PX / (scale * max(float((high - low).max()), 1e-6))
    return np.concatenate((zoom * linear, (CROP_PX / 2 - zoom * (low + high) / 2)[:, None]), 1).astype(np.float32)


def crop_about_landmarks(landmarks_px: Float[np.ndarray, "68 2"]) -> Float32[np.ndarray, "2 3"]:
    """The same round 68 landmarks, which end at the brows: dense points go on up the forehead."""
    brows = landmarks_px[BROWS]
    eyes = (landmarks_px[RIGHT_EYE].mean(0) + landmarks_px[LEFT_EYE].mean(0)) / 2
    chin = landmarks_px[CHIN]
    forehead = brows + FOREHEAD_SHARE * (eyes - chin)
    return crop_about_points(np.concatenate((landmarks_px, forehead)))


class DenseLandmarks:
    """Dense landmarks of detected faces: found in the detector's box, then once more in a crop about themselves.

    Implements `ops.networks.landmarks.LandmarkNetwork`: the first 68 points, with the jaw on the outline.
    """

    def __init__(self, network: DenseNetwork, device: str = "cpu", *, mirror: bool = True) -> None:
        self._network = network.to(device)
        self._device = device
        self._mirror = mirror

    @property
    def dense(self) -> DensePoints:
        """Which vertices of the shape model the points are."""
        return DensePoints(self._network.vertices, self._network.mirrored, self._network.jaw)

    def __call__(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        boxes_xyxy_px: Float32[np.ndarray, "face 4"],
        points_px: Float32[np.ndarray, "face 5 2"],
    ) -> Float32[np.ndarray, "face 68 2"]:
        """The 68 landmarks of every detected face, pixels of the image."""
        return self.landmarks_68(self.find(image_rgb, boxes_xyxy_px, points_px))

    def landmarks_68(self, faces: DenseFaces) -> Float32[np.ndarray, "face 68 2"]:
        """The 68 landmarks among dense ones, the jaw on the outline of the upright face."""
        found = np.zeros((len(faces.points_px), 68, 2), np.float32)
        jaw = self._network.jaw.cpu()
        for index, points in enumerate(faces.points_px):
            matrix = crop_about_points(points)
            upright = torch.from_numpy(points @ matrix[:, :2].T + matrix[:, 2])
            found[index] = _back(outline_landmarks(upright, jaw).numpy(), matrix)
        return found

    def find(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        boxes_xyxy_px: Float32[np.ndarray, "face 4"],
        points_px: Float32[np.ndarray, "face 5 2"],
    ) -> DenseFaces:
        """All points of every detected face and how sure the network is of each."""
        boxes = zip(boxes_xyxy_px, points_px, strict=True)
        return self._look_twice(
            image_rgb, [crop_from_box(box, eye_roll(points), CROP_PX, CROP_SCALE) for box, points in boxes]
        )

    def find_about(
        self, image_rgb: UInt8[np.ndarray, "height width 3"], landmarks_px: Float[np.ndarray, "face 68 2"]
    ) -> DenseFaces:
        """All points of faces whose 68 landmarks are known, by this network or another."""
        return self._look_twice(image_rgb, [crop_about_landmarks(points) for points in landmarks_px])

    def _look_twice(self, image_rgb: UInt8[np.ndarray, "height width 3"], matrices: list[np.ndarray]) -> DenseFaces:
        first = self._look(image_rgb, matrices)
        return self._look(image_rgb, [crop_about_points(points) for points in first.points_px])

    def _look(self, image_rgb: UInt8[np.ndarray, "height width 3"], matrices: list[np.ndarray]) -> DenseFaces:
        count = len(self._network.vertices)
        found = np.zeros((len(matrices), count, 2), np.float32)
        deviations = np.zeros((len(matrices), count), np.float32)
        for first in range(0, len(matrices), BATCH):
            group = matrices[first : first + BATCH]
            crops = np.stack([cut_crop(image_rgb, matrix, CROP_PX) for matrix in group]).transpose(0, 3, 1, 2)
            with torch.inference_mode():
                output = self._run(torch.from_numpy(np.ascontiguousarray(crops)).to(self._device).float() / 255)
            for index, matrix in enumerate(group):
                found[first + index] = _back(output.points[index].cpu().numpy() * CROP_PX, matrix)
                zoom = float(np.hypot(*matrix[:, 0]))
                deviations[first + index] = output.deviations[index].cpu().numpy() * CROP_PX / zoom
        return DenseFaces(found, deviations)

    def _run(self, crops: Float[Tensor, "image 3 128 128"]) -> DenseOutput:
        """The mean over the crops and their mirror images."""
        if not self._mirror:
            return self._network(crops)
        both = self._network(torch.cat((crops, crops.flip(-1))))
        (plain, flipped), (sure, other) = both.points.chunk(2), both.deviations.chunk(2)
        back = flipped[:, self._network.mirrored] * plain.new_tensor((-1, 1)) + plain.new_tensor((1, 0))
        return DenseOutput((plain + back) / 2, (sure + other[:, self._network.mirrored]) / 2)


def _back(points: Float[np.ndarray, "point 2"], matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "point 2"]:
    return (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2].astype(np.float64)).T


def see_densely(
    network: DenseLandmarks, images: Float[Tensor, "image 3 side side"], landmarks_px: Float[Tensor, "image 68 2"]
) -> DenseSight:
    """Look at aligned crops, each by itself, from where its 68 landmarks are; not finite where these are not."""
    crops = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    around = landmarks_px.cpu().numpy().astype(np.float32)
    side, count = images.shape[-1], len(network.dense.vertices)
    points = np.full((len(crops), count, 2), np.nan, np.float32)
    deviations = np.full((len(crops), count), np.nan, np.float32)
    for image, landmarks in enumerate(around):
        if np.isfinite(landmarks).all():
            found = network.find_about(crops[image], landmarks[None])
            points[image], deviations[image] = found.points_px[0], found.deviations_px[0]
    sight = DenseSight(
        points=torch.from_numpy(points).double() / side,
        deviations=torch.from_numpy(deviations).double() / side,
        vertices=network.dense.vertices,
    )
    return sight.to(images.device)


def load_dense_landmarks(path: Path, device: str = "cpu") -> DenseLandmarks:
    """The dense landmark network of a file that `ganfit train-landmarks` wrote.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it holds something else.
    """
    _, state = read_tensor_file(path, CONTENT)
    if missing := [name for name in DensePoints._fields if name not in state]:
        raise ModelFormatError(f"{path} does not hold the weights of {ARCHITECTURE}: {missing[0]} is missing")
    network = DenseNetwork(DensePoints(*(state[name] for name in DensePoints._fields)))
    load_weights(network, path, ARCHITECTURE)
    return DenseLandmarks(network, device)


def check_points(network: DenseLandmarks, shape: MorphableModel) -> None:
    """Refuse a network whose points are not on a shape model.

    Raises:
        ConfigurationError: other landmarks, or vertices that the model does not have.
    """
    vertices = network.dense.vertices.cpu()
    if int(vertices.max()) >= len(shape.mean_mm) or not torch.equal(vertices[:68], shape.landmarks.cpu()):
        raise ConfigurationError(f"the dense landmark network is for another shape model than {shape.metadata.name!r}")
