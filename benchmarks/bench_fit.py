"""CPU seconds of fitting one photo with the default preset, and where they go.

Fits the bundle `ict` where GANFIT_MODELS has its files, else the embedded face world. The photo is one of the
model's own. Run as `OMP_NUM_THREADS=1 python -m benchmarks.bench_fit`.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.command_line import parser_of
from ops.errors import ModelFileError
from ops.face.alignment import ARCFACE_SIDE_PX
from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.fit import FitConfig, FitInput, FitModels, fit_faces, preset
from ops.geometry.camera import Camera, project_points
from ops.render.lighting import Light
from ops.render.render import Topology, render
from ops.weights.bundle import ModelBundle, resolve_bundle
from ops.weights.models import load_prior, load_recognition, load_shape, load_texture

REPEATS = 9
STEPS = (40, 240)


class Photo(NamedTuple):
    """One rendered face and how it was rendered."""

    inputs: FitInput
    camera: Camera
    light: Light


def main() -> None:
    """Print the total and a table of its parts."""
    parser_of(__doc__).parse_args()
    torch.set_num_threads(1)
    bundle = find_bundle()
    shape = load_shape(bundle.shape)
    models = FitModels(
        shape=shape,
        texture=load_texture(bundle.texture, shape),
        recognition=load_recognition(bundle.recognition),
        prior=load_prior(bundle.prior),
    )
    photo = take_photo(models)
    config = dataclasses.replace(preset("default"), early_stop_window=0)
    fit_faces(models, photo.inputs, dataclasses.replace(config, steps=2))
    short, long = (cpu_seconds(models, photo, dataclasses.replace(config, steps=steps)) for steps in STEPS)
    step_ms = 1000 * (long - short) / (STEPS[1] - STEPS[0])
    print(f"bundle {bundle.name}: {len(shape.mean_mm)} vertices, texture {models.texture.resolution} px")
    print(
        f"one photo, {config.render_px} px, default preset, {STEPS[1]} steps: {long:.1f} CPU s, {step_ms:.1f} ms each"
    )
    parts = measure_parts(models, photo, config.render_px)
    rest = step_ms - sum(parts.values())
    for name, milliseconds in {**parts, "everything else": rest}.items():
        print(f"  {name:58}{milliseconds:7.1f} ms{100 * milliseconds / step_ms:6.0f} %")


def find_bundle() -> ModelBundle:
    """The bundle `ict` where its files are, else `embedded`."""
    try:
        return resolve_bundle("ict")
    except ModelFileError:
        return resolve_bundle("embedded")


def take_photo(models: FitModels) -> Photo:
    """The mean face under the mean texture, from the front."""
    shape = models.shape
    centre = shape.mean_mm[shape.landmarks].mean(0)
    camera = Camera(
        (centre + torch.tensor((60.0, 0.0, 1000.0)))[None], centre[None], torch.tensor([4.0]), torch.zeros(1)
    )
    light = Light(centre[None] + 800, torch.full((1, 3), 0.5), torch.full((1, 3), 0.6))
    vertices = shape.mean_mm[None]
    texture = models.texture(torch.zeros(1, models.texture.latent_size))
    side = preset("default").render_px
    image = render(topology_of(models), vertices, texture, camera, light, side).image
    points = choose_landmarks(vertices[:, landmark_vertices(shape)], camera)
    inputs = FitInput(
        images=image.clamp(0, 1),
        valid=torch.ones(1, side, side, dtype=torch.bool),
        landmarks_px=project_points(camera, points) * side,
        group=torch.zeros(1, dtype=torch.int64),
        seeds=torch.zeros(1, dtype=torch.int64),
    )
    return Photo(inputs, camera, light)


def topology_of(models: FitModels) -> Topology:
    """The shape model's triangles."""
    shape = models.shape
    return Topology(triangles=shape.triangles, uv=shape.uv, uv_triangles=shape.uv_triangles)


def cpu_seconds(models: FitModels, photo: Photo, config: FitConfig) -> float:
    """CPU time of one fit."""
    started = time.process_time()
    fit_faces(models, photo.inputs, config)
    return time.process_time() - started


def measure_parts(models: FitModels, photo: Photo, side: int) -> dict[str, float]:
    """Milliseconds a step spends in each part, forward and backward, each measured alone at its real size."""
    shape, topology = models.shape, topology_of(models)
    identity = torch.zeros(1, shape.identity_size, requires_grad=True)
    expression = torch.zeros(1, shape.expression_size, requires_grad=True)
    latent = torch.zeros(1, models.texture.latent_size, requires_grad=True)
    faces = torch.rand(2, 3, ARCFACE_SIDE_PX, ARCFACE_SIDE_PX, requires_grad=True)
    vertices = shape.mean_mm[None].clone().requires_grad_()
    texture = models.texture(latent).detach().requires_grad_()

    def picture(size: int) -> Tensor:
        return render(topology, vertices, texture, photo.camera, photo.light, size).image

    def seen() -> Tensor:
        found = models.recognition(faces)
        return torch.cat([found.embedding.flatten(), *(feature.flatten() for feature in found.features)])

    return {
        "recognition, two crops": timed(seen, [faces]),
        "texture model": timed(lambda: models.texture(latent), [latent]),
        "shape model, twice": 2 * timed(lambda: shape.vertices_mm(identity, expression), [identity, expression]),
        f"renderer, {side} px": timed(lambda: picture(side), [vertices, texture]),
        f"renderer, {ARCFACE_SIDE_PX} px": timed(lambda: picture(ARCFACE_SIDE_PX), [vertices, texture]),
    }


def timed(run: Callable[[], Tensor], leaves: list[Tensor]) -> float:
    """Median CPU milliseconds of `run` and its backward pass."""
    gradient = torch.randn_like(run())
    samples: list[float] = []
    for _ in range(REPEATS):
        started = time.process_time()
        torch.autograd.grad(run(), leaves, gradient)
        samples.append(time.process_time() - started)
    return 1000 * statistics.median(samples)


if __name__ == "__main__":
    main()
