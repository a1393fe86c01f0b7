import math
from collections.abc import Callable

import pytest
import torch

from ops.fit import losses


def test_identity_distance_is_one_minus_cosine_and_ignores_length() -> None:
    a = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0]])
    b = torch.tensor([[3.0, 0.0], [0.0, 5.0], [-1.0, -1.0]])
    torch.testing.assert_close(losses.identity_distance(a, b), torch.tensor([0.0, 1.0, 2.0]))


def test_content_distance_is_the_norm_over_the_number_of_elements_summed_over_layers() -> None:
    first = (torch.zeros(1, 2, 3, 4), torch.zeros(1, 5, 1, 1))
    second = (torch.full((1, 2, 3, 4), 2.0), torch.full((1, 5, 1, 1), 3.0))
    expected = 2 * math.sqrt(24) / 24 + 3 * math.sqrt(5) / 5
    torch.testing.assert_close(losses.content_distance(first, second), torch.tensor([expected]))


@pytest.mark.parametrize(
    "distance",
    [lambda a, b: losses.content_distance([a], [b]), losses.landmark_distance, losses.eyelid_distance],
    ids=["content", "landmark", "eyelid"],
)
def test_gradient_at_zero_difference_is_zero(distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    points = torch.rand(2, 68, 2, requires_grad=True)
    same = points.detach().clone()
    (gradient,) = torch.autograd.grad(distance(points, same).sum(), points)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_pixel_distance_weighs_pixels_and_survives_an_empty_mask() -> None:
    first, second = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    first[:, :, 0, 0] = 0.3
    weight = torch.zeros(2, 4, 4)
    weight[0, 0] = 1
    torch.testing.assert_close(losses.pixel_distance(first, second, weight), torch.tensor([0.3 / 4, 0.0]))


def test_landmark_measures() -> None:
    truth = torch.zeros(1, 68, 2)
    truth[0, 45, 0] = 50.0
    moved = truth + torch.tensor((3.0, 4.0))
    torch.testing.assert_close(losses.landmark_error(moved, truth), torch.tensor([0.1]))
    torch.testing.assert_close(losses.landmark_distance(moved, truth), torch.tensor([5 * math.sqrt(68)]))


def test_eyelids_are_compared_by_how_far_they_are_open_wherever_they_are() -> None:
    truth = torch.zeros(1, 68, 2)
    truth[0, 37, 1], truth[0, 38, 1] = -6.0, -6.0
    moved = truth + torch.tensor((3.0, 4.0))
    torch.testing.assert_close(losses.eyelid_distance(moved, truth), torch.tensor([0.0]))
    shut = torch.zeros(1, 68, 2)
    torch.testing.assert_close(losses.eyelid_distance(shut, truth), torch.tensor([12.0]))
    crossed = truth.clone()
    crossed[0, 37, 1] = 6.0
    torch.testing.assert_close(losses.eyelid_distance(crossed, truth), torch.tensor([12.0]))


def test_grey_has_no_chroma() -> None:
    colours = torch.tensor([[[0.5, 0.5, 0.5], [0.2, 0.2, 0.2]], [[1.0, 0.0, 0.5], [0.2, 0.2, 0.2]]])
    torch.testing.assert_close(losses.chroma(colours), torch.tensor([0.0, 0.5]))


def test_gradients(rng: torch.Generator) -> None:
    a = torch.rand(2, 68, 2, generator=rng, dtype=torch.float64).requires_grad_()
    b = torch.rand(2, 68, 2, generator=rng, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: losses.landmark_distance(x, b), (a,))
    assert torch.autograd.gradcheck(lambda x: losses.eyelid_distance(x, b), (a,))
    assert torch.autograd.gradcheck(lambda x: losses.content_distance([x], [b]), (a,))
    assert torch.autograd.gradcheck(lambda x: losses.identity_distance(x.flatten(1), b.flatten(1)), (a,))
