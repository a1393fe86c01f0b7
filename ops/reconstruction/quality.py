"""How far a reconstruction can be believed: its measures against those of good ones, as one number.

Each measure is placed on a line with 1 at its median over good reconstructions and 0 where good ones end; the quality
is the lowest place of all, so one bad measure is enough. What is below 0 did not pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from ops.errors import ConfigurationError
from ops.face.alignment import apply_affine, five_points
from ops.networks.landmarks import LandmarkNetwork
from ops.reconstruction.alignment import AlignedCrop


@dataclass(frozen=True, kw_only=True)
class QualityRange:
    """Where a measure lies over good reconstructions; whichever of the two is larger is the better."""

    limit: float
    """Hardly any good one is beyond it."""
    typical: float
    """Their median."""

    def __post_init__(self) -> None:
        if self.limit == self.typical:
            raise ConfigurationError(f"expected a limit that differs from the typical value, got {self.limit} twice")

    def place(self, value: float) -> float:
        """1 for what is typical or better, 0 at the limit, negative beyond."""
        return min(1.0, (value - self.limit) / (self.typical - self.limit))


@dataclass(frozen=True, kw_only=True)
class QualityRanges:
    """The ranges of a bundle's networks; None for a measure that is not asked."""

    landmark_shift: QualityRange | None = None
    """See `landmark_shift`."""
    landmark_error: QualityRange | None = None
    """Mean distance of fitted to detected landmarks over the outer eye distance."""
    judge_similarity: QualityRange | None = None
    """Cosine between photo and render by the judge."""


def ranges_from_pairs(pairs: Mapping[str, Sequence[float]]) -> QualityRanges:
    """Ranges from pairs (limit, typical) by the name of the measure.

    Raises:
        ConfigurationError: another name, or no pair of different numbers.
    """
    names = [field.name for field in fields(QualityRanges)]
    for name, pair in pairs.items():
        if name not in names or len(pair) != 2:
            raise ConfigurationError(
                f"expected pairs [limit, typical] for some of {', '.join(names)}, got {name}: {pair}"
            )
    return QualityRanges(**{name: QualityRange(limit=pair[0], typical=pair[1]) for name, pair in pairs.items()})


class Quality(NamedTuple):
    """The quality of a reconstruction and what decided it."""

    value: float
    """At most 1; what is below 0 did not pass."""
    message: str
    """The measure that is furthest beyond its limit; empty where all are within."""


def judge_quality(measures: Mapping[str, float | None], ranges: QualityRanges) -> Quality | None:
    """The quality by the measures that are known and have a range; None where there are none."""
    worst: tuple[float, str, float, QualityRange] | None = None
    for field in fields(ranges):
        value, limits = measures.get(field.name), getattr(ranges, field.name)
        if value is not None and limits is not None and (worst is None or limits.place(value) < worst[0]):
            worst = (limits.place(value), field.name, value, limits)
    if worst is None:
        return None
    place, name, value, limits = worst
    bound = "at least" if limits.typical > limits.limit else "at most"
    return Quality(place, f"{name} {value:.3f}, expected {bound} {limits.limit:.3f}" if place < 0 else "")


def landmark_shift(network: LandmarkNetwork, crop: AlignedCrop, landmarks_px: Float[np.ndarray, "68 2"]) -> float:
    """How far landmarks move when they are looked for a second time, on the crop that was aligned by them.

    The mean distance over the outer eye distance. It is small where the network looks at a face it understands, and
    large where it guesses: on faces that are covered, blurred or turned, or at landmarks that are another face's.

    Args:
        network: that found the landmarks.
        crop: aligned by them.
        landmarks_px: in pixels of the image.
    """
    places = apply_affine(torch.from_numpy(crop.crop_from_image), torch.from_numpy(landmarks_px.astype(np.float64)))
    used = places.numpy().astype(np.float32)
    box = np.concatenate((used.min(0), used.max(0)))
    again = network(
        np.ascontiguousarray(crop.image_rgba[..., :3]), box[None], five_points(places).float().numpy()[None]
    )
    eyes = float(np.linalg.norm(used[36] - used[45]))
    return float(np.linalg.norm(again[0] - used, axis=-1).mean()) / max(eyes, 1e-6)
