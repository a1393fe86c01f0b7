import numpy as np
from scipy.spatial.transform import Rotation

from ops.reconstruction.clip_motion import ClipMotion, clip_motion
from ops.reconstruction.pinhole import Pinhole

CENTRE = np.array((320.0, 240.0))
MIDDLE = np.array((0.0, 30.0, 90.0))
HEAD = MIDDLE + np.random.default_rng(0).uniform(-60, 60, (50, 3))


def camera(yaw_deg: float, centre_px: tuple[float, float], focal_px: float, distance_mm: float) -> Pinhole:
    """One that looks at the middle of the face, wherever in the picture that is."""
    rotation = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    return Pinhole(rotation, MIDDLE + rotation.T @ (0, 0, distance_mm), focal_px, np.array(centre_px))


def moved(cameras: list[Pinhole], **changes: np.ndarray) -> ClipMotion:
    count = len(cameras)
    settings = {"times_s": np.arange(count) / 10, "expressions": np.zeros((count, 1)), "centre_px": CENTRE} | changes
    return clip_motion(cameras, face_mm=MIDDLE, **settings)


def seen(motion: ClipMotion, frame: int) -> np.ndarray:
    """Pixels of the head's points in a frame."""
    rotation = Rotation.from_quat(motion.rotations_xyzw[frame]).as_matrix()
    x, y, z = (HEAD @ rotation.T + motion.translations_mm[frame]).T
    return CENTRE + motion.focal_px * np.stack((x, -y), -1) / -z[:, None]


def test_a_camera_that_stays_sees_what_it_saw() -> None:
    cameras = [camera(yaw, (320, 240), 900, 700) for yaw in (-20, 0, 30)]
    motion = moved(cameras)
    for frame, each in enumerate(cameras):
        np.testing.assert_allclose(seen(motion, frame), each.project(HEAD), atol=1e-6)


def test_heads_aside_and_other_focal_lengths_are_seen_alike() -> None:
    cameras = [camera(10, (180, 330), 800, 600), camera(0, (320, 240), 900, 700), camera(-15, (450, 200), 1100, 900)]
    motion = moved(cameras)
    assert motion.focal_px == 900
    for frame, each in enumerate(cameras):
        expected, found = each.project(HEAD), seen(motion, frame)
        middle = each.project(MIDDLE[None])
        rotation = Rotation.from_quat(motion.rotations_xyzw[frame]).as_matrix()
        x, y, z = rotation @ MIDDLE + motion.translations_mm[frame]
        np.testing.assert_allclose(CENTRE + 900 * np.array((x, -y)) / -z, middle[0], atol=1e-6)
        assert np.linalg.norm(found - expected, axis=1).max() < 0.02 * np.ptp(expected, axis=0).max()
        radii = [np.linalg.norm(points - middle, axis=1).mean() for points in (found, expected)]
        np.testing.assert_allclose(*radii, rtol=0.01)


def test_neighbouring_quaternions_are_on_one_side() -> None:
    motion = moved([camera(yaw, (320, 240), 900, 700) for yaw in range(0, 720, 40)])
    assert ((motion.rotations_xyzw[1:] * motion.rotations_xyzw[:-1]).sum(1) > 0.9).all()


def test_smoothing_takes_the_tremor_and_keeps_turn_and_range() -> None:
    yaws = np.linspace(-20, 20, 41)
    tremor = np.where(np.arange(41) % 2, 1.0, -1.0)
    weights = np.clip(np.linspace(-1, 2, 41), 0, 1)[:, None]
    motion = moved([camera(yaw, (320, 240), 900, 700) for yaw in yaws + tremor], expressions=weights)
    smooth = motion.smoothed(0.2)
    found = Rotation.from_quat(smooth.rotations_xyzw).as_euler("yxz", degrees=True)[:, 0]
    np.testing.assert_allclose(found[5:-5], yaws[5:-5], atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(smooth.rotations_xyzw, axis=1), 1)
    assert (smooth.expressions.min(), smooth.expressions.max()) == (0, 1)
    assert np.abs(smooth.expressions - weights).max() > 0.01
    np.testing.assert_array_equal(motion.smoothed(0.0).translations_mm, motion.translations_mm)
