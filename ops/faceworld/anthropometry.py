"""The measurements that make a head: adult means and standard deviations, millimetres unless said otherwise.

The magnitudes follow published adult facial anthropometry (the measurements Farkas collected) where a parameter is a
measurement; offsets named relative to the canonical face have mean 0.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64


class Spread(NamedTuple):
    """How a measurement varies over people."""

    mean: float
    deviation: float


class Measurements(NamedTuple):
    """One value a measurement; also holds spreads or derivatives."""

    face_width: float
    face_height: float
    jaw_width: float
    temple_width: float
    cranium_width: float
    forehead_slope: float
    forehead_bulge: float
    head_height: float
    brow_ridge: float
    brow_height: float
    eye_spacing: float
    eye_length: float
    eye_opening: float
    eye_tilt_deg: float
    eye_depth: float
    eye_bag: float
    lid_crease: float
    eye_height: float
    nose_length: float
    nose_protrusion: float
    nose_width: float
    bridge_width: float
    bridge_height: float
    nose_hump: float
    tip_up: float
    tip_size: float
    ala_size: float
    root_depth: float
    cheekbone: float
    cheekbone_height: float
    cheek_fat: float
    nasolabial: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    lip_protrusion: float
    lip_fullness: float
    philtrum_length: float
    philtrum_depth: float
    chin_protrusion: float
    chin_width: float
    chin_height: float
    chin_cleft: float
    chin_fold: float
    double_chin: float
    jaw_angle: float
    ear_size: float
    ear_protrusion: float


SPREADS: dict[str, Spread] = {
    "face_width": Spread(137, 5.5),
    "face_height": Spread(119, 6),
    "jaw_width": Spread(0, 6),
    "temple_width": Spread(0, 4),
    "cranium_width": Spread(0, 4),
    "forehead_slope": Spread(0, 4),
    "forehead_bulge": Spread(0, 1.6),
    "head_height": Spread(0, 6),
    "brow_ridge": Spread(3.2, 1.8),
    "brow_height": Spread(0, 2),
    "eye_spacing": Spread(32.5, 2.6),
    "eye_length": Spread(30.5, 1.5),
    "eye_opening": Spread(10.6, 1.3),
    "eye_tilt_deg": Spread(2.0, 1.8),
    "eye_depth": Spread(8.0, 1.8),
    "eye_bag": Spread(0.5, 0.6),
    "lid_crease": Spread(1.0, 0.7),
    "eye_height": Spread(0, 1.2),
    "nose_length": Spread(50, 3.2),
    "nose_protrusion": Spread(21, 2.4),
    "nose_width": Spread(35, 3.0),
    "bridge_width": Spread(0, 1.3),
    "bridge_height": Spread(0, 2.0),
    "nose_hump": Spread(0, 1.5),
    "tip_up": Spread(0, 2.2),
    "tip_size": Spread(0, 1.2),
    "ala_size": Spread(0, 1.0),
    "root_depth": Spread(0, 1.6),
    "cheekbone": Spread(4, 2.0),
    "cheekbone_height": Spread(0, 3),
    "cheek_fat": Spread(0, 3.0),
    "nasolabial": Spread(1.0, 0.6),
    "mouth_width": Spread(51, 3.8),
    "upper_lip": Spread(7.2, 1.5),
    "lower_lip": Spread(9.2, 1.6),
    "lip_protrusion": Spread(0, 1.6),
    "lip_fullness": Spread(4.8, 1.0),
    "philtrum_length": Spread(0, 1.8),
    "philtrum_depth": Spread(0.6, 0.3),
    "chin_protrusion": Spread(0, 3.2),
    "chin_width": Spread(0, 3),
    "chin_height": Spread(0, 2.5),
    "chin_cleft": Spread(0.1, 0.4),
    "chin_fold": Spread(2.5, 1.0),
    "double_chin": Spread(0, 2.5),
    "jaw_angle": Spread(0, 4),
    "ear_size": Spread(1.0, 0.08),
    "ear_protrusion": Spread(1.0, 0.2),
}
"""`philtrum_length`, lips and the like are offsets from, or the lengths of, the canonical face's features; `ear_*` are
factors."""

SEX = {
    "face_width": 2.5,
    "brow_ridge": 1.0,
    "jaw_width": 3.0,
    "nose_length": 1.2,
    "lip_fullness": -0.5,
    "chin_protrusion": 1.0,
    "eye_opening": -0.3,
    "face_height": 2.5,
}
"""Half the difference between men and women."""
WEIGHT = {"face_width": 1.5, "jaw_width": 1.5, "cheek_fat": 2.0, "double_chin": 1.5}
"""Effect of one standard deviation of body fat."""

AVERAGE = Measurements(**{name: float(spread.mean) for name, spread in SPREADS.items()})


def independent_directions() -> Float64[np.ndarray, "direction measurement"]:
    """Independent standard-normal causes of variation: each measurement alone, sex, body weight."""
    names = Measurements._fields
    alone = np.diag([SPREADS[name].deviation for name in names])
    joint = [[cause.get(name, 0.0) for name in names] for cause in (SEX, WEIGHT)]
    return np.concatenate([alone, joint])
