"""The recording conditions of clips: the three settings of MICC Florence, as far as a synthetic camera has them."""

from dataclasses import dataclass
from typing import Literal

from ops.faceworld.appearance import Colour


@dataclass(frozen=True, kw_only=True)
class ClipStyle:
    """A recording condition."""

    width_px: int = 480
    height_px: int = 360
    frames: int = 75
    sweep: bool = False
    """Whether the head turns on request from one side to the other; otherwise it wanders."""
    yaw_deg: float
    """Largest turn; frontal views are among the frames."""
    pitch_deg: float
    roll_deg: float
    drift: float
    """Largest distance of the face from the middle, in picture heights."""
    face_px: tuple[float, float]
    """Height of the face (see `FACE_HEIGHT_MM`) before and after zooming."""
    distance_mm: float
    elevation_deg: float = 0.0
    """Of the camera above the head."""
    ambient: Colour
    light: Colour
    light_azimuth_deg: tuple[float, float]
    """Range of the light's angle to either side of the camera."""
    light_elevation_deg: tuple[float, float]
    blur_px: float
    """Standard deviation of the lens's blur."""
    shutter: float = 0.0
    """Share of the motion to the next frame that smears."""
    shake_px: float = 0.0
    """Standard deviation of further smear."""
    noise: float
    codec: Literal["mjpeg", "mpeg4"] = "mjpeg"
    quantiser: int
    """Of the encoder: 2 is fine, 31 coarse."""
    suffix: str = ".mjpg"


COOPERATIVE = ClipStyle(
    sweep=True,
    yaw_deg=45.0,
    pitch_deg=8.0,
    roll_deg=3.0,
    drift=0.03,
    face_px=(180.0, 195.0),
    distance_mm=900.0,
    ambient=(0.62, 0.62, 0.62),
    light=(0.42, 0.42, 0.41),
    light_azimuth_deg=(5.0, 35.0),
    light_elevation_deg=(20.0, 45.0),
    blur_px=0.4,
    noise=0.008,
    quantiser=3,
)
INDOOR = ClipStyle(
    yaw_deg=32.0,
    pitch_deg=9.0,
    roll_deg=6.0,
    drift=0.14,
    face_px=(58.0, 130.0),
    distance_mm=4000.0,
    elevation_deg=9.0,
    ambient=(0.66, 0.55, 0.42),
    light=(0.42, 0.34, 0.24),
    light_azimuth_deg=(10.0, 60.0),
    light_elevation_deg=(35.0, 65.0),
    blur_px=0.6,
    shutter=0.3,
    noise=0.018,
    quantiser=6,
    suffix=".mjpeg",
)
OUTDOOR = ClipStyle(
    yaw_deg=35.0,
    pitch_deg=9.0,
    roll_deg=6.0,
    drift=0.14,
    face_px=(62.0, 115.0),
    distance_mm=9000.0,
    elevation_deg=12.0,
    ambient=(0.34, 0.37, 0.42),
    light=(0.82, 0.79, 0.72),
    light_azimuth_deg=(35.0, 65.0),
    light_elevation_deg=(30.0, 55.0),
    blur_px=0.6,
    shutter=0.5,
    shake_px=1.2,
    noise=0.012,
    codec="mpeg4",
    quantiser=9,
    suffix=".mpg",
)
