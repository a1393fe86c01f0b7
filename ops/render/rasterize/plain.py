"""The rasteriser whose weights are written out in torch: any float type, any device; the others must match it."""

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from ops.render.rasterize.cpu import rasterize_cpu


def rasterize_plain(
    clip: Float[Tensor, "image vertex 4"], triangles: Int32[Tensor, "triangle 3"], height: int, width: int
) -> Float[Tensor, "image height width 4"]:
    """The rasteriser of the interface: visibility from the CPU rasteriser in float32, weights in the given type."""
    visible = rasterize_cpu(clip.detach().float().cpu(), triangles.cpu(), height, width)
    triangle = visible[..., 3].long().to(clip.device) - 1
    u, v = interpolation_weights(clip, triangles, triangle).unbind(-1)
    return torch.stack((u, v, visible[..., 2].to(clip), visible[..., 3].to(clip)), -1)


def interpolation_weights(
    clip: Float[Tensor, "image vertex 4"],
    triangles: Int32[Tensor, "triangle 3"],
    triangle: Int64[Tensor, "image height width"],
) -> Float[Tensor, "image height width 2"]:
    """Perspective-correct weights (u, v) of each pixel centre in the triangle it sees (-1: none, weights zero).

    With q_i = (x_i - X w_i, y_i - Y w_i) of the corners, they are proportional to q_1 x q_2, q_2 x q_0 and q_0 x q_1.
    """
    height, width = triangle.shape[-2:]
    seen = triangle >= 0
    image = torch.arange(len(clip), device=clip.device)[:, None, None, None]
    corners = clip[image, triangles.long()[triangle.clamp_min(0)]]
    x = (2 * torch.arange(width, device=clip.device, dtype=clip.dtype) + 1) / width - 1
    y = 1 - (2 * torch.arange(height, device=clip.device, dtype=clip.dtype) + 1) / height
    pixel = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), -1)[:, :, None]
    q0, q1, q2 = (corners[..., :2] - pixel * corners[..., 3:]).unbind(-2)
    edges = torch.stack((_cross(q1, q2), _cross(q2, q0), _cross(q0, q1)), -1)
    total = edges.sum(-1, keepdim=True)
    weights = edges / torch.where(seen[..., None], total, torch.ones_like(total))
    return torch.where(seen[..., None], weights, torch.zeros_like(weights))[..., :2]


def _cross(a: Float[Tensor, "*batch 2"], b: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
