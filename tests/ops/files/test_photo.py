import contextlib
import io
import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from ops.errors import UnreadableInputError, UnsupportedInputError
from ops.files.photo import decode_photo, decode_png, encode_jpeg, encode_png


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def gradient() -> np.ndarray:
    rows, columns = np.mgrid[:40, :60]
    return np.stack((rows * 6, columns * 4, 200 - rows - columns), -1).astype(np.uint8)


def test_png_is_decoded_exactly(gradient: np.ndarray) -> None:
    photo = decode_photo(encode_png(gradient))
    np.testing.assert_array_equal(photo.image_rgb, gradient)
    assert (photo.width_px, photo.height_px, photo.scale) == (60, 40, 1)
    np.testing.assert_array_equal(decode_png(encode_png(gradient)), gradient)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (2, lambda image: image[:, ::-1]),
        (3, lambda image: image[::-1, ::-1]),
        (6, lambda image: np.rot90(image, -1)),
        (8, np.rot90),
    ],
)
def test_exif_orientation_is_applied(
    gradient: np.ndarray, orientation: int, turned: Callable[[np.ndarray], np.ndarray]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = decode_photo(encoded(Image.fromarray(gradient), "PNG", exif=exif))
    np.testing.assert_array_equal(photo.image_rgb, turned(gradient))
    assert (photo.height_px, photo.width_px) == photo.image_rgb.shape[:2]


def test_grey_palette_and_16_bit_become_rgb(gradient: np.ndarray) -> None:
    grey = gradient[..., 0]
    expected = np.repeat(grey[..., None], 3, -1)
    sixteen = Image.fromarray(grey.astype(np.uint16) * 257)
    for data in (encoded(Image.fromarray(grey), "PNG"), encoded(sixteen, "PNG")):
        np.testing.assert_array_equal(decode_photo(data).image_rgb, expected)
    palette = Image.fromarray(gradient).quantize(16)
    np.testing.assert_array_equal(decode_photo(encoded(palette, "PNG")).image_rgb, np.asarray(palette.convert("RGB")))


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    image = decode_photo(encoded(red, "JPEG", quality=95)).image_rgb
    assert image[8, 8, 0] > 230
    assert image[8, 8, 1:].max() < 30


def test_transparency_is_laid_over_white() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    image = decode_photo(encode_png(rgba)).image_rgb
    assert image.tolist() == [[[10, 20, 30], [255] * 3], [[255] * 3, [255] * 3]]


def test_a_huge_baseline_jpeg_is_decoded_reduced() -> None:
    data = encoded(Image.new("L", (20_000, 9_000), 77), "JPEG")
    photo = decode_photo(data)
    assert (photo.width_px, photo.height_px) == (20_000, 9_000)
    assert max(photo.image_rgb.shape) <= 4096
    assert photo.scale == pytest.approx(20_000 / photo.image_rgb.shape[1])
    assert abs(int(photo.image_rgb[100, 100, 0]) - 77) <= 1


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {"progressive": True})])
def test_what_cannot_be_decoded_in_bounded_memory_is_refused(kind: str, options: dict[str, object]) -> None:
    data = encoded(Image.new("1" if kind == "PNG" else "L", (9_000, 8_000)), kind, **options)
    with pytest.raises(UnsupportedInputError, match="9000 x 8000 px is too large"):
        decode_photo(data)


def test_a_large_png_is_reduced(gradient: np.ndarray) -> None:
    photo = decode_photo(encoded(Image.fromarray(gradient).resize((5000, 100), Image.Resampling.NEAREST), "PNG"))
    assert photo.image_rgb.shape == (50, 2500, 3)
    assert photo.scale == 2


def test_a_single_pixel_is_a_picture() -> None:
    assert decode_photo(encode_png(np.zeros((1, 1, 3), np.uint8))).image_rgb.shape == (1, 1, 3)


@pytest.mark.parametrize(
    "data", [b"", b"just some text\n" * 50, b"\xff\xd8\xff\xe0" + b"\0" * 300, b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_picture_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableInputError):
        decode_photo(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP"])
def test_damaged_bytes_never_raise_anything_else(gradient: np.ndarray, kind: str) -> None:
    draw = random.Random(kind)  # noqa: S311
    whole = encoded(Image.fromarray(gradient), kind)
    decoded = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(draw.randrange(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        with contextlib.suppress(UnreadableInputError, UnsupportedInputError):
            decode_photo(bytes(data[: draw.randrange(1, len(data) + 1)]))
            decoded += 1
    assert decoded < 100


def test_orientation_survives_the_reduction(gradient: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "TIFF", "JPEG"):
        data = encoded(Image.fromarray(gradient).resize((9000, 60)), kind, exif=exif)
        photo = decode_photo(data)
        assert (photo.width_px, photo.height_px) == (60, 9000)
        assert photo.image_rgb.shape[0] > 40 * photo.image_rgb.shape[1]


def test_a_cut_jpeg_is_unreadable(gradient: np.ndarray) -> None:
    data = encode_jpeg(np.asarray(Image.fromarray(gradient).resize((600, 400))))
    with pytest.raises(UnreadableInputError, match="truncated"):
        decode_photo(data[: len(data) // 2])
