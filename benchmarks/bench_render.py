"""CPU milliseconds of rendering one face forward and backward, stage by stage.

The face is ICT-FaceKit's mean when GANFIT_MODELS names the model files, else a height field of the same size.
Run as `OMP_NUM_THREADS=1 python -m benchmarks.bench_render`.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.command_line import parser_of
from ops.geometry.camera import Camera
from ops.geometry.mesh_normals import vertex_normals
from ops.geometry.projection import clip_from_world, transform_points_cpu
from ops.render.lighting import Light
from ops.render.rasterize import select_rasterizer
from ops.render.render import PhongMaterial, Topology, render
from ops.render.shading import Scene
from ops.render.shading_cpu import shade_cpu

REPEATS = 15
TEXTURE_PX = 256


def main() -> None:
    """Print one table for each image side."""
    parser_of(__doc__).parse_args()
    torch.set_num_threads(1)
    vertices, topology, name = load_mesh()
    sys.stdout.write(f"{name}: {vertices.shape[1]} vertices, {len(topology.triangles)} triangles, one image, ")
    sys.stdout.write(f"texture {TEXTURE_PX} px; CPU ms, one thread, medians of {REPEATS}\n")
    for side in (112, 224, 512):
        write_table(side, vertices, topology)


def load_mesh() -> tuple[Tensor, Topology, str]:
    """Vertices in millimetres, topology and a name."""
    path = Path(os.environ.get("GANFIT_MODELS", "")) / "ict_facekit_face.npz"
    if path.is_file():
        with np.load(path) as model:
            corners, uv_corners = (torch.from_numpy(model[key].astype(np.int32)) for key in ("tri", "tri_uv"))
            topology = Topology(triangles=corners, uv=torch.from_numpy(model["uv"]), uv_triangles=uv_corners)
            return torch.from_numpy(10 * model["mean"])[None], topology, "ICT-FaceKit mean face"
    count = 141
    steps = torch.linspace(0, 1, count)
    v, u = torch.meshgrid(1 - steps, steps, indexing="ij")
    x, y = 180 * (u - 0.5), 290 * (v - 0.5)
    z = 80 * torch.cos(2 * (u - 0.5)) * torch.cos(v - 0.5) + 3 * torch.sin(x / 5) * torch.sin(y / 5)
    index = torch.arange(count * count, dtype=torch.int32).reshape(count, count)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    corners = torch.cat((torch.stack((a, c, b), -1).reshape(-1, 3), torch.stack((b, c, d), -1).reshape(-1, 3)))
    topology = Topology(triangles=corners, uv=torch.stack((u, v), -1).reshape(-1, 2), uv_triangles=corners)
    return torch.stack((x, y, z), -1).reshape(1, -1, 3), topology, "height field"


def write_table(side: int, vertices: Tensor, topology: Topology) -> None:
    """Time each stage on the outputs of the one before it, then the whole."""
    centre = (vertices.amin(1) + vertices.amax(1)) / 2
    camera = Camera(centre + torch.tensor([0.0, 0, 900]), centre.clone(), torch.tensor([2.6]), torch.zeros(1))
    light = Light(centre + torch.tensor([-300.0, 400, 600]), torch.full((1, 3), 0.6), torch.full((1, 3), 0.5))
    vertices = leaf_of(vertices)
    texture = torch.rand(1, 3, TEXTURE_PX, TEXTURE_PX, generator=torch.Generator().manual_seed(0))
    for leaf in (texture, *camera, *light):
        leaf.requires_grad_()
    matrix = leaf_of(clip_from_world(camera))
    clip = leaf_of(transform_points_cpu(matrix, vertices))
    rasterize = select_rasterizer(clip.device, clip.dtype)
    pixels = leaf_of(rasterize(clip, topology.triangles, side, side))
    normals = leaf_of(vertex_normals(vertices, topology.triangles))
    scene, material = Scene(camera.eye_mm, light), PhongMaterial()
    stages: dict[str, Callable[[], Tensor]] = {
        "camera matrix": lambda: clip_from_world(camera),
        "transform": lambda: transform_points_cpu(matrix, vertices),
        "rasterise": lambda: rasterize(clip, topology.triangles, side, side),
        "vertex normals": lambda: vertex_normals(vertices, topology.triangles),
        "shade": lambda: shade_cpu(pixels, topology, vertices, normals, texture, scene, material),
        "render": lambda: render(topology, vertices, texture, camera, light, side).image,
    }
    covered = float((pixels[..., 3] > 0).float().mean())
    sys.stdout.write(f"\n{side} px, {covered:.0%} covered     forward  backward     both\n")
    for name, stage in stages.items():
        forward, backward = time_stage(stage)
        sys.stdout.write(f"  {name:22}{forward:10.2f}{backward:10.2f}{forward + backward:9.2f}\n")


def leaf_of(tensor: Tensor) -> Tensor:
    """The values as a new differentiable input."""
    return tensor.detach().clone().requires_grad_()


def time_stage(stage: Callable[[], Tensor]) -> tuple[float, float]:
    """Median CPU milliseconds forward and backward, after one call that loads the kernels."""
    grad = torch.randn_like(stage())
    stage().backward(grad)
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        output = stage()
        middle = time.process_time()
        output.backward(grad)
        times.append((middle - start, time.process_time() - middle))
    forward, backward = (1e3 * statistics.median(column) for column in zip(*times, strict=True))
    return forward, backward


if __name__ == "__main__":
    main()
