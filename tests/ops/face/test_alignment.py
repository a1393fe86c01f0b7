import numpy as np
import torch

from ops.face.alignment import (
    ARCFACE_SIDE_PX,
    ARCFACE_TEMPLATE_PX,
    CROP_CENTRE_TEMPLATE_PX,
    apply_affine,
    crop_from_image,
    five_points,
    resample_window,
    warp_image,
    window_matrix,
)


def landmarks_at_the_template(zoom: float, shift: float) -> torch.Tensor:
    """68 points whose five points are the ArcFace template times `zoom` plus `shift`, quarter-turned."""
    landmarks = torch.zeros(68, 2, dtype=torch.float64)
    five = ARCFACE_TEMPLATE_PX * zoom + shift
    for part, point in zip((slice(36, 42), slice(42, 48), 30, 48, 54), five, strict=True):
        landmarks[part] = point
    return landmarks


def test_five_points_land_on_the_template_inside_the_crop() -> None:
    landmarks = landmarks_at_the_template(3.0, 40.0)
    affine = crop_from_image(landmarks, 300)
    in_crop = apply_affine(affine, five_points(landmarks))
    expected = (ARCFACE_TEMPLATE_PX - torch.tensor(CROP_CENTRE_TEMPLATE_PX).double()) * 2 + 150
    torch.testing.assert_close(in_crop, expected, atol=1e-4, rtol=0)


def ramp(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack((x, y, 0 * x), -1)


def test_warping_a_ramp_gives_the_ramp_at_the_mapped_pixel_centres() -> None:
    image = np.clip(ramp(200, 180), 0, 255).astype(np.uint8)
    affine = np.array([[0.8, 0.1, 5.0], [-0.1, 0.8, 20.0]])
    crop, covered = warp_image(image, affine, 100)
    inverse = np.linalg.inv(np.vstack((affine, (0, 0, 1))))
    source = np.concatenate((ramp(100, 100)[..., :2], np.ones((100, 100, 1))), -1) @ inverse.T
    inside = (source[..., 0] > 1) & (source[..., 0] < 179) & (source[..., 1] > 1) & (source[..., 1] < 199)
    difference = np.abs(crop[..., :2] - (source[..., :2] - 0.5))[inside]
    assert covered[inside].all()
    assert covered[0, 0] != covered[50, 50]
    assert difference.max() <= 1.0


def test_strong_reduction_averages_instead_of_aliasing() -> None:
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255
    crop, _ = warp_image(stripes, np.array([[0.1, 0, 0], [0, 0.1, 0]]), 80)
    assert np.abs(crop[5:-5, 5:-5].astype(int) - 127).max() <= 2


def test_window_reproduces_the_template_and_mirrors() -> None:
    side = 224
    x = torch.linspace(0, 1, side).expand(1, 1, side, side)
    columns = window_matrix(side, centre=CROP_CENTRE_TEMPLATE_PX[0])
    rows = window_matrix(side, centre=CROP_CENTRE_TEMPLATE_PX[1])
    plain = resample_window(x, rows, columns)
    assert plain.shape == (1, 1, ARCFACE_SIDE_PX, ARCFACE_SIDE_PX)
    template_x = torch.arange(ARCFACE_SIDE_PX) + 0.5
    crop_x = (template_x - CROP_CENTRE_TEMPLATE_PX[0]) * side / 150.0 + side / 2
    torch.testing.assert_close(plain[0, 0, 50], (crop_x - 0.5) / (side - 1), atol=2e-3, rtol=0)
    mirrored = window_matrix(side, start=112.0, stop=0.0, centre=CROP_CENTRE_TEMPLATE_PX[0])
    torch.testing.assert_close(resample_window(x, rows, mirrored), plain.flip(-1), atol=1e-5, rtol=0)
