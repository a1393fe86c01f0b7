import torch

from ops.render.rasterize import select_rasterizer
from ops.render.rasterize.cpu import rasterize_cpu
from ops.render.rasterize.cuda import rasterize_cuda
from ops.render.rasterize.plain import rasterize_plain


def test_each_kind_of_tensor_has_its_rasteriser() -> None:
    assert select_rasterizer(torch.device("cpu"), torch.float32) is rasterize_cpu
    assert select_rasterizer(torch.device("cpu"), torch.float64) is rasterize_plain
    assert select_rasterizer(torch.device("cuda", 1), torch.float32) is rasterize_cuda
