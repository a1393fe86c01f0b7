"""What kinds of models there are for each role of a bundle, and how each kind is loaded.

A new kind is one line in its role's table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from ops.errors import ConfigurationError
from ops.face.landmark_calibration import LandmarkCalibration, load_landmark_calibration
from ops.face.morphable_model import MorphableModel, load_morphable_model
from ops.face.prior import CameraLightPrior
from ops.face.prior import load_prior as load_json_prior
from ops.fit.landmark_bias import LandmarkBias, load_landmark_bias
from ops.networks.dense_landmarks import DenseLandmarks, check_points, load_dense_landmarks
from ops.networks.detector import FaceDetector, load_quick_scrfd, load_scrfd
from ops.networks.landmarks import LandmarkNetwork, load_pfld, load_quick_pfld
from ops.networks.recognition import RecognitionNetwork
from ops.networks.recognition import load_recognition as load_onnx_recognition
from ops.networks.regressor import Regressor
from ops.networks.regressor_file import load_regressor_file, regressor_for
from ops.texture.interface import TextureModel
from ops.texture.pca import load_pca_texture
from ops.weights.remote import cached_copy

Loader = TypeVar("Loader")


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """One model of a bundle."""

    kind: str
    path: Path | None
    """Absolute; None for a kind that needs no file."""
    sha256: str | None
    uri: str | None = None
    """Where the file is fetched from, for one that does not lie on this machine."""
    companions: tuple[tuple[str, str], ...] = ()
    """URI and checksum of the files that are fetched beside it."""

    def file(self) -> Path | None:
        """The file on the machine that asks, fetched there where needed.

        Raises:
            ModelFileError: it cannot be fetched.
        """
        if not self.uri or not self.sha256:
            return self.path
        for uri, sha256 in self.companions:
            cached_copy(uri, sha256, beside=self.sha256)
        return cached_copy(self.uri, self.sha256)

    def description(self) -> dict[str, str | None]:
        """Kind, path and checksum as JSON holds them."""
        place = self.uri.partition("?")[0] if self.uri else str(self.path) if self.path else None
        return {"kind": self.kind, "path": place, "sha256": self.sha256}


@dataclass(frozen=True)
class Kind(Generic[Loader]):
    """A kind of model for a role."""

    load: Loader
    has_file: bool = True
    """Whether the kind reads a file of the user's or the registry's."""


@dataclass(frozen=True, kw_only=True)
class TextureContext:
    """What building a texture model may need besides its file."""

    shape: MorphableModel
    cache_dir: Path
    """Textures built from the shape model are kept here."""


@dataclass(frozen=True, kw_only=True)
class RegressorContext:
    """The models a regressor must have been trained with, on the CPU."""

    shape: MorphableModel
    texture: TextureModel
    recognition_sha256: str | None


def _ganfit_shape(path: Path | None) -> MorphableModel:
    return load_morphable_model(_file(path))


def _ict_npz(path: Path | None) -> MorphableModel:
    from ops.importers.ict import import_ict
    from ops.texture.layout import procedural_layout

    return procedural_layout(import_ict(_file(path)))


def _faceworld(path: Path | None) -> MorphableModel:
    from ops.faceworld.stored_model import load_or_build_faceworld

    return load_or_build_faceworld(default_cache() / "shapes")


def _ict(path: Path | None) -> MorphableModel:
    from ops.texture.layout import procedural_layout

    return procedural_layout(load_morphable_model(_file(path)))


def _procedural_texture(path: Path | None, context: TextureContext) -> TextureModel:
    from ops.texture.procedural import load_or_build_texture

    return load_or_build_texture(context.shape, context.cache_dir)


def _pca_texture(path: Path | None, context: TextureContext) -> TextureModel:
    return load_pca_texture(_file(path))


def _gan_texture(path: Path | None, context: TextureContext) -> TextureModel:
    from ops.texture.gan_texture import load_gan_texture

    return load_gan_texture(_file(path))


def _embedded_recognition(path: Path, content_layers: Sequence[str] | None) -> RecognitionNetwork:
    from ops.networks.embedded_recognition import load_embedded_recognition

    return load_embedded_recognition(path, content_layers)


def _dlib_recognition(path: Path, content_layers: Sequence[str] | None) -> RecognitionNetwork:
    from ops.networks.dlib_recognition import load_dlib_recognition

    return load_dlib_recognition(path, content_layers)


def _embedded_detector(path: Path, device: str) -> FaceDetector:
    from ops.networks.embedded_detector import load_embedded_detector

    return load_embedded_detector(path, device)


def _embedded_landmarks(path: Path, device: str) -> LandmarkNetwork:
    from ops.networks.embedded_landmarks import load_embedded_landmarks

    return load_embedded_landmarks(path, device)


def _mediapipe_detector(path: Path, device: str) -> FaceDetector:
    from ops.networks.mediapipe_detector import load_mediapipe_detector

    return load_mediapipe_detector(path, device)


def _mediapipe_landmarks(path: Path, device: str) -> LandmarkNetwork:
    from ops.networks.mediapipe_landmarks import load_mediapipe_landmarks

    return load_mediapipe_landmarks(path, device)


def _fan(path: Path, device: str) -> LandmarkNetwork:
    from ops.networks.fan import load_fan

    return load_fan(path, device)


def _fastganfit(path: Path, context: RegressorContext) -> Regressor:
    content = load_regressor_file(path)
    return regressor_for(path, content, context.shape, context.texture, context.recognition_sha256)


def _fastganfit_dense(path: Path, context: RegressorContext) -> Regressor:
    regressor = _fastganfit(path, context)
    regressor.points = "dense"
    return regressor


def _default_prior(path: Path | None) -> CameraLightPrior:
    return CameraLightPrior()


def _json_prior(path: Path | None) -> CameraLightPrior:
    return load_json_prior(_file(path))


SHAPES: Mapping[str, Kind[Callable[[Path | None], MorphableModel]]] = {
    "ganfit": Kind(_ganfit_shape),
    "ict": Kind(_ict),
    "ict-npz": Kind(_ict_npz),
    "faceworld": Kind(_faceworld, has_file=False),
}
TEXTURES: Mapping[str, Kind[Callable[[Path | None, TextureContext], TextureModel]]] = {
    "procedural-pca": Kind(_procedural_texture, has_file=False),
    "pca": Kind(_pca_texture),
    "gan": Kind(_gan_texture),
}
RECOGNITIONS: Mapping[str, Kind[Callable[[Path, Sequence[str] | None], RecognitionNetwork]]] = {
    "onnx": Kind(load_onnx_recognition),
    "dlib": Kind(_dlib_recognition),
    "embedded": Kind(_embedded_recognition),
}
DETECTORS: Mapping[str, Kind[Callable[[Path, str], FaceDetector]]] = {
    "scrfd": Kind(load_scrfd),
    "mediapipe": Kind(_mediapipe_detector),
    "embedded": Kind(_embedded_detector),
}
LANDMARKS: Mapping[str, Kind[Callable[[Path, str], LandmarkNetwork]]] = {
    "pfld": Kind(load_pfld),
    "fan": Kind(_fan),
    "mediapipe": Kind(_mediapipe_landmarks),
    "dense": Kind(load_dense_landmarks),
    "embedded": Kind(_embedded_landmarks),
}
QUICK_DETECTORS: Mapping[str, Kind[Callable[[Path, str], FaceDetector]]] = {"scrfd": Kind(load_quick_scrfd)}
"""Kinds that know a quicker way."""
QUICK_LANDMARKS: Mapping[str, Kind[Callable[[Path, str], LandmarkNetwork]]] = {"pfld": Kind(load_quick_pfld)}
DENSE_REGRESSOR = "fastganfit-dense"
"""The same files; identities are answered to the points of the bundle's dense landmark network."""
REGRESSORS: Mapping[str, Kind[Callable[[Path, RegressorContext], Regressor]]] = {
    "fastganfit": Kind(_fastganfit),
    DENSE_REGRESSOR: Kind(_fastganfit_dense),
}
PRIORS: Mapping[str, Kind[Callable[[Path | None], CameraLightPrior]]] = {
    "default": Kind(_default_prior, has_file=False),
    "json": Kind(_json_prior),
}
CALIBRATIONS: Mapping[str, Kind[Callable[[Path], LandmarkCalibration]]] = {
    "ganfit": Kind(load_landmark_calibration),
}

