import torch

from ops.render.rasterize import select_rasterizer
from ops.render.rasterize.cpu import rasterize_cpu
from ops.render.rasterize.nvdiffrast import rasterize_nvdiffrast
from ops.render.rasterize.plain import rasterize_plain
from ops.render.warp.differentiable import rasterize_warp


def test_each_kind_of_tensor_has_its_rasteriser() -> None:
    assert select_rasterizer(torch.device("cpu"), torch.float32) is rasterize_cpu
    assert select_rasterizer(torch.device("cpu"), torch.float64) is rasterize_plain
    gpu = torch.device("cuda", 1)
    assert select_rasterizer(gpu, torch.float32) is rasterize_warp
    assert select_rasterizer(gpu, torch.float32, "nvdiffrast") is rasterize_nvdiffrast
    assert select_rasterizer(gpu, torch.float64) is rasterize_plain
