"""Photos to faces in memory, in one process and without Ray."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ops.errors import ConfigurationError, InputError, UnreadableInputError, UnsupportedInputError
from ops.face.morphable_model import MorphableModel
from ops.files.photo import Photo, decode_photo
from ops.fit.config import FitConfig, default_preset
from ops.geometry.mesh_io import TexturedMesh
from ops.reconstruction.alignment import AlignedCrop, align_face
from ops.reconstruction.detection import (
    Candidate,
    DetectionConfig,
    DetectionNetworks,
    Rejection,
    choose_candidates,
    find_faces,
)
from ops.reconstruction.fitting import AlignedFace, FittedFace, batches, fit_people, pack_faces
from ops.reconstruction.mesh import face_mesh, visible_landmarks
from ops.reconstruction.photo_camera import PhotoCamera
from ops.reconstruction.photo_texture import TexturePx, TextureSource, add_photo_textures, texture_crop_px
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition
from pipeline.input.locations import read_location
from pipeline.stages.models import load_atlas, load_fit_models

BATCH = 16
"""Images fitted together."""
PhotoInput = str | Path | np.ndarray
"""A path or URI, or an RGB array: uint8 [height, width, 3], upright."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Face:
    """What became of one photo. Where `ok` is false, `message` says why, and nothing else is known of it.

    Raises:
        InputError: a property of a photo that was not reconstructed.
    """

    person: str
    reason: str = ""
    """Why there is no face: unreadable, too_large, no_face, low_score, too_small, bad_landmarks or diverged."""
    message: str = ""
    _model: MorphableModel = field(repr=False)
    _crop: AlignedCrop | None = field(default=None, repr=False)
    _fit: FittedFace | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the photo was reconstructed."""
        return self._fit is not None

    @property
    def mesh(self) -> TexturedMesh:
        """The person's neutral face, millimetres in the model's frame."""
        return face_mesh(self._model, self.identity, None, self.texture_rgb)

    @property
    def posed_mesh(self) -> TexturedMesh:
        """The same with the expression of the photo."""
        return face_mesh(self._model, self.identity, self.expression, self.texture_rgb)

    @property
    def camera(self) -> PhotoCamera:
        """Takes millimetres in the model's frame to pixels of the photo."""
        crop = self._aligned
        return PhotoCamera(self._fitted.camera.numpy(), crop.crop_from_image, len(crop.image_rgba))

    @property
    def landmarks_mm(self) -> np.ndarray:
        """The 68 fitted landmarks as the camera sees them: [68, 3] in the model's frame."""
        return visible_landmarks(self._model, self.identity, self.expression, self._fitted.camera.numpy())

    @property
    def identity(self) -> np.ndarray:
        """Coefficients of the person's shape, standard deviations."""
        return self._fitted.identity.numpy()

    @property
    def expression(self) -> np.ndarray:
        """Coefficients of the photo's expression."""
        return self._fitted.expression.numpy()

    @property
    def texture(self) -> np.ndarray:
        """Coefficients of the person's texture."""
        return self._fitted.texture.numpy()

    @property
    def texture_rgb(self) -> np.ndarray:
        """The person's albedo: uint8 [row, column, 3] in the layout of the shape model."""
        return self._fitted.texture_rgb

    @property
    def texture_weight_rgb(self) -> np.ndarray | None:
        """Shares out of 255 of each texel: seen in photos, mirrored, guessed; None for textures of the model alone."""
        return told.weight_rgb if (told := self._fitted.photo_texture) else None

    @property
    def texture_seen(self) -> float | None:
        """Share of the face's texels that photos tell; None for textures of the model alone."""
        return told.seen if (told := self._fitted.photo_texture) else None

    @property
    def light(self) -> np.ndarray:
        """(position x y z mm, colour R G B, ambient R G B)."""
        return self._fitted.light.numpy()

    @property
    def input_rgba(self) -> np.ndarray:
        """The aligned crop, opaque where the photo covers it."""
        return self._aligned.image_rgba

    @property
    def render_rgba(self) -> np.ndarray:
        """The fitted face in the crop's frame, opaque where it covers the crop."""
        return self._fitted.render_rgba

    @property
    def identity_similarity(self) -> float | None:
        """Cosine between photo and render by the network that was optimised."""
        return self._fitted.identity_similarity

    @property
    def judge_similarity(self) -> float | None:
        """The same by a network that was not; None where the bundle has no judge."""
        return self._fitted.judge_similarity

    @property
    def judge_similarity_crossed(self) -> float | None:
        """The judge's cosine to a render with a texture that the person's other photos make; None without others."""
        return told.judge_similarity_crossed if (told := self._fitted.photo_texture) else None

    @property
    def landmark_error(self) -> float | None:
        """Mean distance of the fitted to the detected landmarks over the outer eye distance."""
        return self._fitted.landmark_error

    @property
    def _aligned(self) -> AlignedCrop:
        if self._crop is None:
            raise self._missing
        return self._crop

    @property
    def _fitted(self) -> FittedFace:
        if self._fit is None:
            raise self._missing
        return self._fit

    @property
    def _missing(self) -> InputError:
        return InputError(f"the photo of {self.person} was not reconstructed: {self.reason}, {self.message}")


