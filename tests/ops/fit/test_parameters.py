import torch

from ops.fit.parameters import mean_over_groups, to_camera, to_light


def test_rows_become_the_mean_of_their_group() -> None:
    values = torch.tensor([[1.0], [10.0], [3.0], [20.0], [7.0]])
    group = torch.tensor([0, 1, 0, 1, 2])
    means = mean_over_groups(values, group, torch.ones(5))
    torch.testing.assert_close(means, torch.tensor([[2.0], [15.0], [2.0], [15.0], [7.0]]))


def test_rows_without_weight_receive_but_do_not_give() -> None:
    values = torch.tensor([[1.0], [100.0], [3.0]])
    group = torch.tensor([0, 0, 1])
    means = mean_over_groups(values, group, torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(means, torch.tensor([[1.0], [1.0], [3.0]]))


def test_units() -> None:
    camera = to_camera(torch.tensor([[0.0, 0.1, 12.0, 0.0, 0.0, 0.5, 4.0, 0.2]]))
    torch.testing.assert_close(camera.eye_mm, torch.tensor([[0.0, 10.0, 1200.0]]))
    torch.testing.assert_close(camera.target_mm, torch.tensor([[0.0, 0.0, 50.0]]))
    assert camera.focal.item() == 4.0
    light = to_light(torch.tensor([[0.0, 0.3, 1.0, 0.5, 0.5, 0.5, 0.6, 0.6, 0.6]]))
    torch.testing.assert_close(light.position_mm, torch.tensor([[0.0, 300.0, 1000.0]]))
    torch.testing.assert_close(light.ambient, torch.full((1, 3), 0.6))
