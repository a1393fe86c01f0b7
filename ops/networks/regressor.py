"""The FastGANFit regressor (Gecer et al. 2021): an aligned face to all parameters of its reconstruction at once.

Three branches. A frozen recognition network gives the embedding and the activations of its residual stages; a trainable
convolutional network sees the same picture and, at the resolution nearest to a stage's, the stage's activations beside
its own; 68 landmarks come from a landmark network. Three heads, each one linear map: texture and light from embedding
and features; identity and expression from these and the landmarks; the camera from the landmarks. With the heads'
weights at zero, as they start, the answer is the mean of the prior.

Landmarks may be wrong, and a linear map cannot tell. The heads that see them see them twice: as they are, and scaled by
how far they are to be trusted, which follows from how much of them no face explains.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ops.networks.embedded_blocks import ConvUnit
from ops.networks.recognition import CROP_PX, Recognition

CAMERA_SIZE, LIGHT_SIZE, LANDMARK_SIZE = 8, 9, 136
LANDMARK_SCALE = 20.0
"""Landmarks enter as differences from their mean in twentieths of a crop side."""
LANDMARK_FEATURES = 2 * LANDMARK_SIZE + 1
"""Landmarks, landmarks times trust, trust."""
Points = Literal["landmarks", "dense"]
"""What identities are answered to: the landmark network's points without their bias, or the 68 among those of a dense
landmark network, which have none. What is learned from are the true ones."""
PLAUSIBLE_DIRECTIONS = 30
"""Dimensions of what landmarks of faces do in an aligned crop."""
DROPOUT = 0.2
"""Share of the convolutional branch's answer that the heads do without during the training."""
MOST_EXPLAINED = 0.95
"""No answer is believed to explain more of a coefficient's variance."""
TOLERATED = 3.0
"""Landmarks are half trusted when so many times the usual lies outside those dimensions."""


