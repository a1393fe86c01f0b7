"""Videos of people of the face world: a head that moves and talks before a fixed, perhaps zooming, camera.

A clip is a function of its person, seed and style. The head moves in the room; camera and light stand still.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from ops.face.landmark_parts import NASION, NOSE_TIP
from ops.face.landmark_points import choose_landmarks, landmark_vertices
from ops.face.morphable_model import MorphableModel
from ops.faceworld.backgrounds import paint_background
from ops.faceworld.clip_styles import ClipStyle
from ops.faceworld.people import Person, sample_expression
from ops.faceworld.scenes import FACE_HEIGHT_MM, HEAD_CENTRE_MM, SUPERSAMPLING
from ops.geometry.camera import Camera, project_points
from ops.geometry.rotation import rotation_from_euler
from ops.render.lighting import Light
from ops.render.render import Topology, render

FRAME_RATE = 25
EXPRESSION_FRAMES = 15
"""From one expression to the next."""
LIGHT_DISTANCE_MM = 3000.0
NECK_MM, BODY_MM = 120.0, (215.0, 80.0)
"""The body below the head's centre: where the shoulders begin, their half width, and how far they slope."""


FilmFrame = Float32[np.ndarray, "height width 3"]


class ClipFrame(NamedTuple):
    """One frame before compression, and what is true about it."""

    image_rgb: UInt8[np.ndarray, "height width 3"]
    landmarks_px: Float32[np.ndarray, "68 2"]
    """iBUG order; the jaw follows the visible outline."""


class _Motion(NamedTuple):
    """Where everything is in every frame."""

    rotation: Float[Tensor, "frame 3 3"]
    expression: Float[Tensor, "frame expression"]
    offset_px: Float[np.ndarray, "frame 2"]
    face_px: Float[np.ndarray, " frame"]


class _View(NamedTuple):
    """What stands still during a frame."""

    camera: Camera
    light: Light
    frame_from_normalised: Float[np.ndarray, "2 3"]
    """From normalised image coordinates to the frame's pixels."""


def film_clip(
    model: MorphableModel, person: Person, seed: int | tuple[int, ...], style: ClipStyle, path: Path
) -> Float32[np.ndarray, "frame 68 2"]:
    """Write a clip (its suffix should be the style's) and return the landmarks of its frames, in pixels."""
    landmarks: list[np.ndarray] = []

    def images() -> Iterator[np.ndarray]:
        for frame in draw_frames(model, person, seed, style):
            landmarks.append(frame.landmarks_px)
            yield frame.image_rgb

    write_clip(path, images(), style)
    return np.stack(landmarks)


def draw_frames(
    model: MorphableModel, person: Person, seed: int | tuple[int, ...], style: ClipStyle
) -> Iterator[ClipFrame]:
    """The frames of a clip, uncompressed."""
    rng = np.random.default_rng(seed)
    backdrop = paint_background(rng, max(style.width_px, style.height_px)).transpose(1, 2, 0)
    cloth = rng.uniform(0.05, 0.75, 3)
    light = _light(rng, style)
    motion = _motion(model, rng, style)
    topology = Topology(triangles=model.triangles, uv=model.uv, uv_triangles=model.uv_triangles)
    focal = motion.face_px * style.distance_mm / (FACE_HEIGHT_MM * style.width_px)
    last_nose: np.ndarray | None = None
    for index in range(style.frames):
        vertices = _head(model, person, motion, index)
        camera = _camera(style, float(focal[index]))
        view = _View(camera, light, _frame_from_normalised(style, motion.offset_px[index]))
        picture = _backdrop(backdrop, style, motion, index)
        _dress(picture, cloth, style, motion, index)
        _lay(picture, topology, vertices, person, view)
        points = choose_landmarks(vertices[:, landmark_vertices(model)], camera)
        landmarks = _apply(view.frame_from_normalised, project_points(camera, points)[0].numpy())
        moved = np.zeros(2) if last_nose is None else landmarks[NOSE_TIP] - last_nose
        last_nose = landmarks[NOSE_TIP]
        yield ClipFrame(_expose(rng, picture, moved, style), landmarks.astype(np.float32))


