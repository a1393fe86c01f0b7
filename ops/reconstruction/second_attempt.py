"""A second attempt, from another start, for people of whom a fit fell short."""

import math
from collections.abc import Callable, Sequence

from ops.fit import FitConfig, FitModels
from ops.reconstruction.fitting import AlignedFace, FittedFace, batches, fit_people, pack_faces

QualityOf = Callable[[FittedFace], float | None]
"""How far a fit can be believed, below 0 where it falls short; None where nothing is known of it."""


def fit_remark(message: str, fit: FittedFace) -> str:
    """The message of an image, with what is to be said of its fit."""
    said = "fitted at the second attempt, from another start" if fit.second_attempt else ""
    return "; ".join(part for part in (message, said) if part)


def other_start(models: FitModels, config: FitConfig) -> FitConfig | None:
    """The configuration with the other start: the regressor's answer for landmarks, and the other way round.

    None where there is no other: without a regressor, or where the answer alone is wanted.
    """
    if config.method == "ganfit++":
        return config.by("ganfit")
    return config.by("ganfit++") if config.method == "ganfit" and config.steps and models.regressor else None


def fit_again(
    models: FitModels,
    faces: Sequence[AlignedFace],
    fits: Sequence[FittedFace],
    config: FitConfig,
    quality_of: QualityOf,
    limit: int,
) -> list[FittedFace]:
    """The fits, and of people of whom some fell short or diverged the better of these and those from the other start.

    Better is what has more images that do not fall short; of as many, the larger sum of qualities, each at least -1. A
    person's photos stay together; the result depends on nobody else.

    Args:
        models: of the fits.
        faces: what was fitted.
        fits: one for each of them, in order.
        config: of the fits.
        quality_of: judges a fit.
        limit: images fitted together.
    """
    other = other_start(models, config)
    short = {face.person for face, fit in zip(faces, fits, strict=True) if _falls_short(fit, quality_of)}
    chosen = list(fits)
    if other is None:
        return chosen
    for batch in batches([face.person if face.person in short else None for face in faces], limit):
        again = fit_people(models, pack_faces([faces[position] for position in batch], models.device), other)
        for person in {faces[position].person for position in batch}:
            places = [place for place, position in enumerate(batch) if faces[position].person == person]
            first, second = [chosen[batch[place]] for place in places], [again[place] for place in places]
            better = _rank(second, quality_of) > _rank(first, quality_of)
            for place, before, after in zip(places, first, second, strict=True):
                seconds = before.fit_seconds + after.fit_seconds
                kept = after._replace(second_attempt=True) if better else before
                chosen[batch[place]] = kept._replace(fit_seconds=seconds)
    return chosen


def _falls_short(fit: FittedFace, quality_of: QualityOf) -> bool:
    quality = None if fit.diverged else quality_of(fit)
    return fit.diverged or (quality is not None and quality < 0)


def _rank(fits: Sequence[FittedFace], quality_of: QualityOf) -> tuple[int, float]:
    qualities = [-1.0 if fit.diverged else quality_of(fit) for fit in fits]
    passed = sum(not _falls_short(fit, quality_of) for fit in fits)
    return passed, math.fsum(max(quality, -1.0) for quality in qualities if quality is not None)
