"""Do before the first run what every first run would do itself: compile the CPU kernels and paint the texture.

Numba keeps the kernels' machine code beside the sources for all processes; without it the first processes that render
compile, each of them, and the first faces wait for half a minute. Shape and texture of the embedded bundle are kept
in the user's cache.

    python -m scripts.warm_caches [BUNDLE ...]
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch

from ops.face.morphable_model import MorphableModel
from ops.faceworld.albedo import AlbedoPainter
from ops.faceworld.appearance import sample_appearance
from ops.faceworld.shape import faceworld_canonical_map
from ops.fit.parameters import to_camera, to_light
from ops.fit.regression import mean_start
from ops.geometry.mesh import Mesh
from ops.registration.closest_point import ClosestPointIndex
from ops.render.render import Topology, render
from ops.weights.bundle import resolve_bundle
from ops.weights.models import load_shape, load_texture


def main(bundles: Sequence[str]) -> None:
    """Warm what these bundles use."""
    for name in bundles:
        bundle = resolve_bundle(name)
        shape = load_shape(bundle.shape)
        print("compile the CPU kernels", flush=True)
        compile_kernels(shape)
        print(f"paint the faces of the texture of {name} (about a minute, once)", flush=True)
        load_texture(bundle.texture, shape)


def compile_kernels(shape: MorphableModel) -> None:
    """Use each once: paint a face, draw it, follow the gradient to all it depends on, look for closest points."""
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
    main(sys.argv[1:] or ["embedded"])
