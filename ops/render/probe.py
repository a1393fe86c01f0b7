"""Whether a GPU can be used for rendering: one small picture and its gradient, beside the CPU's."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ops.errors import ConfigurationError
from ops.geometry.camera import Camera
from ops.geometry.topology import Topology
from ops.render.lighting import Light
from ops.render.rasterize import RasterizerName
from ops.render.render import render

SIDE_PX = 32
MOST_DIFFERENCE = 2e-3
"""Of a colour, on average; a few pixels at edges may see another triangle."""
LEAST_COSINE = 0.999


def gpu_problem(rasterizer: RasterizerName = "warp") -> str | None:
    """What is wrong with the GPU of this process, as one sentence with the remedy; None where nothing is."""
    if not torch.cuda.is_available():
        return (
            f"PyTorch {torch.__version__} sees no GPU that it can use: install its CUDA build and a driver that is new "
            "enough for it"
        )
    try:
        expected, found = _picture("cpu", rasterizer), _picture("cuda", rasterizer)
    except ConfigurationError as error:
        return str(error)
    except RuntimeError as error:
        return f"the GPU cannot render: {type(error).__name__}: {error}"
    difference = float((expected[0] - found[0]).abs().mean())
    cosine = float(cosine_similarity(expected[1].flatten(), found[1].flatten(), 0))
    if not (difference < MOST_DIFFERENCE and cosine > LEAST_COSINE):
        return (
            f"the GPU renders another picture than the CPU: colours differ by {difference:.2g}, gradients have the "
            f"cosine {cosine:.4f}; `ganfit check-gpu` says more"
        )
    return None


def _picture(device: str, rasterizer: RasterizerName) -> tuple[Tensor, Tensor]:
    """A bent square under a light, and the gradient of its corners."""
    corners = torch.tensor([[[-80.0, -80, 0], [80, -80, 30], [80, 80, 0], [-80, 80, -30]]], device=device)
    corners.requires_grad_()
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32, device=device)
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]], device=device)
    texture = torch.linspace(0.1, 0.9, 48, device=device).reshape(1, 3, 4, 4)
    camera = Camera(*(torch.tensor(value, device=device) for value in ([[60.0, 40, 700]], [[0.0] * 3], [3.0], [0.1])))
    light = Light(*(torch.tensor([value], device=device) for value in ([-300.0, 400, 600], [0.6] * 3, [0.5] * 3)))
    topology = Topology(triangles=triangles, uv=uv, uv_triangles=triangles)
    image = render(topology, corners, texture, camera, light, SIDE_PX, rasterizer=rasterizer).image
    # Each pixel counts differently, or a picture upside down would have the same gradient.
    weights = torch.linspace(0.0, 1.0, image.numel(), device=device).reshape(image.shape)
    (gradient,) = torch.autograd.grad((weights * image).sum(), corners)
    return image.detach().cpu(), gradient.cpu()