@dataclass(frozen=True, kw_only=True)
class RegressorLayout:
    """The sizes that decide a regressor's tensors."""

    identity: int
    expression: int
    texture: int
    embedding: int
    taps: tuple[tuple[int, int], ...]
    """Channels and side of each of the recognition network's activations, fine to coarse."""
    channels: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Of the convolutional branch at 56, 28, 14, 7 and 4 px."""
    features: int = 256
    """Length of the convolutional branch's answer."""

    @property
    def sides(self) -> tuple[int, ...]:
        """Resolutions of the convolutional branch."""
        sides = [CROP_PX]
        for _ in self.channels:
            sides.append((sides[-1] + 1) // 2)
        return tuple(sides[1:])

    def nearest(self, side: int) -> int:
        """The resolution of the branch at which activations of some side are taken in."""
        return min(self.sides, key=lambda own: abs(math.log(own / side)))


class Regression(NamedTuple):
    """Parameters in the units of `ops.fit.parameters`, not constrained."""

    identity: Float[Tensor, "image identity"]
    expression: Float[Tensor, "image expression"]
    texture: Float[Tensor, "image latent"]
    camera: Float[Tensor, "image 8"]
    light: Float[Tensor, "image 9"]


class RegressorStart(NamedTuple):
    """What is known before anything was learned."""

    landmarks: Float[Tensor, "68 2"]
    """Mean of the landmarks, in crop sides."""
    camera: Float[Tensor, " 8"]
    light: Float[Tensor, " 9"]


class _Level(nn.Module):
    """Halves the resolution and takes in the recognition network's activations of the new one."""

    def __init__(self, channels_in: int, channels_out: int, tapped: int) -> None:
        super().__init__()
        self.reduce = ConvUnit(channels_in, channels_out, 2)
        self.scale = nn.BatchNorm2d(tapped) if tapped else None
        self.join = ConvUnit(channels_out + tapped, channels_out) if tapped else None

    def forward(
        self, x: Float[Tensor, "image channel height width"], taps: Sequence[Tensor]
    ) -> Float[Tensor, "image _ _ _"]:
        x = self.reduce(x)
        if self.join is None or self.scale is None:
            return x
        return self.join(torch.cat((x, self.scale(torch.cat(list(taps), 1))), 1))


def _resampled(
    activations: Float[Tensor, "image channel height width"], side: int
) -> Float[Tensor, "image channel side side"]:
    if activations.shape[-1] == side:
        return activations
    return nn.functional.interpolate(activations, size=(side, side), mode="bilinear", align_corners=False)


class Regressor(nn.Module):
    """The trainable branch and the heads; what it is given of the recognition network carries no gradient."""

    def __init__(self, layout: RegressorLayout, start: RegressorStart) -> None:
        super().__init__()
        self.layout = layout
        self.knows_texture = True
        """Whether its texture coefficients are those of the texture model it is used with."""
        self.points: Points = "landmarks"
        sides, before = layout.sides, 3
        levels: list[nn.Module] = []
        for side, channels in zip(sides, layout.channels, strict=True):
            tapped = sum(count for count, tap_side in layout.taps if layout.nearest(tap_side) == side)
            levels.append(_Level(before, channels, tapped))
            before = channels
        self.levels = nn.ModuleList(levels)
        self.gather = nn.Sequential(
            nn.Conv2d(before, layout.features, sides[-1], bias=False),
            nn.BatchNorm2d(layout.features),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
        )
        seen = self.seen_size
        self.appearance = nn.Linear(seen, layout.texture + LIGHT_SIZE)
        self.shape = nn.Linear(seen + LANDMARK_FEATURES, layout.identity + layout.expression)
        self.camera = nn.Linear(LANDMARK_FEATURES, CAMERA_SIZE)
        self.mean_landmarks = nn.Buffer(start.landmarks.clone())
        self.plausible = nn.Buffer(torch.zeros(PLAUSIBLE_DIRECTIONS, LANDMARK_SIZE))
        self.usual_rest = nn.Buffer(torch.tensor(torch.inf))
        self.start_camera = nn.Buffer(start.camera.clone())
        self.explained = nn.Buffer(torch.ones(layout.identity))
        self.shared_error = nn.Buffer(torch.ones(()))
        with torch.no_grad():
            for head in (self.appearance, self.shape, self.camera):
                nn.init.zeros_(head.weight)
                nn.init.zeros_(head.bias)
            self.appearance.bias[layout.texture :] = start.light
            self.camera.bias.copy_(start.camera)

    def forward(
        self,
        crops: Float[Tensor, "image 3 112 112"],
        recognition: Recognition,
        landmarks: Float[Tensor, "image 68 2"],
        points: Float[Tensor, "image 68 2"] | None = None,
    ) -> Regression:
        """Parameters of every face.

        Args:
            crops: RGB in [0, 1] on the recognition template.
            recognition: what the recognition network says about just these crops.
            landmarks: in crop sides of the wider crop, see `ops.face.alignment`.
            points: those to answer the identity to, where it is not these.
        """
        layout = self.layout
        x = 2 * crops - 1
        for side, level in zip(layout.sides, self.levels, strict=True):
            taps = [value for value in recognition.features if layout.nearest(value.shape[-1]) == side]
            x = level(x, [_resampled(value, side) for value in taps])
        seen = torch.cat((self.scaled(recognition.embedding), self.gather(x).flatten(1)), 1)
        features = self.landmark_features(landmarks)
        texture, light = self.appearance(seen).split((layout.texture, LIGHT_SIZE), 1)
        shape = self.shape(torch.cat((seen, features), 1))
        identity, expression = shape.split((layout.identity, layout.expression), 1)
        if points is not None:
            identity = self.shape(torch.cat((seen, self.landmark_features(points)), 1))[:, : layout.identity]
        return Regression(identity, expression, texture, self.camera(features), light)

    @torch.no_grad()
    def without_texture(self, size: int) -> "Regressor":
        """The same for a texture model it was not trained with: it answers the mean of so many coefficients."""
        other = self.with_texture(self.start_camera.new_zeros(size, self.layout.texture))
        other.knows_texture = False
        return other

    @torch.no_grad()
    def with_texture(self, coefficients: Float[Tensor, "latent given"]) -> "Regressor":
        """The same for another texture model, in which each of its own modes has these coefficients."""
        size, given = coefficients.shape
        start = RegressorStart(self.mean_landmarks, self.start_camera, self.appearance.bias[given:])
        other = Regressor(replace(self.layout, texture=size), start).to(self.start_camera.device)
        kept = {name: value for name, value in self.state_dict().items() if not name.startswith("appearance.")}
        other.load_state_dict(kept, strict=False)
        for mine, theirs in zip(self.appearance.parameters(), other.appearance.parameters(), strict=True):
            theirs.copy_(torch.cat((coefficients.to(mine) @ mine[:given], mine[given:])))
        other.points = self.points
        return other.requires_grad_(False).eval()

    def scaled(self, embedding: Float[Tensor, "image channel"]) -> Float[Tensor, "image channel"]:
        """Embeddings as the heads see them: the root of their mean square is 1."""
        return nn.functional.normalize(embedding) * embedding.shape[1] ** 0.5

    @property
    def seen_size(self) -> int:
        """Length of what the heads see of the picture."""
        return self.layout.embedding + self.layout.features

    def landmark_features(self, landmarks: Float[Tensor, "image 68 2"]) -> Float[Tensor, "image 273"]:
        """What the heads see of the landmarks."""
        points = self.centred(landmarks)
        trust = self.trust(points).unsqueeze(1)
        return torch.cat((points, trust * points, trust), 1)

    def trust(self, points: Float[Tensor, "image 136"]) -> Float[Tensor, " image"]:
        """1 for landmarks that faces explain, towards 0 the more of them lies beyond; 1 before that was learned."""
        return 1 / (1 + self.rest(points) / (TOLERATED * self.usual_rest))

    def rest(self, points: Float[Tensor, "image 136"]) -> Float[Tensor, " image"]:
        """Squared length of what lies outside the plausible directions."""
        return (points - (points @ self.plausible.mT) @ self.plausible).square().sum(1)

    @torch.no_grad()
    def learn_plausible(self, landmarks: Float[Tensor, "sample 68 2"]) -> None:
        """Take the directions in which the landmarks of many faces lie, and how much of these usually lies outside."""
        points = self.centred(landmarks)
        _, directions = torch.linalg.eigh(points.double().mT @ points.double())
        self.plausible.copy_(directions[:, -PLAUSIBLE_DIRECTIONS:].mT)
        self.usual_rest.copy_(self.rest(points).median())

    @torch.no_grad()
    def learn_errors(
        self,
        answers: Float[Tensor, "person picture identity"],
        truth: Float[Tensor, "person identity"],
        metric: Float[Tensor, " identity"],
    ) -> None:
        """Take how much of every coefficient answers explain, and how much of their errors a person's pictures share.

        An answer is the posterior mean of a true coefficient of variance 1, seen with noise: where it explains the
        share c, answers have the variance c, and those to two pictures of a person the covariance c^2 + s c (1 - c)
        when the share s of the noise is common to them. `metric` weighs the coefficients when s is determined.
        """
        left = (truth.unsqueeze(1) - answers).square().mean((0, 1))
        explained = (1 - left).clamp(0, 1)
        count = answers.shape[1]
        total = answers.sum(1).square() - answers.square().sum(1)
        covariance = total.mean(0) / (count * (count - 1))
        noise = (metric * explained * (1 - explained)).sum()
        self.explained.copy_(explained)
        self.shared_error.copy_(((metric * (covariance - explained.square())).sum() / noise).clamp(0, 1))

    def agreement(self, pictures: Float[Tensor, " image"]) -> Float[Tensor, "image identity"]:
        """Factor of the mean of the identities answered to so many pictures of a person.

        Every answer is drawn towards the mean face by what its picture leaves open; several leave less open than each
        of them. 1 for one picture, and before errors were learned.
        """
        return 1 / (self.explained + (1 - self.explained) * self._noise(pictures))

    def precision(self, pictures: Float[Tensor, " image"]) -> Float[Tensor, "image identity"]:
        """Inverse variances of true coefficients about answers to so many pictures, stretched by `agreement`."""
        explained = self.explained.clamp(max=MOST_EXPLAINED)
        return 1 + explained / ((1 - explained) * self._noise(pictures))

    def _noise(self, pictures: Float[Tensor, " image"]) -> Float[Tensor, "image 1"]:
        """Variance of the mean of the errors of so many answers over that of one."""
        return self.shared_error + (1 - self.shared_error) / pictures.unsqueeze(1)

    def centred(self, landmarks: Float[Tensor, "image 68 2"]) -> Float[Tensor, "image 136"]:
        """Landmarks as differences from their mean."""
        return ((landmarks - self.mean_landmarks) * LANDMARK_SCALE).flatten(1)
