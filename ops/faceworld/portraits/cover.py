"""What is behind, round and before a face, drawn as flat shapes: shoulders, hair, hats, glasses, hands, things.

Shapes follow the head: their corners are points in space, seen by the portrait's camera. They need not be beautiful;
a network should learn that what a face is made of is not the whole picture.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from ops.face.landmark_parts import (
    CHIN,
    LEFT_EYE,
    LEFT_JAW_END,
    MOUTH_CORNERS,
    NASION,
    NOSE_BASE,
    NOSE_WINGS,
    RIGHT_EYE,
    RIGHT_JAW_END,
    UPPER_BRIDGE,
)
from ops.faceworld.appearance import HAIR_COLOURS, SKIN_TONES, blend_colours

Picture = Float32[np.ndarray, "side side 3"]
Mask = Float32[np.ndarray, "side side"]
SKULL_RADII_MM = (77.0, 98.0, 100.0)
SKULL_FROM_NASION_MM = (0.0, 18.0, -92.0)
"""Middle of the skull."""
BALD, HAT = 0.12, 0.08
FRINGE, CURTAIN, GLASSES, OCCLUDER, HAND, FACE_MASK, CAST_SHADOW = 0.45, 0.3, 0.24, 0.16, 0.05, 0.04, 0.35
SUNGLASSES = 0.15
"""Share of glasses."""
STREAKS = 1024
"""Length of a random pattern of hair."""


@dataclass(frozen=True, kw_only=True)
class Viewpoint:
    """Takes points in space to pixels of a portrait."""

    rotation: Float[np.ndarray, "3 3"]
    """Rows: right, up and backward axis of the camera."""
    eye_mm: Float[np.ndarray, "3"]
    focal: float
    crop: Float[np.ndarray, "2 3"]
    side_px: int

    def __call__(self, points_mm: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 2"]:
        """Pixels of the points; see `ops.geometry.camera.project_points`."""
        seen = (points_mm - self.eye_mm) @ self.rotation.T
        flat = 0.5 + self.focal * seen[:, :2] * (1, -1) / np.maximum(-seen[:, 2:], 10.0)
        return (flat @ self.crop[:, :2].T + self.crop[:, 2]) * self.side_px

    def faces(self, normal: Float[np.ndarray, "3"]) -> bool:
        """Whether a surface with this normal is turned to the camera."""
        return float(normal @ self.rotation[2]) > 0


@dataclass(frozen=True, kw_only=True)
class Head:
    """What covers need to know of a head; millimetres in the shape model's frame."""

    landmarks_mm: Float[np.ndarray, "68 3"]
    skin: Float[np.ndarray, "3"]
    hair: Float[np.ndarray, "3"]

    @property
    def skull_mm(self) -> Float[np.ndarray, "3"]:
        """Its middle."""
        return self.landmarks_mm[NASION] + SKULL_FROM_NASION_MM


