"""Photos to faces in memory, in one process and without Ray."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from ganfit.preparation import PhotoInput, Rejected, Settled, align_person, find_people
from ops.errors import ConfigurationError, InputError
from ops.face.morphable_model import MorphableModel
from ops.face.signal import shows_something
from ops.fit.config import FitConfig, default_preset
from ops.geometry.mesh_io import TexturedMesh
from ops.reconstruction.alignment import AlignedCrop
from ops.reconstruction.detection import (
    DetectionConfig,
    DetectionNetworks,
)
from ops.reconstruction.fitting import FittedFace, batches, fit_people, pack_faces
from ops.reconstruction.mesh import face_mesh, visible_landmarks
from ops.reconstruction.photo_camera import PhotoCamera
from ops.reconstruction.photo_texture import TexturePx, TextureSource, add_photo_textures, texture_crop_px
from ops.reconstruction.second_attempt import fit_again, fit_remark
from ops.weights.bundle import ModelBundle, load_detector, load_landmarks, load_recognition
from pipeline.stages.gate import QualityGate, QualityPolicy
from pipeline.stages.models import load_atlas, load_fit_models

BATCH = 16
"""Images fitted together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Face:
    """What became of one photo. Where `ok` is false, `message` says why, and nothing else is known of it.

    Raises:
        InputError: a property of a photo that was not reconstructed.
    """

    person: str
    reason: str = ""
    """Why there is no face: unreadable, too_large, no_face, low_score, too_small, bad_landmarks, too_dark, too_blurred,
    other_person, low_quality or diverged."""
    message: str = ""
    quality: float | None = None
    """How far the reconstruction can be believed, see docs/inputs.md; None where the bundle has no ranges."""
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
        """Cosine between photo and render by the network that was optimised; None where the photo shows nothing."""
        return self._fitted.identity_similarity if self._shows_something else None

    @property
    def judge_similarity(self) -> float | None:
        """The same by a network that was not; None where the bundle has no judge."""
        return self._fitted.judge_similarity if self._shows_something else None

    @property
    def judge_similarity_crossed(self) -> float | None:
        """The judge's cosine to a render with a texture that the person's other photos make; None without others."""
        told = self._fitted.photo_texture
        return told.judge_similarity_crossed if told and self._shows_something else None

    @property
    def landmark_error(self) -> float | None:
        """Mean distance of the fitted to the detected landmarks over the outer eye distance."""
        return self._fitted.landmark_error

    @property
    def iterations(self) -> int:
        """How many the fit took."""
        return self._fitted.iterations

    @property
    def fit_seconds(self) -> float:
        """How long the fit of the person took."""
        return self._fitted.fit_seconds

    @property
    def _shows_something(self) -> bool:
        """Whether a similarity to the photo means anything."""
        return shows_something(self._aligned.image_rgba[..., :3])

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
    quality: QualityPolicy = "note",
) -> list[Face]:
    """Reconstruct some photos; one `Face` per photo, in order, those without a usable face included.

    Args:
        photos: paths, URIs or RGB arrays (uint8 [height, width, 3]).
        bundle: verified models, see `load_bundle`; they stay loaded for the next call.
        people: who is on each photo; photos of one person share identity and texture. None: all are different people.
        config: of the fit; None for `preset("default")`.
        detection: which faces are accepted, and the effort of finding them, full where it says nothing; None for the
            default.
        device: of the fit, a name PyTorch knows.
        texture: of what textures are made: of the texture model alone, or with what the person's photos show beyond it.
        texture_px: texels along an edge of textures from photos.
        quality: of photos that measure worse than the bundle's good reconstructions do: note it in their message, or
            reject them.

    Raises:
        ConfigurationError: arguments that do not go together, or a method the bundle has no models for.
    """
    names = [f"photo {number}" for number in range(len(photos))] if people is None else list(people)
    if len(names) != len(photos):
        raise ConfigurationError(f"expected a person per photo, got {len(photos)} photos and {len(names)} people")
    detection = detection or DetectionConfig()
    networks = _networks(bundle, detection.quick)
    models, config = load_fit_models(bundle, device), config or default_preset()
    found = find_people(networks, photos, names, bundle, detection)
    atlas = load_atlas(bundle, device, texture_px) if texture == "photo" else None
    sides = config.render_px, texture_crop_px(texture_px) if atlas else config.render_px
    gate = QualityGate(ranges=bundle.quality, policy=quality)
    aligned = [look if isinstance(look, Rejected) else align_person(networks, look, gate, *sides) for look in found]
    fits: dict[int, FittedFace] = {}
    for batch in batches([None if isinstance(look, Rejected) else look.face.person for look in aligned], BATCH):
        faces = [look.face for position in batch if isinstance(look := aligned[position], Settled)]
        inputs = pack_faces(faces, models.device)
        fitted = fit_people(models, inputs, config)
        fitted = fit_again(models, faces, fitted, config, gate.fit_quality, BATCH)
        if atlas is not None:
            fitted = add_photo_textures(models, atlas, inputs, faces, fitted)
        fits |= dict(zip(batch, fitted, strict=True))
    return [
        Face(person=name, reason=look.reason, message=look.message, quality=look.quality, _model=models.shape)
        if isinstance(look, Rejected)
        else _finished(look, fits[position], gate, models.shape)
        for position, (name, look) in enumerate(zip(names, aligned, strict=True))
    ]


def _finished(look: Settled, fit: FittedFace, gate: QualityGate, model: MorphableModel) -> Face:
    """A fitted face, or why its fit is none."""
    person = look.face.person
    if fit.diverged:
        message = f"the fit diverged after {fit.iterations} iterations"
        return Face(person=person, reason="diverged", message=message, _model=model)
    crop = AlignedCrop(look.face.crop_rgba, look.face.crop_from_image)
    face = Face(person=person, message=fit_remark(look.remark, fit), _model=model, _crop=crop, _fit=fit)
    measures = {"landmark_shift": look.shift, "landmark_error": face.landmark_error}
    verdict = gate.verdict(measures | {"judge_similarity": face.judge_similarity}, face.message)
    found = replace(face, quality=verdict.get("quality"), message=verdict.get("message", face.message))
    return replace(found, reason=verdict["reason"], _crop=None, _fit=None) if "reason" in verdict else found


@lru_cache(maxsize=1)
def _networks(bundle: ModelBundle, quick: bool) -> DetectionNetworks:
    recognition = load_recognition(bundle.recognition, ())
    detector, landmarks = load_detector(bundle.detector, quick=quick), load_landmarks(bundle.landmarks, quick=quick)
    return DetectionNetworks(detector, landmarks, recognition)
