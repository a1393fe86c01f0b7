"""Compile the CPU kernels by using every one once: Numba keeps the machine code beside the sources, for all processes.

Without it the first processes that render compile, each of them, and the first faces wait for half a minute.
"""

import numpy as np
import torch

from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.appearance import sample_appearance
from ops.faceworld.shape import faceworld_canonical_map, faceworld_model
from ops.fit.parameters import to_camera, to_light
from ops.fit.regression import mean_start
from ops.mesh import Mesh
from ops.registration.closest_point import ClosestPointIndex
from ops.render import Topology, render


def main() -> None:
    """Paint a face, draw it, follow the gradient back to everything it depends on, and look for its closest points."""
    shape = faceworld_model()
    painted = AlbedoPainter(faceworld_canonical_map(32))(sample_appearance(np.random.default_rng(0)))
    start = mean_start(shape)
    variables = (
        torch.zeros(1, shape.identity_size),
        torch.from_numpy(painted)[None],
        start.camera[None],
        start.light[None],
    )
    identity, texture, camera, light = (value.requires_grad_() for value in variables)
    vertices = shape.vertices_mm(identity, torch.zeros(1, shape.expression_size))
    topology = Topology(triangles=shape.triangles, uv=shape.uv, uv_triangles=shape.uv_triangles)
    drawn = render(topology, vertices, texture, to_camera(camera), to_light(light), 32)
    drawn.image.sum().backward()
    mesh = Mesh(vertices=vertices[0].detach().double().numpy(), triangles=shape.triangles.numpy())
    ClosestPointIndex(mesh).query(mesh.vertices[:1])


if __name__ == "__main__":
    main()
