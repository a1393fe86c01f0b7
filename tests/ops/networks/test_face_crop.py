import numpy as np
import pytest

from ops.networks.face_crop import (
    MIRRORED_68,
    CropView,
    compose_affines,
    crop_faces,
    invert_affine,
    points_in_image,
    reduced_surroundings,
    upright_crop,
)

BOX = np.array((40.0, 20.0, 100.0, 120.0), np.float32)
LEVEL = np.array(((55, 60), (85, 60), (70, 80), (58, 100), (82, 100)), np.float32)


def apply(affine: np.ndarray, *point: float) -> np.ndarray:
    return affine[:, :2] @ np.array(point) + affine[:, 2]


def blob(height: int, width: int, x: float, y: float) -> np.ndarray:
    """A white Gaussian spot of 4 px deviation on black."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 32)
    return np.repeat((255 * spot).round().astype(np.uint8)[..., None], 3, 2)


def centroid(crop: np.ndarray) -> np.ndarray:
    weight = crop[..., 0].astype(np.float64)
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
    return np.array(((weight * columns).sum(), (weight * rows).sum())) / weight.sum()


def test_the_plain_crop_is_the_square_about_the_box() -> None:
    affine = upright_crop(BOX, LEVEL, CropView(), 112)
    np.testing.assert_allclose(apply(affine, 70, 70), (56, 56))
    np.testing.assert_allclose(apply(affine, 20, 20), (0, 0), atol=1e-9)
    np.testing.assert_allclose(apply(affine, 120, 120), (112, 112))


def test_scale_rise_and_flip() -> None:
    wide = upright_crop(BOX, LEVEL, CropView(scale=2.0, rise=0.25), 100)
    np.testing.assert_allclose(apply(wide, 70, 45), (50, 50))
    np.testing.assert_allclose(apply(wide, 80, 45), (55, 50))
    mirrored = upright_crop(BOX, LEVEL, CropView(flip=True), 112)
    np.testing.assert_allclose(apply(mirrored, 20, 20), (112, 0), atol=1e-9)


def test_tilted_eyes_become_level_and_the_rise_follows_the_face() -> None:
    angle = 0.4
    turn = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    tilted = ((LEVEL - (70, 70)) @ turn.T + (70, 70)).astype(np.float32)
    affine = upright_crop(BOX, tilted, CropView(rise=0.1), 100)
    left, right = apply(affine, *tilted[0]), apply(affine, *tilted[1])
    assert left[1] == pytest.approx(right[1], abs=1e-4)
    assert right[0] - left[0] == pytest.approx(30, abs=1e-4)
    np.testing.assert_allclose(apply(affine, 70 + 10 * np.sin(angle), 70 - 10 * np.cos(angle)), (50, 50), atol=1e-4)


@pytest.mark.parametrize("factor", [1, 7])
@pytest.mark.parametrize("view", [CropView(), CropView(flip=True, scale=1.2, rotation_rad=0.3, rise=0.1)])
def test_a_spot_lands_where_the_affine_says(view: CropView, factor: int) -> None:
    """Also when the face is seven times larger than the crop and the surroundings are reduced first."""
    spot = np.array((78.0, 61.0)) * factor
    image = blob(140 * factor, 130 * factor, *spot)
    if factor > 1:
        rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
        near = np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / (32 * factor**2))
        image = np.repeat((255 * near).astype(np.uint8)[..., None], 3, 2)
    crops = crop_faces(image, BOX[None] * factor, LEVEL[None] * factor, (view,), 112)
    assert crops.images.shape == (1, 112, 112, 3)
    np.testing.assert_allclose(centroid(crops.images[0]), apply(crops.crop_from_image[0], *spot), atol=0.1)


def test_beyond_the_border_the_border_is_repeated() -> None:
    image = np.zeros((50, 50, 3), np.uint8)
    image[:, :, 0] = 200
    image[:, 40:, 1] = 100
    box = np.array((30.0, 10.0, 70.0, 50.0), np.float32)
    points = np.array(((40, 20), (60, 20), (50, 30), (42, 40), (58, 40)), np.float32)
    (crop,) = crop_faces(image, box[None], points[None], (CropView(),), 40).images
    assert (crop[..., 0] == 200).all()
    assert (crop[:, :9, 1] == 0).all()
    assert (crop[:, 11:, 1] == 100).all()


@pytest.mark.parametrize("box", [(-80, -60, -20, -10), (200, 10, 260, 90), (5, 5, 5, 5)])
def test_a_box_outside_the_image_or_without_extent_gives_a_crop(box: tuple[float, ...]) -> None:
    image = np.full((30, 40, 3), 90, np.uint8)
    crops = crop_faces(image, np.array([box], np.float32), LEVEL[None], (CropView(),), 24)
    assert (crops.images == 90).all()
    assert np.isfinite(crops.crop_from_image).all()


def test_surroundings_are_cut_and_reduced_to_the_wanted_size() -> None:
    image = np.zeros((2000, 3000, 3), np.uint8)
    part, affine = reduced_surroundings(image, np.array((1000.0, 500.0, 1400.0, 1300.0)), 1.0, 200.0)
    assert part.shape == (400, 400, 3)
    np.testing.assert_allclose(apply(affine, 1200, 900), (200, 200), atol=0.6)


@pytest.mark.parametrize("view", [CropView(), CropView(flip=True, rotation_rad=-0.2, scale=0.9)])
def test_points_come_back_where_they_were(view: CropView) -> None:
    in_image = np.random.default_rng(0).uniform(20, 120, (68, 2))
    affine = upright_crop(BOX, LEVEL, view, 112)
    in_crop = in_image @ affine[:, :2].T + affine[:, 2]
    seen = (in_crop[MIRRORED_68] if view.flip else in_crop).astype(np.float32)
    np.testing.assert_allclose(points_in_image(seen, affine, view), in_image, atol=1e-3)


def test_mirroring_twice_changes_nothing_and_keeps_parts_together() -> None:
    assert (MIRRORED_68[MIRRORED_68] == np.arange(68)).all()
    for first, last in ((0, 17), (17, 27), (27, 36), (36, 48), (48, 68)):
        assert sorted(MIRRORED_68[first:last]) == list(range(first, last))
    assert MIRRORED_68[36] == 45  # outer eye corners
    assert MIRRORED_68[48] == 54  # mouth corners
    assert MIRRORED_68[8] == 8  # chin
    assert MIRRORED_68[37] == 44  # upper lids


def test_affines_compose_and_invert() -> None:
    outer = np.array(((2.0, 1, 3), (0, 1, -4)))
    inner = np.array(((0.0, -1, 1), (1, 0, 2)))
    both = compose_affines(outer, inner)
    np.testing.assert_allclose(apply(both, 5, 6), apply(outer, *apply(inner, 5, 6)))
    np.testing.assert_allclose(compose_affines(invert_affine(both), both), np.eye(3)[:2], atol=1e-12)
