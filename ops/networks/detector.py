"""Face detection: SCRFD through insightface."""

import contextlib
import io
import os
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from ops.errors import MissingModelFileError, ModelFormatError

INPUT_SIDES_PX = (640, 320)
"""The image is searched at both sizes. At 640 px SCRFD misses faces that fill the picture; at 320 it finds them."""
MIN_SCORE = 0.3
"""Detections below this are not reported; callers choose their own, stricter limit."""
OVERLAP = 0.4
"""Of two boxes with a larger intersection over union, the one of lower score is dropped."""
MAX_ASPECT = 32
"""Images longer than this times their width hold no face."""


class Detections(NamedTuple):
    """Faces of one image, best score first."""

    boxes_xyxy_px: Float32[np.ndarray, "face 4"]
    """Left, top, right, bottom; may reach outside the image."""
    scores: Float32[np.ndarray, " face"]
    """In [0, 1]."""
    points_px: Float32[np.ndarray, "face 5 2"]
    """Eye centres, nose tip, mouth corners, image left first."""


@runtime_checkable
class FaceDetector(Protocol):
    """Finds faces in an image of any size."""

    def __call__(self, image_rgb: UInt8[np.ndarray, "height width 3"]) -> Detections:
        """The faces, best score first; none is an empty result, not an error."""
        ...


def no_detections() -> Detections:
    """The result for an image without a face."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


class ScrfdDetector:
    """SCRFD (Guo et al. 2021) as insightface runs it, at two input sizes with one suppression over both."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def __call__(self, image_rgb: UInt8[np.ndarray, "height width 3"]) -> Detections:
        """The faces, best score first."""
        height, width = image_rgb.shape[:2]
        if min(height, width) * MAX_ASPECT < max(height, width):
            return no_detections()
        sizes = [(side, side) for side in INPUT_SIDES_PX]
        found, points = self._network.detect(np.ascontiguousarray(image_rgb[..., ::-1]), sizes, det_thresh=MIN_SCORE)
        if len(found) == 0:
            return no_detections()
        # Mirrored images show no half-pixel offset, so the coordinates are taken as they are.
        found = np.asarray(found, np.float32)
        return Detections(found[:, :4], found[:, 4], np.asarray(points, np.float32))


def load_scrfd(path: Path, device: str = "cpu") -> ScrfdDetector:
    """SCRFD from its ONNX file, never downloaded.

    `device` "cuda" uses onnxruntime's CUDA provider where that is installed, and the CPU otherwise.

    Raises:
        MissingModelFileError: there is no such file.
        ModelFormatError: it is not an SCRFD network with five points.
    """
    if not path.is_file():
        raise MissingModelFileError(f"expected an SCRFD network at {path}, found no file")
    with _quiet():
        import onnxruntime
        from insightface.model_zoo import get_model
        from onnxruntime.capi import onnxruntime_pybind11_state  # pyright: ignore[reportAttributeAccessIssue]

        states: Any = onnxruntime_pybind11_state
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
        providers = ["CPUExecutionProvider"]
        on_gpu = device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if on_gpu:
            providers.insert(0, "CUDAExecutionProvider")
        try:
            network: Any = get_model(str(path.absolute()), providers=providers, sess_options=options)
        except (states.InvalidProtobuf, states.InvalidGraph, states.Fail, states.NotImplemented) as error:
            raise ModelFormatError(f"{path} is not an ONNX network: {error}") from error
        if not getattr(network, "use_kps", False):
            raise ModelFormatError(f"{path} is not an SCRFD network with five points")
        network.prepare(0 if on_gpu else -1, input_size=(INPUT_SIDES_PX[0],) * 2, nms_thresh=OVERLAP)
    return ScrfdDetector(network)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keeps insightface quiet: it prints what it loads and warns about what it lacks."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
