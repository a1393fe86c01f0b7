"""68 landmarks by face-alignment's FAN (Bulat and Tzimiropoulos 2017): heat maps of stacked hourglasses."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.face_crop import (
    MIRRORED_68,
    CropView,
    compose_affines,
    invert_affine,
    points_in_image,
    reduced_surroundings,
    sample_crop,
    upright_crop,
)

FAN_SIDE_PX = 256
FAN_VIEW = CropView(scale=1.5)
"""FAN was trained on crops that leave a margin around the face."""
MAX_BATCH = 8


class FanLandmarks:
    """FAN on upright crops and their mirror images, many faces at once."""

    def __init__(self, network: nn.Module, device: str = "cpu") -> None:
        self._network = network.to(device).eval()
        self._device = device

    def __call__(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        boxes_xyxy_px: Float32[np.ndarray, "face 4"],
        points_px: Float32[np.ndarray, "face 5 2"],
    ) -> Float32[np.ndarray, "face 68 2"]:
        """The points of every detected face, pixels of the image."""
        if len(boxes_xyxy_px) == 0:
            return np.zeros((0, 68, 2), np.float32)
        crops: list[UInt8[np.ndarray, "side side 3"]] = []
        affines: list[np.ndarray] = []
        for box, points in zip(boxes_xyxy_px, points_px, strict=True):
            part, part_from_image = reduced_surroundings(image_rgb, box, FAN_SIDE_PX)
            affine = upright_crop(box, points, FAN_VIEW, FAN_SIDE_PX)
            crops.append(sample_crop(part, compose_affines(affine, invert_affine(part_from_image)), FAN_SIDE_PX))
            affines.append(affine)
        found = self._run(np.stack(crops)) * FAN_SIDE_PX
        placed = [points_in_image(points, affine, FAN_VIEW) for points, affine in zip(found, affines, strict=True)]
        return np.stack(placed).astype(np.float32)

    def _run(self, crops: UInt8[np.ndarray, "crop side side 3"]) -> Float32[np.ndarray, "crop 68 2"]:
        """Points as fractions of the crop's side."""
        images = torch.from_numpy(crops).permute(0, 3, 1, 2)
        points: list[Tensor] = []
        with torch.inference_mode():
            for part in images.split(MAX_BATCH):
                batch = part.to(self._device).float() / 255
                maps = self._network(torch.cat((batch, batch.flip(-1))))[-1]
                plain, mirrored = maps.chunk(2)
                points.append(decode_heat_maps(plain + mirrored.flip(-1)[:, torch.from_numpy(MIRRORED_68)]))
        return torch.cat(points).cpu().numpy()


def decode_heat_maps(maps: Float[Tensor, "image point height width"]) -> Float[Tensor, "image point 2"]:
    """The peaks of heat maps as (x, y) fractions of the map's width and height.

    Around the highest cell, the peak of the parabola through it and its two neighbours on each axis: exact for a
    sampled parabola, within 0.02 cells for a Gaussian of deviation 1. Cells on the border stay whole.
    """
    height, width = maps.shape[-2:]
    best = maps.flatten(-2).argmax(-1)
    row, column = best // width, best % width
    offsets: list[Tensor] = []
    for position, size, row_step, column_step in ((column, width, 0, 1), (row, height, 1, 0)):
        inside = (position > 0) & (position < size - 1)
        reach = inside.long()
        before = _at(maps, row - row_step * reach, column - column_step * reach)
        after = _at(maps, row + row_step * reach, column + column_step * reach)
        curvature = before + after - 2 * _at(maps, row, column)
        offset = 0.5 * (before - after) / torch.where(curvature < 0, curvature, -torch.ones_like(curvature))
        offsets.append(torch.where(inside & (curvature < 0), offset.clamp(-0.5, 0.5), torch.zeros_like(offset)))
    x = (column + 0.5 + offsets[0]) / width
    y = (row + 0.5 + offsets[1]) / height
    return torch.stack((x, y), -1)


def load_fan(path: Path, device: str = "cpu") -> FanLandmarks:
    """FAN from a state dictionary saved by torch, such as 2DFAN4-11f355bf06.pth.tar.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it does not hold the weights of a 2D FAN.
    """
    from face_alignment.models import FAN

    if not path.is_file():
        raise MissingModelFileError(f"expected FAN's weights at {path}, found no file")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelFormatError(f"{path} is not a state dictionary saved by torch: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelFormatError(f"{path}: expected a dictionary of tensors, found {type(state).__name__}")
    stacks = len([name for name in state if str(name).startswith("conv_last") and str(name).endswith("weight")])
    network: Any = FAN(max(stacks, 1))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelFormatError(f"{path} does not hold the weights of a 2D FAN: {error}") from error
    return FanLandmarks(network, device)
