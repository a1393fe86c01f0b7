"""Face detection: SCRFD through insightface."""

import contextlib
import io
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.onnx.session import reading_onnx, session_options

INPUT_SIDES_PX = (640, 320)
"""The image is searched at both sizes. At 640 px SCRFD misses faces that fill the picture; at 320 it finds them."""
NATIVE_SIDE_PX = 256
"""Images no longer than this are searched at this size alone where speed counts: no face in them is too small."""
PORTRAIT_SHARE = 0.25
"""Where speed counts, a larger image is searched at the smaller size alone if that shows a face at least as long as
this part of it."""
PORTRAIT_SCORE = 0.5
"""The score of such a face at least."""
SURE_SCORE = 0.72
"""A face that is searched for at one size and found level with at least this score is the right way up. Of 118
portraits upside down, which look level to the detector, none scores above 0.69; of the same upright 19 in 20 above
0.71."""
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
        return self.at(image_rgb, INPUT_SIDES_PX)

    def at(self, image_rgb: UInt8[np.ndarray, "height width 3"], sides_px: Sequence[int]) -> Detections:
        """The faces that are found with the image in squares of these sides."""
        height, width = image_rgb.shape[:2]
        if min(height, width) * MAX_ASPECT < max(height, width):
            return no_detections()
        sizes = [(side, side) for side in sides_px]
        found, points = self._network.detect(np.ascontiguousarray(image_rgb[..., ::-1]), sizes, det_thresh=MIN_SCORE)
        if len(found) == 0:
            return no_detections()
        # Mirrored images show no half-pixel offset, so the coordinates are taken as they are.
        found = np.asarray(found, np.float32)
        return Detections(found[:, :4], found[:, 4], np.asarray(points, np.float32))


class QuickScrfd:
    """SCRFD at one input size where that is enough: a fifth of the time on portraits.

    Small images are searched as they are. Of others the smaller size tells whether it is a portrait (`PORTRAIT_SHARE`);
    any other picture, and one in which no face is found, is searched at both sizes.
    """

    def __init__(self, detector: ScrfdDetector) -> None:
        self._detector = detector

    def __call__(self, image_rgb: UInt8[np.ndarray, "height width 3"]) -> Detections:
        """The faces, best score first."""
        longer = max(image_rgb.shape[:2])
        if longer <= NATIVE_SIDE_PX:
            return self._detector.at(image_rgb, (NATIVE_SIDE_PX,))
        found = self._detector.at(image_rgb, (min(INPUT_SIDES_PX),))
        sides = (found.boxes_xyxy_px[:, 2:] - found.boxes_xyxy_px[:, :2]).max(1)
        portrait = (found.scores >= PORTRAIT_SCORE) & (sides >= PORTRAIT_SHARE * longer)
        return found if portrait.any() else self._detector(image_rgb)


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

        providers = ["CPUExecutionProvider"]
        on_gpu = device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if on_gpu:
            providers.insert(0, "CUDAExecutionProvider")
        with reading_onnx(path):
            network: Any = get_model(str(path.absolute()), providers=providers, sess_options=session_options())
        if not getattr(network, "use_kps", False):
            raise ModelFormatError(f"{path} is not an SCRFD network with five points")
        network.prepare(0 if on_gpu else -1, input_size=(INPUT_SIDES_PX[0],) * 2, nms_thresh=OVERLAP)
    return ScrfdDetector(network)


def load_quick_scrfd(path: Path, device: str = "cpu") -> QuickScrfd:
    """The same for where speed counts; raises as `load_scrfd`."""
    return QuickScrfd(load_scrfd(path, device))


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keeps insightface quiet: it prints what it loads and warns about what it lacks."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
