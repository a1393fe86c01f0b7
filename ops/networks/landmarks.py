"""68 landmarks of detected faces: the network interface and PFLD."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

from ops.errors import ModelFormatError
from ops.face.landmark_parts import BROWS
from ops.networks.face_crop import CropView, crop_faces, points_in_image
from ops.networks.onnx.graph import OnnxGraph
from ops.networks.onnx.session import OnnxSession

PFLD_SIDE_PX = 112
PFLD_VIEWS = tuple(
    CropView(flip=flip, scale=scale, rotation_rad=turn)
    for scale in (0.92, 1.08)
    for turn in (-0.1, 0.1)
    for flip in (False, True)
)
"""The views whose results are averaged. Against one plain view they halve the jitter under small changes of the box
(1.0 % to 0.6 % of the outer-eye distance) and lower the error on renders with known points from 5.0 % to 4.5 %."""
QUICK_PFLD_VIEWS = tuple(
    CropView(flip=flip, scale=scale, rotation_rad=turn)
    for scale, turn in ((0.92, -0.1), (1.08, 0.1))
    for flip in (False, True)
)
"""Half of them, for where speed counts: on 197 portraits their points lie 0.5 % of the outer-eye distance from those of
all, detection at one size included."""
PFLD_DRIFT = 0.00625
"""How far below their true place all points but the brows are found, in longer sides of the box.

PFLD's answers are displaced right by 1.4 to 1.9 % of the outer-eye distance, which mirrored views cancel, and down by
about as much, which they cannot: on the mean of 160 aligned portraits the eye contours lie below the pupils."""
MAX_BATCH = 64


@runtime_checkable
class LandmarkNetwork(Protocol):
    """Finds the 68 iBUG points of the faces of one image."""

    def __call__(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        boxes_xyxy_px: Float32[np.ndarray, "face 4"],
        points_px: Float32[np.ndarray, "face 5 2"],
    ) -> Float32[np.ndarray, "face 68 2"]:
        """The points of every detected face in pixels of the image; they may lie outside it."""
        ...


class PfldLandmarks:
    """PFLD (Guo et al. 2019): 68 points regressed from a 112 px crop, averaged over several views of each face."""

    def __init__(self, graph: nn.Module, device: str = "cpu", views: Sequence[CropView] = PFLD_VIEWS) -> None:
        self._graph = graph.to(device).eval()
        self._device = device
        self._views = tuple(views)

    def __call__(
        self,
        image_rgb: UInt8[np.ndarray, "height width 3"],
        boxes_xyxy_px: Float32[np.ndarray, "face 4"],
        points_px: Float32[np.ndarray, "face 5 2"],
    ) -> Float32[np.ndarray, "face 68 2"]:
        """The points of every detected face, pixels of the image."""
        if len(boxes_xyxy_px) == 0:
            return np.zeros((0, 68, 2), np.float32)
        crops = crop_faces(image_rgb, boxes_xyxy_px, points_px, self._views, PFLD_SIDE_PX)
        views = self._views * len(boxes_xyxy_px)
        found = self._run(crops.images) * PFLD_SIDE_PX
        found[..., 1] -= _drift_px(views)
        placed = [points_in_image(*item) for item in zip(found, crops.crop_from_image, views, strict=True)]
        return np.stack(placed).reshape(len(boxes_xyxy_px), len(self._views), 68, 2).mean(1).astype(np.float32)

    def _run(self, crops: UInt8[np.ndarray, "crop side side 3"]) -> Float32[np.ndarray, "crop 68 2"]:
        """Points as fractions of the crop's side."""
        # In channel planes: convolutions of interleaved channels take half as long again.
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            parts = [self._graph(part.to(self._device).float() / 255).outputs[0] for part in images.split(MAX_BATCH)]
        return torch.cat(parts).reshape(-1, 68, 2).cpu().numpy()


def _drift_px(views: Sequence[CropView]) -> Float32[np.ndarray, "crop 68"]:
    """The displacement to take back, in pixels of each crop."""
    drift = np.array([PFLD_DRIFT * PFLD_SIDE_PX / view.scale for view in views], np.float32)
    by_point = np.ones(68, np.float32)
    by_point[BROWS] = 0
    return drift[:, None] * by_point


def load_pfld(path: Path, device: str = "cpu") -> PfldLandmarks:
    """PFLD from its ONNX file.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it does not map [image, 3, 112, 112] to [image, 136].
    """
    return PfldLandmarks(_checked(OnnxGraph.from_file(path), path), device)


def load_quick_pfld(path: Path, device: str = "cpu") -> PfldLandmarks:
    """The same with fewer views, and on the CPU run by ONNX Runtime, which takes a third of the time for a view.

    Raises:
        MissingModelFileError, ModelFormatError: as `load_pfld`.
    """
    graph = OnnxSession(path) if device == "cpu" else OnnxGraph.from_file(path)
    return PfldLandmarks(_checked(graph, path), device, QUICK_PFLD_VIEWS)


def _checked(graph: nn.Module, path: Path) -> nn.Module:
    try:
        with torch.inference_mode():
            shape = tuple(graph(torch.zeros(2, 3, PFLD_SIDE_PX, PFLD_SIDE_PX)).outputs[0].shape)
    except RuntimeError as error:
        raise ModelFormatError(f"{path} does not take images of {PFLD_SIDE_PX} px: {error}") from error
    if shape != (2, 136):
        raise ModelFormatError(f"{path}: expected 136 numbers an image, got shape {shape} for 2 images")
    return graph
