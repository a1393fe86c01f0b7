import pytest
import torch

from ops.geometry.topology import Topology

TRIANGLES = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)


def test_uv_triangles_must_name_coordinates() -> None:
    with pytest.raises(ValueError, match="over 3 coordinates, got indices from 0 to 3"):
        Topology(triangles=TRIANGLES, uv=torch.zeros(3, 2), uv_triangles=TRIANGLES)
    with pytest.raises(ValueError, match="got indices from -1"):
        Topology(triangles=TRIANGLES, uv=torch.zeros(3, 2), uv_triangles=TRIANGLES - 1)


def test_coordinates_must_be_finite() -> None:
    uv = torch.rand(4, 2)
    uv[2, 1] = float("nan")
    with pytest.raises(ValueError, match="expected finite texture coordinates, got 1 that are not"):
        Topology(triangles=TRIANGLES, uv=uv, uv_triangles=TRIANGLES)


def test_every_triangle_needs_coordinates() -> None:
    # The shape check of the tests refuses this first; without it the class itself does.
    with pytest.raises(Exception, match="triangle"):
        Topology(triangles=TRIANGLES, uv=torch.zeros(4, 2), uv_triangles=TRIANGLES[:1])


def test_moves_its_coordinates_to_another_type() -> None:
    topology = Topology(triangles=TRIANGLES, uv=torch.rand(4, 2), uv_triangles=TRIANGLES).to("cpu", torch.float64)
    assert topology.uv.dtype == torch.float64
    assert topology.triangles.dtype == torch.int32
