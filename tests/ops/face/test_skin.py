import torch

from ops.face.alignment import apply_affine
from ops.face.skin import skin_weight


def face_outline(side: int) -> torch.Tensor:
    """68 points of a schematic upright face in a crop of `side` pixels."""
    points = torch.zeros(68, 2)
    angle = torch.linspace(0, torch.pi, 17)
    points[:17] = torch.stack((0.5 - 0.27 * angle.cos(), 0.45 + 0.37 * angle.sin()), -1)
    points[17:27, 0] = torch.linspace(0.3, 0.7, 10)
    points[17:27, 1] = 0.35
    points[27:] = torch.tensor((0.5, 0.55))
    return points * side


def test_skin_is_the_face_and_turns_with_it() -> None:
    side = 200
    upright = face_outline(side)
    turned = apply_affine(torch.tensor([[0.0, -1.0, 200.0], [1.0, 0.0, 0.0]]), upright)
    weights = skin_weight(torch.stack((upright, turned)), side)
    assert weights[0, 110, 100] == 1
    assert weights[0, 62, 100] > 0.9
    assert weights[0, 10, 100] < 0.01
    assert weights[0, 100, 10] < 0.01
    assert weights[0, 190, 100] < 0.01
    torch.testing.assert_close(weights[1], torch.rot90(weights[0], -1), atol=0.12, rtol=0)