def write_clip(path: Path, images: Iterable[UInt8[np.ndarray, "height width 3"]], style: ClipStyle) -> None:
    """Encode images of the style's size; equal images give equal files."""
    import av

    quantiser = {"qmin": str(style.quantiser), "qmax": str(style.quantiser)}
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(style.codec, rate=FRAME_RATE, options={**quantiser, "flags": "+bitexact"})
        stream.width, stream.height = style.width_px, style.height_px
        stream.pix_fmt = "yuvj420p" if style.codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())


def _motion(model: MorphableModel, rng: np.random.Generator, style: ClipStyle) -> _Motion:
    time = np.linspace(0, 1, style.frames)
    wandering = [_wander(rng, time) for _ in range(6)]
    yaw = np.sin(2 * np.pi * time) if style.sweep else wandering[0]
    limits = np.deg2rad([style.yaw_deg, style.pitch_deg, style.roll_deg])
    angles = [torch.from_numpy(limit * course) for limit, course in zip(limits, (yaw, *wandering[1:3]), strict=True)]
    low, high = style.face_px
    zoom = low * (high / low) ** (0.5 + 0.5 * wandering[3])
    keys = torch.stack([sample_expression(model, rng) for _ in range(style.frames // EXPRESSION_FRAMES + 2)])
    keys[0] = 0
    at = np.arange(style.frames) / EXPRESSION_FRAMES
    share = torch.from_numpy(0.5 - 0.5 * np.cos(np.pi * (at % 1))).float().unsqueeze(1)
    before = torch.from_numpy(at.astype(np.int64))
    return _Motion(
        rotation=rotation_from_euler(angles[0], angles[1], angles[2]).float(),
        expression=keys[before] * (1 - share) + keys[before + 1] * share,
        offset_px=np.stack(wandering[4:], 1) * style.drift * style.height_px,
        face_px=zoom,
    )


def _wander(rng: np.random.Generator, time: Float[np.ndarray, " frame"]) -> Float[np.ndarray, " frame"]:
    """A smooth course within [-1, 1]."""
    turns, phases = rng.uniform((0.5, 1.5), (1.5, 3.0)), rng.uniform(0, 2 * np.pi, 2)
    return 0.7 * np.sin(2 * np.pi * turns[0] * time + phases[0]) + 0.3 * np.sin(2 * np.pi * turns[1] * time + phases[1])


def _head(model: MorphableModel, person: Person, motion: _Motion, index: int) -> Tensor:
    """Vertices in the room, whose origin is the head's centre, as a batch of one."""
    vertices = model.vertices_mm(person.identity, motion.expression[index])
    centre = vertices[model.landmarks[NASION]] + vertices.new_tensor(HEAD_CENTRE_MM)
    return ((vertices - centre) @ motion.rotation[index].mT).unsqueeze(0)


def _camera(style: ClipStyle, focal: float) -> Camera:
    elevation = np.deg2rad(style.elevation_deg)
    eye = style.distance_mm * np.array([[0.0, np.sin(elevation), np.cos(elevation)]], np.float32)
    return Camera(torch.from_numpy(eye).float(), torch.zeros(1, 3), torch.tensor([focal]), torch.zeros(1))


def _light(rng: np.random.Generator, style: ClipStyle) -> Light:
    azimuth = np.deg2rad(rng.uniform(*style.light_azimuth_deg)) * rng.choice((-1.0, 1.0))
    elevation = np.deg2rad(rng.uniform(*style.light_elevation_deg))
    towards = [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    return Light(
        position_mm=LIGHT_DISTANCE_MM * torch.tensor([towards], dtype=torch.float32),
        colour=torch.tensor([style.light]),
        ambient=torch.tensor([style.ambient]),
    )


def _frame_from_normalised(style: ClipStyle, offset_px: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2 3"]:
    """Scale by the picture's width; the optical axis meets the picture's middle plus the offset."""
    middle = np.array([style.width_px, style.height_px]) / 2 + offset_px
    return np.column_stack([style.width_px * np.eye(2), middle - style.width_px / 2])


def _apply(affine: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    return points @ affine[:, :2].T + affine[:, 2]


def _backdrop(backdrop: Float32[np.ndarray, "side side 3"], style: ClipStyle, motion: _Motion, index: int) -> FilmFrame:
    """The far background, which zooms and pans with the camera."""
    import cv2

    scale = 1.25 * motion.face_px[index] / motion.face_px.min()
    middle = np.array([style.width_px, style.height_px]) / 2 + 0.5 * motion.offset_px[index]
    affine = np.column_stack([scale * np.eye(2), middle - scale * len(backdrop) / 2])
    size = (style.width_px, style.height_px)
    return cv2.warpAffine(backdrop, affine, size, borderMode=cv2.BORDER_REFLECT).astype(np.float32)


def _dress(picture: FilmFrame, cloth: Float[np.ndarray, "3"], style: ClipStyle, motion: _Motion, index: int) -> None:
    """Shoulders below the head and what is below them, in place."""
    import cv2

    scale = motion.face_px[index] / FACE_HEIGHT_MM
    half_width, slope = BODY_MM[0] * scale, BODY_MM[1] * scale
    x, y = np.array([style.width_px, style.height_px]) / 2 + motion.offset_px[index]
    shoulder = y + NECK_MM * scale + slope
    colour = (cloth * (np.array(style.ambient) + 0.5 * np.array(style.light))).tolist()
    cv2.ellipse(picture, ((x, shoulder), (2 * half_width, 2 * slope), 0.0), colour, -1, cv2.LINE_AA)
    corners = (round(x - half_width), round(shoulder)), (round(x + half_width), style.height_px)
    if shoulder < style.height_px:
        cv2.rectangle(picture, *corners, colour, -1)


def _lay(picture: FilmFrame, topology: Topology, vertices: Tensor, person: Person, view: _View) -> None:
    """Draw a head over the picture, in place; only the square that holds the head is rendered."""
    places = _apply(view.frame_from_normalised, project_points(view.camera, vertices)[0].numpy())
    corner = np.floor(places.min(0)).astype(int) - 1
    side = int(np.ceil((places.max(0) - corner).max())) + 1
    window = view.frame_from_normalised.copy()
    window[:, 2] -= corner
    placing = torch.from_numpy(window / side).float().unsqueeze(0)
    texture = person.texture.unsqueeze(0)
    drawn = render(
        topology, vertices, texture, view.camera, view.light, side * SUPERSAMPLING, image_from_normalised=placing
    )
    layers = torch.cat((drawn.image, drawn.mask.unsqueeze(1).to(drawn.image.dtype)), 1)
    layers = torch.nn.functional.avg_pool2d(layers, SUPERSAMPLING)[0].permute(1, 2, 0).numpy()
    height, width = picture.shape[:2]
    low, high = np.clip(corner, 0, (width, height)), np.clip(corner + side, 0, (width, height))
    covered = picture[low[1] : high[1], low[0] : high[0]]
    start, stop = low - corner, high - corner
    layers = layers[start[1] : stop[1], start[0] : stop[0]]
    covered *= 1 - layers[..., 3:]
    covered += layers[..., :3]


def _expose(
    rng: np.random.Generator, picture: FilmFrame, moved_px: Float[np.ndarray, "2"], style: ClipStyle
) -> UInt8[np.ndarray, "height width 3"]:
    """Lens, shutter and sensor."""
    import cv2

    image = cv2.GaussianBlur(picture, (0, 0), style.blur_px)
    smear = style.shutter * moved_px + rng.normal(0, style.shake_px, 2)
    if np.linalg.norm(smear) > 1:
        image = cv2.filter2D(image, -1, _smear_kernel(smear))
    image = image + style.noise * rng.standard_normal(image.shape, np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _smear_kernel(smear_px: Float[np.ndarray, "2"]) -> Float32[np.ndarray, "side side"]:
    """A line of a motion's length and direction about the kernel's middle."""
    half = int(np.ceil(np.abs(smear_px).max() / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    for share in np.linspace(-0.5, 0.5, 8 * half + 1):
        column, row = share * smear_px + half
        left, top = int(column), int(row)
        for x, y in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
            weight = (1 - abs(column - x)) * (1 - abs(row - y))
            if weight > 0:
                kernel[y, x] += weight
    return kernel / kernel.sum()