def sample_colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Of clothes and things: often grey or dim, sometimes of skin or hair."""
    kind = rng.random()
    if kind < 0.15:
        return np.array(blend_colours(SKIN_TONES, rng.uniform()))
    if kind < 0.3:
        return np.array(blend_colours(HAIR_COLOURS, rng.uniform()))
    level = rng.uniform(0.02, 1.0)
    return np.clip(level + rng.normal(0, rng.choice((0.02, 0.2)), 3), 0, 1)


def paint_behind(rng: np.random.Generator, picture: Picture, view: Viewpoint, head: Head) -> None:
    """Draw hair or a hat, neck and shoulders, in place, before the face is laid over them."""
    kind = rng.random()
    if kind > BALD:
        colour = sample_colour(rng) if kind < BALD + HAT else head.hair
        _lay(picture, _polygon(view, _skull_outline(rng, head, view)), _strands(rng, view.side_px, colour))
    chin = head.landmarks_mm[CHIN]
    wide, drop = rng.uniform(40, 62), rng.uniform(45, 70)
    neck = chin + np.array(
        [[-wide, 25, -70], [wide, 25, -70], [wide + 8, -drop - 40, -60], [-wide - 8, -drop - 40, -60]]
    )
    _lay(picture, _polygon(view, view(neck)), head.skin * rng.uniform(0.35, 0.9))
    out, low = rng.uniform(150, 230), rng.uniform(30, 70)
    shoulders = np.array([[wide, -drop + 15, -65], [out, -drop - low, -80], [out + 40, -600, -60]])
    collar = np.array([[0, -drop - low / 2, 0]])
    body = chin + np.concatenate((collar, shoulders, shoulders[::-1] * (-1, 1, 1)))
    _lay(picture, _polygon(view, view(body)), _strands(rng, view.side_px, sample_colour(rng), rng.uniform(0, 0.25)))


def paint_before(
    rng: np.random.Generator, picture: Picture, view: Viewpoint, head: Head
) -> Bool[np.ndarray, "side side"]:
    """Draw hair, glasses and things over the face, in place; returns which pixels they hide."""
    hidden = np.zeros(picture.shape[:2], np.float32)
    if rng.random() < CURTAIN:
        _paint_curtains(rng, picture, view, head, hidden)
    if rng.random() < FRINGE:
        _paint_fringe(rng, picture, view, head, hidden)
    if rng.random() < GLASSES:
        _paint_glasses(rng, picture, view, head, hidden)
    if rng.random() < FACE_MASK:
        ring = [1, 3, 5, 7, CHIN, 9, 11, 13, 15, NOSE_WINGS[1], UPPER_BRIDGE, NOSE_WINGS[0]]
        cloth = head.landmarks_mm[ring] + (0, 0, 8)
        _lay(picture, _polygon(view, view(cloth)), _strands(rng, view.side_px, sample_colour(rng), 0.15), hidden)
    if rng.random() < HAND:
        _paint_fingers(rng, picture, view, head, hidden)
    if rng.random() < OCCLUDER:
        _paint_thing(rng, picture, view, head, hidden)
    return hidden > 0.5


def cast_shadow(rng: np.random.Generator, side_px: int) -> Mask | None:
    """How much of the light a random soft-edged shadow leaves at every pixel; mostly None, no shadow."""
    import cv2

    if rng.random() >= CAST_SHADOW:
        return None
    small = 32
    y, x = np.mgrid[:small, :small] / small - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    edge = x * math.cos(angle) + y * math.sin(angle) - rng.normal(0, 0.2)
    if rng.random() < 0.5:
        edge = np.abs(edge) - rng.uniform(0.05, 0.3)
    soft = 1 / (1 + np.exp(-edge / rng.uniform(0.01, 0.15)))
    left = 1 - rng.uniform(0.2, 0.7) * soft
    return np.asarray(cv2.resize(left.astype(np.float32), (side_px, side_px)))


def _skull_outline(rng: np.random.Generator, head: Head, view: Viewpoint) -> Float[np.ndarray, "point 2"]:
    import cv2

    thick = rng.uniform(2, 14) if rng.random() < 0.5 else rng.uniform(10, 45)
    count = 160
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    around = np.arange(count) * math.pi * (3 - math.sqrt(5))
    rim = np.sqrt(1 - height**2)
    ball = np.stack((rim * np.cos(around), height, rim * np.sin(around)), 1)
    radius = np.array(SKULL_RADII_MM) + thick
    points = head.skull_mm + ball * radius * (1 + 0.05 * rng.normal(size=3))
    points = points[ball[:, 1] > rng.uniform(-0.7, -0.2)]
    if rng.random() < 0.4:
        length, spread = rng.uniform(60, 300), rng.uniform(70, 125)
        low = head.skull_mm + np.array([[-spread, -length, 0], [spread, -length, 0], [-spread, -length / 2, 30]])
        points = np.concatenate((points, low, head.skull_mm + np.array([[spread, -length / 2, 30]])))
    hull = cv2.convexHull(view(points).astype(np.float32))[:, 0]
    # Hair is not a smooth ball.
    middle = hull.mean(0)
    return middle + (hull - middle) * (1 + rng.normal(0, 0.015, (len(hull), 1)))


def _on_forehead(head: Head, angle: np.ndarray, height_mm: np.ndarray, out_mm: float) -> Float[np.ndarray, "point 3"]:
    """Points on the skull, `out_mm` before its skin, at angles from the front and heights over the nasion."""
    up = height_mm - SKULL_FROM_NASION_MM[1]
    rim = np.sqrt(np.clip(1 - (up / (SKULL_RADII_MM[1] + out_mm)) ** 2, 0.02, 1))
    across, along = SKULL_RADII_MM[0] + out_mm, SKULL_RADII_MM[2] + out_mm
    return head.skull_mm + np.stack((across * rim * np.sin(angle), up, along * rim * np.cos(angle)), 1)


def _paint_fringe(rng: np.random.Generator, picture: Picture, view: Viewpoint, head: Head, hidden: Mask) -> None:
    import cv2

    side = view.side_px
    angle = np.linspace(-1.4, 1.4, 25)
    line = rng.uniform(28, 72) + rng.normal(0, 12) * angle + rng.normal(0, 8) * angle**2
    ragged = rng.normal(0, rng.uniform(0.5, 6), len(angle))
    lower = _on_forehead(head, angle, line + ragged, 3.0)
    upper = _on_forehead(head, angle[::-1], np.full(len(angle), 112.0), 8.0)
    mask = _polygon(view, view(np.concatenate((lower, upper))))
    for _ in range(int(rng.integers(0, 40))):
        start, bend = rng.uniform(-1.3, 1.3), rng.normal(0, 0.3)
        end = np.interp(start, angle, line) - abs(rng.normal(0, 14))
        steps = np.linspace(0, 1, 7)
        strand = view(_on_forehead(head, start + bend * steps**2, 105 + (end - 105) * steps, 4.0))
        cv2.polylines(mask, [_fixed(strand)], False, rng.uniform(0.4, 1.0), int(rng.integers(1, 4)), cv2.LINE_AA, 4)
    _lay(picture, mask, _strands(rng, side, head.hair), hidden)


def _paint_curtains(rng: np.random.Generator, picture: Picture, view: Viewpoint, head: Head, hidden: Mask) -> None:
    """Long hair falling on one or both sides of the face."""
    import cv2

    length, inward = rng.uniform(40, 260), rng.uniform(-6, 14)
    near = rng.uniform(60, 84)
    sides = (-1, 1) if rng.random() < 0.7 else (int(rng.choice((-1, 1))),)
    mask, per_mm = np.zeros(picture.shape[:2], np.float32), side_per_mm(view, head)
    for sign in sides:
        for _ in range(int(rng.integers(8, 28))):
            steps = np.linspace(0, 1, 8)
            x = sign * (rng.uniform(near, near + 30) - inward * np.sin(steps * math.pi) + rng.normal(0, 6) * steps)
            y = 75 - (75 + length * rng.uniform(0.7, 1.0)) * steps
            z = rng.uniform(-95, -15) + 10 * steps
            strand = head.landmarks_mm[NASION] + np.stack((x, y, np.full_like(x, 0) + z), 1)
            width = max(1, int(rng.uniform(2, 11) * per_mm))
            cv2.polylines(mask, [_fixed(view(strand))], False, 1.0, width, cv2.LINE_AA, 4)
    _lay(picture, mask, _strands(rng, view.side_px, head.hair), hidden)


def side_per_mm(view: Viewpoint, head: Head) -> float:
    """Pixels a millimetre at the face."""
    middle = head.landmarks_mm[NASION]
    ends = view(np.stack((middle - 50 * view.rotation[0], middle + 50 * view.rotation[0])))
    return float(np.linalg.norm(ends[1] - ends[0])) / 100


def _paint_glasses(rng: np.random.Generator, picture: Picture, view: Viewpoint, head: Head, hidden: Mask) -> None:
    import cv2

    points = head.landmarks_mm
    eyes = [points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0)]
    wide, high, power = rng.uniform(21, 31), rng.uniform(14, 26), rng.uniform(1.8, 4.0)
    rise, out = rng.normal(-3, 3), rng.uniform(14, 22)
    turn = np.linspace(0, 2 * math.pi, 29)[:-1]
    cos, sin = np.cos(turn), np.sin(turn)
    x = wide * np.sign(cos) * np.abs(cos) ** (2 / power)
    y = high * np.sign(sin) * np.abs(sin) ** (2 / power)
    dark = rng.random() < SUNGLASSES
    frame = np.clip(rng.uniform(0, 0.25) + rng.normal(0, 0.05, 3), 0, 1) if rng.random() < 0.75 else sample_colour(rng)
    tint = sample_colour(rng) * (0.3 if dark else 1.0)
    alpha = rng.uniform(0.7, 0.98) if dark else rng.uniform(0, 0.15)
    per_mm = side_per_mm(view, head)
    thickness = max(1, round(rng.uniform(0.6, 4.0) * per_mm))
    lenses, lines = np.zeros_like(hidden), np.zeros_like(hidden)
    inner: list[np.ndarray] = []
    for eye, sign in zip(eyes, (-1, 1), strict=True):
        # The plane of a lens leans back to the temples.
        rim = eye + np.stack((x, y + rise, out - 0.12 * (x * sign + wide)), 1)
        ring = _fixed(view(rim))
        cv2.fillPoly(lenses, [ring], 1.0, cv2.LINE_AA, 4)
        cv2.polylines(lines, [ring], True, 1.0, thickness, cv2.LINE_AA, 4)
        inner.append(rim[int(np.argmin(rim[:, 0] * sign))] + (0, 3, 2))
        outer = rim[int(np.argmax(rim[:, 0] * sign))] + (0, 3, 0)
        if view.faces(np.array((sign, 0.0, 0.15))):
            ear = points[RIGHT_JAW_END if sign < 0 else LEFT_JAW_END] + (0, 8, -5)
            cv2.polylines(lines, [_fixed(view(np.stack((outer, ear))))], False, 1.0, thickness, cv2.LINE_AA, 4)
    cv2.polylines(lines, [_fixed(view(np.stack(inner)))], False, 1.0, thickness, cv2.LINE_AA, 4)
    if rng.random() < 0.25:
        glare = lenses * (np.sin(_ramp(rng, view.side_px) * rng.uniform(5, 25)) > 0.6) * rng.uniform(0.1, 0.7)
        _lay(picture, glare, np.ones(3))
    _lay(picture, lenses * alpha, tint, hidden)
    _lay(picture, lines, frame, hidden)


def _paint_fingers(rng: np.random.Generator, picture: Picture, view: Viewpoint, head: Head, hidden: Mask) -> None:
    import cv2

    points, per_mm = head.landmarks_mm, side_per_mm(view, head)
    touched = points[int(rng.choice((2, 5, CHIN, 11, 14, *MOUTH_CORNERS, NOSE_BASE)))] + (0, 0, 12)
    way = rng.normal(0, 1, 2)
    way /= max(float(np.linalg.norm(way)), 1e-6)
    side = np.array((-way[1], way[0]))
    mask = np.zeros_like(hidden)
    start = view(touched[None])[0]
    for finger in range(int(rng.integers(1, 5))):
        tip = start + side * finger * 17 * per_mm + way * rng.normal(0, 8) * per_mm
        bent = tip + way * 50 * per_mm + side * rng.normal(0, 6) * per_mm
        root = bent + way * 60 * per_mm
        cv2.polylines(mask, [_fixed(np.stack((tip, bent, root)))], False, 1.0, max(2, int(15 * per_mm)), cv2.LINE_AA, 4)
    _lay(picture, mask, _strands(rng, view.side_px, head.skin * rng.uniform(0.7, 1.1), 0.15), hidden)


def _paint_thing(rng: np.random.Generator, picture: Picture, view: Viewpoint, head: Head, hidden: Mask) -> None:
    import cv2

    middle = view(head.landmarks_mm.mean(0, keepdims=True))[0] + rng.normal(0, 0.2, 2) * view.side_px
    size = rng.uniform(0.04, 0.22, 2) * view.side_px
    if rng.random() < 0.5:
        size[1] *= rng.uniform(1, 4)
    corners = cv2.boxPoints(
        ((float(middle[0]), float(middle[1])), (float(size[0]), float(size[1])), rng.uniform(0, 180))
    )
    mask = np.zeros_like(hidden)
    if rng.random() < 0.5:
        axes = (max(1, int(size[0] / 2)), max(1, int(size[1] / 2)))
        cv2.ellipse(mask, (int(middle[0]), int(middle[1])), axes, rng.uniform(0, 180), 0, 360, 1.0, -1, cv2.LINE_AA)
    else:
        cv2.fillPoly(mask, [_fixed(corners)], 1.0, cv2.LINE_AA, 4)
    _lay(picture, mask, _strands(rng, view.side_px, sample_colour(rng), rng.uniform(0, 0.4)), hidden)


def _fixed(points_px: np.ndarray) -> np.ndarray:
    """OpenCV's fixed point, four bits of fraction, pixel centres at whole numbers."""
    return np.round(np.clip((points_px - 0.5) * 16, -(2**20), 2**20)).astype(np.int32)


