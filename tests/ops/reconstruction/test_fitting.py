import torch

from ops.reconstruction.fitting import batches, seed_of, to_bytes


def test_batches_hold_whole_people_and_leave_out_what_is_not_to_be_fitted() -> None:
    people = ["a", "b", None, "b", "c", "d", "d", "d", "d", "d"]
    assert list(batches(people, 3)) == [[0, 1, 3], [4], [5, 6, 7, 8, 9]]
    assert list(batches([None], 3)) == []


def test_seeds_depend_on_the_image_alone() -> None:
    assert seed_of("a") == seed_of("a") != seed_of("b")
    assert all(0 <= seed_of(str(number)) < 2**63 for number in range(1000))


def test_pictures_become_bytes_with_the_mask_as_opacity() -> None:
    image = torch.tensor((0.0, 0.5, 1.2)).reshape(3, 1, 1).expand(3, 2, 4)
    assert to_bytes(image)[0, 0].tolist() == [0, 128, 255]
    mask = torch.tensor([[True, False, True, True]] * 2)
    assert to_bytes(image, mask)[1, :, 3].tolist() == [255, 0, 255, 255]
