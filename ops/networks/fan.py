"""68 landmarks by face-alignment's FAN (Bulat and Tzimiropoulos 2017): heat maps of stacked hourglasses."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.face_crop import MIRRORED_68, CropView, crop_faces, points_in_image

FAN_SIDE_PX = 256
FAN_VIEW = CropView(scale=2.1, rise=0.12)
"""FAN was trained on crops with a margin around the face, centred above the middle of the box."""
LOWEST_HEAT = 1e-4
"""Heat below this fraction of the peak counts as this when the peak is interpolated."""
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
        crops = crop_faces(image_rgb, boxes_xyxy_px, points_px, (FAN_VIEW,), FAN_SIDE_PX)
        found = self._run(crops.images) * FAN_SIDE_PX
        placed = [points_in_image(*face, FAN_VIEW) for face in zip(found, crops.crop_from_image, strict=True)]
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

    On each axis the peak of the Gaussian through the highest cell and its two neighbours, exact for sampled Gaussians.
    Cells on the border stay whole.
    """
    height, width = maps.shape[-2:]
    best = maps.flatten(-2).argmax(-1)
    row, column = best // width, best % width
    x = (column + 0.5 + _peak_offset(maps, best, column, width, 1)) / width
    y = (row + 0.5 + _peak_offset(maps, best, row, height, width)) / height
    return torch.stack((x, y), -1)


def _peak_offset(
    maps: Float[Tensor, "image point height width"],
    best: Int64[Tensor, "image point"],
    position: Int64[Tensor, "image point"],
    size: int,
    stride: int,
) -> Float[Tensor, "image point"]:
    """How far the peak lies from the centre of the best cell on one axis, in cells, within half a cell."""
    inside = (position > 0) & (position < size - 1)
    step = inside.long() * stride
    heat = maps.flatten(-2).gather(-1, torch.stack((best - step, best, best + step), -1))
    floor = (heat[..., 1:2] * LOWEST_HEAT).clamp_min(torch.finfo(heat.dtype).tiny)
    before, peak, after = torch.maximum(heat, floor).log().unbind(-1)
    curvature = before + after - 2 * peak
    curved = inside & (curvature < 0)
    offset = 0.5 * (after - before) / -torch.where(curved, curvature, -torch.ones_like(curvature))
    return torch.where(curved, offset.clamp(-0.5, 0.5), torch.zeros_like(offset))


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