BIASES: Mapping[str, Kind[Callable[[Path], LandmarkBias]]] = {
    "by-pose": Kind(load_landmark_bias),
}

DENSE_LANDMARKS: Mapping[str, Kind[Callable[[Path, str], DenseLandmarks]]] = {
    "dense": Kind(load_dense_landmarks),
}


def load_shape(ref: ModelRef) -> MorphableModel:
    """The shape model, on the CPU."""
    return _kind(SHAPES, ref).load(ref.file())


def load_texture(ref: ModelRef, shape: MorphableModel, cache_dir: Path | None = None) -> TextureModel:
    """The texture model for a shape model, on the CPU; what has to be built is kept in `cache_dir`.

    Raises:
        ConfigurationError: it is drawn on another UV layout than the shape's.
    """
    texture = _kind(TEXTURES, ref).load(
        ref.file(), TextureContext(shape=shape, cache_dir=cache_dir or default_cache() / "textures")
    )
    if texture.uv_layout != shape.metadata.uv_layout:
        raise ConfigurationError(
            f"the texture model ({ref.kind}, {ref.path}) is drawn on the UV layout {texture.uv_layout!r}, "
            f"the shape model {shape.metadata.name!r} expects {shape.metadata.uv_layout!r}"
        )
    return texture


def load_recognition(ref: ModelRef, content_layers: Sequence[str] | None = None) -> RecognitionNetwork:
    """A recognition network, on the CPU; see `ops.networks.recognition` for the layers (judges need none: `()`)."""
    return _kind(RECOGNITIONS, ref).load(_file(ref.file()), content_layers)


