import numpy as np
import torch

from ops.face.alignment import crop_from_image
from ops.reconstruction.fitting import AlignedFace, batches, pack_faces, seed_of, to_bytes

SIDE = 96


def test_batches_hold_whole_people_and_leave_out_what_is_not_to_be_fitted() -> None:
    people = ["a", "b", None, "b", "c", "d", "d", "d", "d", "d"]
    assert list(batches(people, 3)) == [[0, 1, 3], [4], [5, 6, 7, 8, 9]]
    assert list(batches([None], 3)) == []


def test_seeds_depend_on_the_bytes_alone() -> None:
    assert seed_of(b"a") == seed_of(b"a") != seed_of(b"b")
    assert all(0 <= seed_of(str(number).encode()) < 2**63 for number in range(1000))


def test_pictures_become_bytes_with_the_mask_as_opacity() -> None:
    image = torch.tensor((0.0, 0.5, 1.2)).reshape(3, 1, 1).expand(3, 2, 4)
    assert to_bytes(image)[0, 0].tolist() == [0, 128, 255]
    mask = torch.tensor([[True, False, True, True]] * 2)
    assert to_bytes(image, mask)[1, :, 3].tolist() == [255, 0, 255, 255]


def test_inputs_are_what_the_faces_say() -> None:
    landmarks = torch.rand(68, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 50 + 40
    crop = np.zeros((SIDE, SIDE, 4), np.uint8)
    crop[:, :, 0] = 255
    crop[:, SIDE // 2 :, 3] = 255
    darker = crop // 2
    matrix = crop_from_image(landmarks, SIDE)
    faces = [
        AlignedFace(person, shown, matrix.numpy(), landmarks.numpy())
        for person, shown in (("anna", crop), ("bob", darker), ("anna", crop))
    ]
    inputs = pack_faces(faces, torch.device("cpu"))
    assert inputs.images.shape == (3, 3, SIDE, SIDE)
    assert inputs.images[0].mean((1, 2)).tolist() == [1, 0, 0]
    assert inputs.valid[0, 0].tolist() == [False] * (SIDE // 2) + [True] * (SIDE // 2)
    expected = landmarks @ matrix[:, :2].mT + matrix[:, 2]
    torch.testing.assert_close(inputs.landmarks_px[0].double(), expected, atol=1e-4, rtol=0)
    assert inputs.group.tolist() == [0, 1, 0]
    first, second, third = inputs.seeds.tolist()
    assert first == third != second
