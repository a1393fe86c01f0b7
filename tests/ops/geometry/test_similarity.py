import pytest
import torch

from ops.errors import DegeneratePointsError
from ops.geometry.rotation import rotation_from_euler
from ops.geometry.similarity import (
    Similarity,
    compose_similarities,
    fit_similarity,
    fit_similarity_2d,
    invert_similarity,
    transform_points,
)


def known(rng: torch.Generator) -> Similarity:
    angles = torch.randn(3, 5, generator=rng, dtype=torch.float64)
    rotation = rotation_from_euler(angles[0], angles[1], angles[2])
    translation = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    return Similarity(rotation, translation, torch.linspace(0.5, 2, 5, dtype=torch.float64))


def test_recovers_a_known_similarity(rng: torch.Generator) -> None:
    truth = known(rng)
    source = torch.randn(5, 20, 3, generator=rng, dtype=torch.float64)
    found = fit_similarity(source, transform_points(truth, source), with_scale=True)
    for got, expected in zip(found, truth, strict=True):
        torch.testing.assert_close(got, expected)


def test_a_mirror_image_is_met_by_a_rotation(rng: torch.Generator) -> None:
    source = torch.randn(20, 3, generator=rng, dtype=torch.float64)
    found = fit_similarity(source, source * torch.tensor([-1.0, 1, 1], dtype=torch.float64), with_scale=False)
    torch.testing.assert_close(torch.det(found.rotation), torch.tensor(1.0, dtype=torch.float64))
    assert found.scale.item() == 1.0


def test_inverse_and_composition(rng: torch.Generator) -> None:
    truth = known(rng)
    points = torch.randn(5, 4, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(transform_points(invert_similarity(truth), transform_points(truth, points)), points)
    twice = compose_similarities(truth, truth)
    torch.testing.assert_close(
        transform_points(twice, points), transform_points(truth, transform_points(truth, points))
    )


def test_works_in_the_plane(rng: torch.Generator) -> None:
    source = torch.randn(5, 2, generator=rng, dtype=torch.float64)
    target = source @ torch.tensor([[0.0, 2.0], [-2.0, 0.0]], dtype=torch.float64) + 3
    found = fit_similarity(source, target, with_scale=True)
    torch.testing.assert_close(transform_points(found, source), target)


@pytest.mark.parametrize(("points", "words"), [(torch.zeros(2, 3), "at least 3"), (torch.ones(5, 3), "coincide")])
def test_degenerate_points_are_refused(points: torch.Tensor, words: str) -> None:
    with pytest.raises(DegeneratePointsError, match=words):
        fit_similarity(points, points, with_scale=True)


@pytest.mark.parametrize("with_scale", [True, False])
def test_in_the_plane_the_closed_form_agrees(rng: torch.Generator, with_scale: bool) -> None:
    source, target = torch.randn(2, 4, 6, 2, generator=rng, dtype=torch.float64)
    found = fit_similarity_2d(source, target, with_scale=with_scale)
    expected = fit_similarity(source, target, with_scale=with_scale)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