def load_detector(ref: ModelRef, device: str = "cpu", *, quick: bool = False) -> FaceDetector:
    """The face detector; `device` is "cpu" or "cuda". A quick one where there is one for the kind, see `Effort`."""
    kinds = {**DETECTORS, **QUICK_DETECTORS} if quick else DETECTORS
    return _kind(kinds, ref).load(_file(ref.file()), device)


def load_landmarks(ref: ModelRef, device: str = "cpu", *, quick: bool = False) -> LandmarkNetwork:
    """The 68-point network; `device` is "cpu" or "cuda". A quick one where there is one for the kind, see `Effort`."""
    kinds = {**LANDMARKS, **QUICK_LANDMARKS} if quick else LANDMARKS
    return _kind(kinds, ref).load(_file(ref.file()), device)


def load_regressor(ref: ModelRef, context: RegressorContext) -> Regressor:
    """The regressor, on the CPU.

    Raises:
        ConfigurationError: it was trained with other models.
    """
    return _kind(REGRESSORS, ref).load(_file(ref.file()), context)


def load_calibration(ref: ModelRef, shape: MorphableModel) -> LandmarkCalibration:
    """The calibration of the bundle's landmarks on its shape model, on the CPU.

    Raises:
        ConfigurationError: it is for another shape model.
    """
    calibration = _kind(CALIBRATIONS, ref).load(_file(ref.file()))
    calibration.check(shape)
    return calibration


def load_bias(ref: ModelRef) -> LandmarkBias:
    """The bias of the bundle's landmarks on its shape model, on the CPU."""
    return _kind(BIASES, ref).load(_file(ref.file()))


def load_dense(ref: ModelRef, shape: MorphableModel, device: str = "cpu") -> DenseLandmarks:
    """The dense landmark network of stage one; `device` is "cpu" or "cuda".

    Raises:
        ConfigurationError: its points are not on the shape model.
    """
    network = _kind(DENSE_LANDMARKS, ref).load(_file(ref.file()), device)
    check_points(network, shape)
    return network


def load_prior(ref: ModelRef) -> CameraLightPrior:
    """The camera-and-light prior."""
    return _kind(PRIORS, ref).load(ref.file())


def default_cache() -> Path:
    """Where built models are kept when nothing else is said: the user's cache."""
    import pooch

    return Path(pooch.os_cache("ganfit"))


def _kind(kinds: Mapping[str, Kind[Loader]], ref: ModelRef) -> Kind[Loader]:
    if ref.kind not in kinds:
        raise ConfigurationError(f"expected a model of kind {', '.join(kinds)}, found {ref.kind!r}")
    return kinds[ref.kind]


def _file(path: Path | None) -> Path:
    if path is None:
        raise ConfigurationError("this kind of model needs a file")
    return path