def _polygon(view: Viewpoint, corners_px: np.ndarray) -> Mask:
    import cv2

    mask = np.zeros((view.side_px, view.side_px), np.float32)
    cv2.fillPoly(mask, [_fixed(corners_px)], 1.0, cv2.LINE_AA, 4)
    return mask


def _ramp(rng: np.random.Generator, side: int) -> Mask:
    ticks = (np.arange(side, dtype=np.float32) + 0.5) / side
    angle = rng.uniform(0, 2 * math.pi)
    return ticks[None] * np.float32(math.cos(angle)) + ticks[:, None] * np.float32(math.sin(angle))


def _strands(rng: np.random.Generator, side: int, colour: np.ndarray, strength: float = 0.35) -> Picture:
    """A colour with streaks along a random direction and a broad shade."""
    import cv2

    half = side // 2
    streaks = np.asarray(cv2.resize(rng.standard_normal((1, STREAKS // 8), np.float32), (STREAKS, 1)))[0]
    place = (_ramp(rng, half) + 2) * np.float32(rng.uniform(150, 450))
    broad = np.asarray(cv2.resize(rng.standard_normal((4, 4), np.float32), (half, half), interpolation=cv2.INTER_CUBIC))
    shade = (
        1 + np.float32(0.5 * strength) * streaks[place.astype(np.int32) % STREAKS] + np.float32(0.5 * strength) * broad
    )
    full = np.asarray(cv2.resize(np.clip(shade, 0.1, 2.2), (side, side), interpolation=cv2.INTER_LINEAR))
    return full[..., None] * colour.astype(np.float32)


def _lay(picture: Picture, mask: Mask, colour: np.ndarray, hidden: Mask | None = None) -> None:
    """Mix a colour over a picture, in place, and note what it hides."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = mask[part][..., None]
    over = colour[part] if colour.ndim == 3 else colour.astype(np.float32)
    picture[part] += alpha * (over - picture[part])
    if hidden is not None:
        np.maximum(hidden[part], mask[part], out=hidden[part])
