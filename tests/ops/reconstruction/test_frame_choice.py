import numpy as np
import pytest
import torch

from ops.faceworld.shape import faceworld_model
from ops.geometry.rotation import rotation_from_euler
from ops.reconstruction.detection import Candidate
from ops.reconstruction.frame_choice import FrameView, choose_frames, frame_scores, view_of

GOOD = FrameView(0.2, 0.18, 0.0, 300.0, 1.0, 0.0)


def seen_from_afar(yaw_deg: float, roll_deg: float = 0.0) -> np.ndarray:
    """The landmarks of the mean face in pixels, by a parallel projection."""
    model = faceworld_model()
    yaw, pitch, roll = torch.deg2rad(torch.tensor([yaw_deg, 0.0, roll_deg]))
    turned = model.mean_mm[model.landmarks] @ rotation_from_euler(yaw, pitch, roll).T
    return (turned[:, :2] * torch.tensor([1.0, -1.0]) + 200).numpy()


def face(landmarks_px: np.ndarray) -> Candidate:
    crop = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    return Candidate(np.array([100, 100, 260, 300], np.float32), 0.9, landmarks_px.astype(np.float32), crop)


@pytest.mark.parametrize("yaw_deg", [-40.0, -15.0, 0.0, 25.0, 40.0])
@pytest.mark.parametrize("roll_deg", [0.0, 30.0])
def test_the_yaw_is_told_by_the_nose_however_the_head_is_tilted(yaw_deg: float, roll_deg: float) -> None:
    view = view_of(face(seen_from_afar(yaw_deg, roll_deg)))
    assert view.yaw_deg == pytest.approx(yaw_deg, abs=3)
    assert (view.side_px, view.detection_score) == (200, 0.9)


def test_lids_and_lips_are_measured_along_the_face() -> None:
    open_eyes = seen_from_afar(0.0)
    shut = open_eyes.copy()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        shut[upper] = shut[lower]
    shut[[61, 62, 63]] = shut[[67, 66, 65]] + (0, -20)
    before, after = view_of(face(open_eyes)), view_of(face(shut))
    assert before.eyes > 0.1
    assert after.eyes == 0
    assert view_of(face(seen_from_afar(35.0))).eyes == pytest.approx(before.eyes, rel=0.1)
    nose = np.linalg.norm(shut[31:36].mean(0) - (shut[36:42].mean(0) + shut[42:48].mean(0)) / 2)
    assert after.mouth == pytest.approx(20 / nose, rel=1e-5)


def test_scores_are_products_of_what_is_wrong() -> None:
    bad = [
        GOOD._replace(sharpness=0.1),
        GOOD._replace(eyes=0.09),
        GOOD._replace(mouth=0.15),
        GOOD._replace(side_px=100.0),
        GOOD._replace(detection_score=0.5),
    ]
    wide_eyed = GOOD._replace(eyes=0.4, sharpness=0.2, side_px=900.0)
    scores = frame_scores([GOOD] * 10 + bad + [wide_eyed])
    np.testing.assert_allclose(scores, [1.0] * 10 + [0.5, 0.25, 0.5, 0.5, 0.5] + [1.0])
    assert len(frame_scores([])) == 0


def test_equally_good_frames_are_spread_over_poses_then_over_time() -> None:
    yaw = np.array([0.0, 2, 4, 30, 31, -30, 0, 0])
    time = np.arange(8) / 8
    assert choose_frames(np.ones(8), yaw, time, 3) == [0, 3, 5]
    assert choose_frames(np.ones(9), np.zeros(9), np.arange(9) / 9, 3) == [0, 4, 8]


def test_a_bad_frame_is_taken_only_for_what_no_other_shows() -> None:
    time = np.zeros(4)
    yaw = np.array([0.0, 12, 13, 25])
    assert choose_frames(np.array([1.0, 0.9, 0.9, 0.3]), yaw, time, 2) == [0, 2]
    assert choose_frames(np.array([1.0, 0.9, 0.9, 0.6]), yaw, time, 2) == [0, 3]


def test_no_more_frames_are_chosen_than_there_are() -> None:
    assert choose_frames(np.ones(2), np.zeros(2), np.zeros(2), 5) == [0, 1]
    assert choose_frames(np.zeros(0), np.zeros(0), np.zeros(0), 5) == []
