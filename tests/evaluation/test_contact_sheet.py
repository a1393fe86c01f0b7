import numpy as np

from evaluation.contact_sheet import GAP_PX, LABEL_PX, SheetRow, draw_contact_sheet, flattened, over

RED = np.full((50, 50, 3), (200, 0, 0), np.uint8)
WIDE_BLUE = np.full((20, 80, 3), (0, 0, 200), np.uint8)


def test_pictures_stand_under_their_headings_in_their_rows() -> None:
    tile = 40
    rows = [SheetRow("first", False, (RED, None)), SheetRow("second é 照片\nline", True, (RED, WIDE_BLUE))]
    sheet = draw_contact_sheet(("one", "two"), rows, tile)
    pitch = tile + GAP_PX
    assert sheet.shape == (LABEL_PX + 2 * (LABEL_PX + pitch), GAP_PX + 2 * pitch, 3)

    def centre(row: int, column: int) -> list[int]:
        top = LABEL_PX + row * (LABEL_PX + pitch) + LABEL_PX
        return sheet[top + tile // 2, GAP_PX + column * pitch + tile // 2].tolist()

    assert [centre(0, 0), centre(0, 1), centre(1, 0), centre(1, 1)] == [
        [200, 0, 0],
        [255] * 3,
        [200, 0, 0],
        [0, 0, 200],
    ]
    top = 2 * LABEL_PX + pitch + LABEL_PX
    assert sheet[top + 2, GAP_PX + pitch + 5].tolist() == [255] * 3, "a wide picture keeps its proportions"


def test_what_an_image_does_not_cover_is_light_grey() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    assert flattened(rgba).tolist() == [[[10, 20, 30], [225, 225, 225]]]


def test_labels_are_drawn_and_alarms_are_red() -> None:
    strips = [
        draw_contact_sheet(("",), [SheetRow("WWWW", alarming, (None,))], 40)[LABEL_PX : 2 * LABEL_PX]
        for alarming in (False, True)
    ]
    darkest = [strip.reshape(-1, 3)[strip.sum(-1).argmin()].tolist() for strip in strips]
    assert darkest[0][0] == darkest[0][2] < 100
    assert darkest[1][0] > darkest[1][2] + 100


def test_over_mixes_by_opacity() -> None:
    front = np.zeros((1, 3, 4), np.uint8)
    front[..., 0] = 100
    front[0, :, 3] = (0, 255, 51)
    back = np.full((1, 3, 3), 50, np.uint8)
    assert over(front, back)[0].tolist() == [[50, 50, 50], [100, 0, 0], [60, 40, 40]]
