import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ops.errors import MissingModelFileError, ModelFormatError
from ops.networks.fan import FanLandmarks, decode_heat_maps, load_fan


def gaussian_maps(centres: Tensor, height: int, width: int) -> Tensor:
    """Heat maps of unit deviation with peaks at (x, y) in cells, cell centres at +0.5."""
    rows = torch.arange(height, dtype=centres.dtype)[:, None] + 0.5
    columns = torch.arange(width, dtype=centres.dtype) + 0.5
    x, y = centres[..., 0, None, None], centres[..., 1, None, None]
    return torch.exp(-((columns - x).square() + (rows - y).square()) / 2)


def test_peaks_of_gaussians_are_exact(rng: torch.Generator) -> None:
    size = torch.tensor((24.0, 16.0), dtype=torch.float64)
    centres = 1.5 + torch.rand(3, 68, 2, generator=rng, dtype=torch.float64) * (size - 3)
    torch.testing.assert_close(decode_heat_maps(gaussian_maps(centres, 16, 24)) * size, centres)


def test_peaks_on_the_border_and_maps_without_a_peak() -> None:
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 0, 0, 7] = 1
    maps[0, 1, 4, 4] = 1
    found = decode_heat_maps(maps)[0] * 8
    torch.testing.assert_close(found[:2], torch.tensor([[7.5, 0.5], [4.5, 4.5]]))
    assert bool(found.isfinite().all())
    assert bool(decode_heat_maps(torch.full((1, 1, 8, 8), -1.0)).isfinite().all())


class BrightestSpot(nn.Module):
    """Heat maps that peak at the centre of brightness of the crop, as stacked hourglasses would."""

    def forward(self, images: Tensor) -> list[Tensor]:
        weight = images.mean(1)
        at = torch.arange(weight.shape[-1]) + 0.5
        total = weight.sum((-2, -1))
        centre = torch.stack(((weight.sum(-2) * at).sum(-1) / total, (weight.sum(-1) * at).sum(-1) / total), -1)
        maps = gaussian_maps(centre[:, None].expand(-1, 68, -1) / 4, 64, 64)
        return [torch.zeros_like(maps), maps]


def test_points_of_every_face_come_back_to_the_image() -> None:
    centres = np.array(((150.0, 120.0), (430.0, 260.0)))
    rows, columns = np.mgrid[:400, :600] + 0.5
    spots = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 60) for x, y in centres)
    image = np.repeat((255 * np.clip(spots, 0, 1)).astype(np.uint8)[..., None], 3, 2)
    boxes = np.concatenate((centres - np.array((35, 50)), centres + np.array((45, 40))), 1).astype(np.float32)
    eyes = np.stack((centres + np.array((-18, -9)), centres + np.array((18, -15))), 1)
    points = np.concatenate((eyes, np.repeat(centres[:, None], 3, 1)), 1).astype(np.float32)
    found = FanLandmarks(BrightestSpot())(image, boxes, points)
    assert found.shape == (2, 68, 2)
    np.testing.assert_allclose(found, np.broadcast_to(centres[:, None], found.shape), atol=0.5)


def test_no_face_gives_no_points() -> None:
    empty = FanLandmarks(BrightestSpot())(
        np.zeros((9, 9, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32)
    )
    assert empty.shape == (0, 68, 2)


@pytest.fixture(scope="module")
def small_fan() -> nn.Module:
    from face_alignment.models import FAN

    torch.manual_seed(0)
    return FAN(1)


def test_weights_are_loaded_from_a_local_file(small_fan: nn.Module, tmp_path: Path) -> None:
    torch.save(small_fan.state_dict(), tmp_path / "fan.pth.tar")
    image = np.random.default_rng(0).integers(0, 255, (90, 80, 3), np.uint8)
    box = np.array([(10, 10, 70, 80)], np.float32)
    points = np.array([((25, 35), (50, 35), (38, 50), (28, 62), (48, 62))], np.float32)
    loaded, direct = load_fan(tmp_path / "fan.pth.tar"), FanLandmarks(small_fan)
    np.testing.assert_array_equal(loaded(image, box, points), direct(image, box, points))


def test_mirrored_images_give_mirrored_points(small_fan: nn.Module) -> None:
    """Holds for any weights: heat maps of an image and its mirror image are added."""
    from ops.networks.face_crop import MIRRORED_68

    image = np.random.default_rng(1).integers(0, 255, (90, 80, 3), np.uint8)
    box = np.array([(10, 10, 70, 80)], np.float32)
    points = np.array([((28, 35), (52, 35), (40, 50), (30, 62), (50, 62))], np.float32)
    mirrored_points = points[:, (1, 0, 2, 4, 3)] * (-1, 1) + (80, 0)
    fan = FanLandmarks(small_fan)
    (plain,) = fan(image, box, points)
    (mirrored,) = fan(np.ascontiguousarray(image[:, ::-1]), box, mirrored_points.astype(np.float32))
    np.testing.assert_allclose(mirrored[MIRRORED_68] * (-1, 1) + (80, 0), plain, atol=0.1)


def test_other_files_are_refused(small_fan: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(MissingModelFileError, match=r"none\.pth"):
        load_fan(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ModelFormatError, match="is not a state dictionary"):
        load_fan(tmp_path / "text.pth")
    state = small_fan.state_dict()
    del state["l0.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(ModelFormatError, match="does not hold the weights of a 2D FAN"):
        load_fan(tmp_path / "part.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelFormatError, match="expected a dictionary of tensors, found list"):
        load_fan(tmp_path / "list.pth")


class _Planted:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('executed')",))


def test_nothing_in_a_pickle_is_executed(tmp_path: Path) -> None:
    (tmp_path / "planted.pth").write_bytes(pickle.dumps(_Planted(), protocol=2))
    with pytest.raises(ModelFormatError, match="is not a state dictionary"):
        load_fan(tmp_path / "planted.pth")
