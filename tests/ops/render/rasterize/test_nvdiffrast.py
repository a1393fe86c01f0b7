import importlib.util
import sys

import pytest
import torch

from ops.errors import ConfigurationError
from ops.geometry.camera import Camera
from ops.geometry.projection import clip_from_world, transform_points_plain
from ops.geometry.topology import Topology
from ops.render.rasterize import nvdiffrast as nvdiffrast_module
from ops.render.rasterize.cpu import rasterize_cpu
from ops.render.rasterize.nvdiffrast import rasterize_nvdiffrast

Mesh = tuple[torch.Tensor, Topology]
ONE = torch.tensor([[0, 1, 2]], dtype=torch.int32)


@pytest.fixture
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if importlib.util.find_spec("nvdiffrast") is None:
        pytest.skip("needs nvdiffrast: see docs/gpu.md")
    return torch.device("cuda")


@pytest.mark.gpu
def test_rows_run_down_and_columns_right(device: torch.device) -> None:
    clip = torch.tensor([[[-1.0, 1, 0, 1], [0, 1, 0, 1], [-1, 0, 0, 1]]], device=device)
    seen = rasterize_nvdiffrast(clip, ONE.to(device), 16, 32)[0, ..., 3] == 1
    assert seen[0, 0]
    assert not seen[8:].any()
    assert not seen[:, 16:].any()


@pytest.mark.gpu
def test_keeps_the_contract_of_the_cpu(
    bumpy_mesh: Mesh, cameras: Camera, rng: torch.Generator, device: torch.device
) -> None:
    vertices, topology = bumpy_mesh
    clip = transform_points_plain(clip_from_world(cameras), vertices.expand(3, -1, -1)).float()
    here, there = clip.clone().requires_grad_(), clip.to(device).requires_grad_()
    expected = rasterize_cpu(here, topology.triangles, 128, 128)
    found = rasterize_nvdiffrast(there, topology.triangles.to(device), 128, 128).cpu()
    same = found[..., 3] == expected[..., 3]
    assert same.float().mean() > 0.99
    assert (expected[..., 3] > 0).float().mean() > 0.2
    torch.testing.assert_close(found[same], expected[same], atol=1e-3, rtol=0)
    weights = torch.randn(expected[..., :2].shape, generator=rng) * same[..., None]
    (expected[..., :2] * weights).sum().backward()
    (found[..., :2] * weights).sum().backward()
    assert here.grad is not None
    assert there.grad is not None
    cosine = torch.nn.functional.cosine_similarity(here.grad.flatten(), there.grad.cpu().flatten(), 0)
    assert cosine > 0.999
    assert (there.grad[..., 2] == 0).all()


@pytest.mark.gpu
def test_nothing_to_see_is_all_zero(device: torch.device) -> None:
    clip = torch.tensor([[[2.0, 2, 0, 1], [3, 2, 0, 1], [2, 3, 0, 1]]], device=device)
    assert not rasterize_nvdiffrast(clip, ONE.to(device), 16, 16).any()


def test_vertices_on_the_cpu_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="got vertices on cpu: use the CPU rasteriser"):
        rasterize_nvdiffrast(torch.zeros(1, 3, 4), ONE, 8, 8)


def test_a_missing_nvdiffrast_names_what_does_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvdiffrast", None)
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", None)
    with pytest.raises(ConfigurationError, match="--rasterizer warp does without it"):
        nvdiffrast_module._nvdiffrast()