def reconstruct_photos(
    photos: Sequence[PhotoInput],
    bundle: ModelBundle,
    *,
    people: Sequence[str] | None = None,
    config: FitConfig | None = None,
    detection: DetectionConfig | None = None,
    device: str = "cpu",
    texture: TextureSource = "model",
    texture_px: TexturePx = 512,
) -> list[Face]:
    """Reconstruct some photos; one `Face` per photo, in order, those without a usable face included.

    Args:
        photos: paths, URIs or RGB arrays (uint8 [height, width, 3]).
        bundle: verified models, see `load_bundle`; they stay loaded for the next call.
        people: who is on each photo; photos of one person share identity and texture. None: all are different people.
        config: of the fit; None for `preset("default")`.
        detection: which faces are accepted; None for the default.
        device: of the fit, a name PyTorch knows.
        texture: of what textures are made: of the texture model alone, or with what the person's photos show beyond it.
        texture_px: texels along an edge of textures from photos.

    Raises:
        ConfigurationError: arguments that do not go together, or a method the bundle has no models for.
    """
    names = [f"photo {number}" for number in range(len(photos))] if people is None else list(people)
    if len(names) != len(photos):
        raise ConfigurationError(f"expected a person per photo, got {len(photos)} photos and {len(names)} people")
    models, networks, config = load_fit_models(bundle, device), _networks(bundle), config or default_preset()
    opened = [_open(photo) for photo in photos]
    found = [
        look if isinstance(look, Rejected) else _look(networks, look, detection or DetectionConfig()) for look in opened
    ]
    candidates = [() if isinstance(faces, Rejected) else faces for faces in found]
    choices = choose_candidates(networks, names, candidates)
    atlas = load_atlas(bundle, device, texture_px) if texture == "photo" else None
    sides = config.render_px, texture_crop_px(texture_px) if atlas else config.render_px
    faces: list[AlignedFace | None] = [
        _align(photo, name, some[choice.face], *sides) if some and isinstance(photo, Opened) else None
        for photo, name, some, choice in zip(opened, names, candidates, choices, strict=True)
    ]
    fits: dict[int, FittedFace] = {}
    for batch in batches([face.person if face else None for face in faces], BATCH):
        aligned = [face for position in batch if (face := faces[position])]
        inputs = pack_faces(aligned, models.device)
        fitted = fit_people(models, inputs, config)
        if atlas is not None:
            fitted = add_photo_textures(models, atlas, inputs, aligned, fitted)
        fits |= dict(zip(batch, fitted, strict=True))
    results: list[Face] = []
    for position, (name, outcome, face) in enumerate(zip(names, found, faces, strict=True)):
        fit = fits.get(position)
        if face is None or fit is None:
            assert isinstance(outcome, Rejected)
            results.append(Face(person=name, reason=outcome.reason, message=outcome.message, _model=models.shape))
        elif fit.diverged:
            message = f"the fit diverged after {fit.iterations} iterations"
            results.append(Face(person=name, reason="diverged", message=message, _model=models.shape))
        else:
            crop = AlignedCrop(face.crop_rgba, face.crop_from_image)
            remark = choices[position].remark
            results.append(Face(person=name, message=remark, _model=models.shape, _crop=crop, _fit=fit))
    return results


@dataclass(frozen=True)
class Opened:
    """A decoded photo and an id that follows from its pixels alone, so that results do not depend on the others."""

    photo: Photo
    image_id: str


@dataclass(frozen=True)
class Rejected:
    """Why a photo has no face."""

    reason: str
    message: str


def _open(photo: PhotoInput) -> Opened | Rejected:
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or 0 in photo.shape:
            raise ConfigurationError(
                f"expected RGB arrays, uint8 [height, width, 3], got {photo.dtype} {list(photo.shape)}"
            )
        decoded = Photo(photo, photo.shape[1], photo.shape[0])
    else:
        try:
            decoded = decode_photo(read_location(str(photo)))
        except UnsupportedInputError as error:
            return Rejected("too_large", f"{photo}: {error}")
        except UnreadableInputError as error:
            return Rejected("unreadable", f"{photo}: {error}")
    pixels = np.ascontiguousarray(decoded.image_rgb)
    return Opened(decoded, blake2b(pixels.tobytes(), digest_size=8).hexdigest())


def _look(networks: DetectionNetworks, opened: Opened, config: DetectionConfig) -> list[Candidate] | Rejected:
    faces = find_faces(networks, opened.photo, config)
    return Rejected(*faces) if isinstance(faces, Rejection) else faces


def _align(opened: Opened, person: str, face: Candidate, side_px: int, texture_side_px: int) -> AlignedFace:
    crop = align_face(opened.photo, face.landmarks_px, side_px)
    finer = None
    if texture_side_px > side_px:
        finer = align_face(opened.photo, face.landmarks_px, texture_side_px).image_rgba
    return AlignedFace(opened.image_id, person, crop.image_rgba, crop.crop_from_image, face.landmarks_px, finer)


@lru_cache(maxsize=1)
def _networks(bundle: ModelBundle) -> DetectionNetworks:
    recognition = load_recognition(bundle.recognition, ())
    return DetectionNetworks(load_detector(bundle.detector), load_landmarks(bundle.landmarks), recognition)
