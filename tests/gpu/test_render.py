"""The render path of CUDA on a pretended device, against the CPU's; and that the device would notice mistakes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ops.geometry.camera import Camera
from ops.geometry.projection import clip_from_world, transform_points_cpu
from ops.geometry.topology import Topology
from ops.render.lighting import Light
from ops.render.rasterize import RasterizerName
from ops.render.rasterize import nvdiffrast as nvdiffrast_module
from ops.render.rasterize.cpu import rasterize_cpu
from ops.render.rasterize.nvdiffrast import rasterize_nvdiffrast
from ops.render.render import render
from tests.support.pretended_cuda import PretendedCuda, to_cuda

Mesh = tuple[torch.Tensor, Topology]
SIDE = 64
INPUTS = ("vertices", "texture", "eye", "target", "focal", "roll", "light position", "colour", "ambient")


def scene(mesh: Mesh, rng: torch.Generator) -> list[Tensor]:
    """Two faces of a mesh: vertices, texture, camera, light."""
    vertices = mesh[0].float().expand(2, -1, -1).clone()
    eye = torch.tensor([[30.0, 20.0, 700.0], [-60.0, 10.0, 600.0]])
    camera = Camera(eye, torch.zeros(2, 3), torch.tensor([3.4, 2.8]), torch.tensor([0.1, -0.2]))
    light = Light(torch.tensor([[-300.0, 400, 600]]).repeat(2, 1), torch.full((2, 3), 0.6), torch.full((2, 3), 0.5))
    return [vertices, torch.rand(2, 3, 32, 32, generator=rng), *camera, *light]


def image_and_gradients(
    values: list[Tensor], topology: Topology, target: Tensor, rasterizer: RasterizerName = "warp"
) -> tuple[Tensor, list[Tensor]]:
    leaves = [value.detach().clone().requires_grad_() for value in values]
    camera, light = Camera(*leaves[2:6]), Light(*leaves[6:])
    seen = render(topology, leaves[0], leaves[1], camera, light, SIDE, rasterizer=rasterizer)
    loss = ((seen.image - target) * seen.image).sum()
    return seen.image.detach().cpu(), [grad.cpu() for grad in torch.autograd.grad(loss, leaves)]


def clip_space(mesh: Mesh, rng: torch.Generator) -> Tensor:
    vertices, _, *rest = scene(mesh, rng)
    return transform_points_cpu(clip_from_world(Camera(*rest[:4])), vertices)


def worst_cosine(found: list[Tensor], expected: list[Tensor]) -> float:
    return min(float(cosine_similarity(a.flatten(), b.flatten(), 0)) for a, b in zip(found, expected, strict=True))


@pytest.fixture
def on_the_cpu(bumpy_mesh: Mesh, rng: torch.Generator) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    """A render on the CPU, its gradients, and what they were made of."""
    values, target = scene(bumpy_mesh, rng), torch.rand(2, 3, SIDE, SIDE, generator=rng)
    return *image_and_gradients(values, bumpy_mesh[1].to("cpu", torch.float32), target), values, target


@pytest.mark.parametrize("rasterizer", ["warp", "nvdiffrast"])
def test_a_render_and_its_gradients_agree_with_the_cpu(
    on_the_cpu: Any, bumpy_mesh: Mesh, cuda: PretendedCuda, rasterizer: RasterizerName
) -> None:
    image, gradients, values, target = on_the_cpu
    topology = bumpy_mesh[1].to("cuda", torch.float32)
    found, others = image_and_gradients(to_cuda_list(values), topology, target.to("cuda"), rasterizer)
    torch.testing.assert_close(found, image, atol=2e-4, rtol=0)
    for name, ours, theirs in zip(INPUTS, gradients, others, strict=True):
        assert cosine_similarity(ours.flatten(), theirs.flatten(), 0) > 0.999, name


def to_cuda_list(values: list[Tensor]) -> list[Tensor]:
    return [to_cuda(value) for value in values]


def test_nvdiffrast_sees_what_the_cpu_sees(bumpy_mesh: Mesh, rng: torch.Generator, cuda: PretendedCuda) -> None:
    clip, triangles = clip_space(bumpy_mesh, rng), bumpy_mesh[1].triangles
    here = rasterize_cpu(clip, triangles, SIDE, SIDE)
    there = rasterize_nvdiffrast(clip.to("cuda"), triangles.to("cuda"), SIDE, SIDE).cpu()
    assert (here[..., 3] > 0).float().mean() > 0.3
    torch.testing.assert_close(there, here, atol=1e-4, rtol=0)


def test_a_picture_upside_down_is_noticed(
    bumpy_mesh: Mesh, rng: torch.Generator, cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, triangles = clip_space(bumpy_mesh, rng), bumpy_mesh[1].triangles
    here = rasterize_cpu(clip, triangles, SIDE, SIDE)
    monkeypatch.setattr(torch.Tensor, "flip", lambda pixels, axis: pixels)
    there = rasterize_nvdiffrast(clip.to("cuda"), triangles.to("cuda"), SIDE, SIDE).cpu()
    assert (here[..., 3] != there[..., 3]).float().mean() > 0.1


def test_exchanged_weights_are_noticed(
    on_the_cpu: Any, bumpy_mesh: Mesh, cuda: PretendedCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, gradients, values, target = on_the_cpu
    exchanged = torch.tensor((1, 0, 2, 3), device="cuda")
    monkeypatch.setattr(
        nvdiffrast_module, "rasterize_nvdiffrast", lambda *inputs: rasterize_nvdiffrast(*inputs)[..., exchanged]
    )
    topology = bumpy_mesh[1].to("cuda", torch.float32)
    _, others = image_and_gradients(to_cuda_list(values), topology, target.to("cuda"), "nvdiffrast")
    assert worst_cosine(others, gradients) < 0.9


def test_a_constant_on_the_host_is_refused(cuda: PretendedCuda) -> None:
    there = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        there * torch.ones(3)
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        there.numpy()
    assert (there * torch.tensor(2.0)).cpu().tolist() == [2.0] * 3


def test_kernels_and_waits_are_counted(cuda: PretendedCuda) -> None:
    values = torch.arange(4.0, device="cuda")
    cuda.reset()
    doubled = (2 * values)[1:]
    assert (sum(cuda.kernels.values()), sum(cuda.waits.values())) == (1, 0)
    assert doubled[doubled > 2].shape == (2,)
    assert float(doubled.sum()) == 12.0
    assert sorted(wait.split(" @ ")[0] for wait in cuda.waits) == ["index by truth values", "item"]
