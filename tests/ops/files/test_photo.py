import contextlib
import io
import random
import struct
import zlib
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


def chunk(kind: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    found = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", found)


def with_chunk(png: bytes, added: bytes) -> bytes:
    behind_header = 8 + 25
    return png[:behind_header] + added + png[behind_header:]


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 ICC profile."""
    offset = 132 + 12 * len(tags)
    table = body = b""
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    d50 = struct.pack(">iii", 0xF6D6, 0x10000, 0xD32D)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"test", 0x02400000, b"mntr", space, b"XYZ ")
    header = (header + bytes(12) + b"acsp").ljust(68, b"\0") + d50
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def text_tag(text: bytes) -> bytes:
    return b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)


def xyz_tag(*xyz: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(value * 65536) for value in xyz))


def gamma_tag(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


SRGB_PRIMARIES = ((0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


def rgb_profile(order: tuple[int, int, int] = (0, 1, 2), gamma: float = 2.2, padding: int = 0) -> bytes:
    """The primaries of sRGB, in whatever order."""
    tags = {b"desc": text_tag(b"test"), b"wtpt": xyz_tag(0.9642, 1.0, 0.8249)}
    for name, primary in zip((b"r", b"g", b"b"), order, strict=True):
        tags |= {name + b"XYZ": xyz_tag(*SRGB_PRIMARIES[primary]), name + b"TRC": gamma_tag(gamma)}
    return profile(b"RGB ", tags | ({b"priv": b"text" + random.Random(1).randbytes(padding)} if padding else {}))  # noqa: S311


@pytest.mark.parametrize(
    "added",
    [
        chunk(b"tEXt", b"Comment\0" + b"x" * 1_500_000),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>" * 500_000),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(rgb_profile(padding=2_000_000))),
        chunk(b"iCCP", b"profile\0\0not compressed at all"),
        chunk(b"eXIf", b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        chunk(b"eXIf", b"no EXIF"),
        chunk(b"tEXt", b"Comment\0harmless", checksum=7),
        chunk(b"zTXt", b"Comment\0\0damaged"),
    ],
    ids=["text", "packed text", "XMP", "profile", "damaged profile", "EXIF", "no EXIF", "checksum", "damaged text"],
)
def test_a_png_is_not_refused_for_its_metadata(gradient: np.ndarray, added: bytes) -> None:
    grey = np.repeat(gradient[..., :1] // 254 * 255, 3, -1)  # black and white are the same in every profile
    np.testing.assert_array_equal(decode_photo(with_chunk(encode_png(grey), added)).image_rgb, grey)


def test_a_png_with_damaged_pixels_is_still_refused(gradient: np.ndarray) -> None:
    png = encode_png(gradient)
    at = png.index(b"IDAT") + 100
    with pytest.raises(UnreadableInputError):
        decode_photo(png[:at] + bytes([png[at] ^ 0xFF]) + png[at + 1 :])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
def test_a_jpeg_without_its_end_marker_is_whole(gradient: np.ndarray, options: dict[str, object]) -> None:
    data = encoded(Image.fromarray(gradient).resize((600, 400)), "JPEG", **options)
    np.testing.assert_array_equal(decode_photo(data[:-2]).image_rgb, decode_photo(data).image_rgb)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("cut", [0.5, 0.8, 0.95, 0.99])
def test_a_jpeg_that_lacks_more_than_its_end_is_refused(
    gradient: np.ndarray, options: dict[str, object], cut: float
) -> None:
    noise = np.random.default_rng(5).integers(0, 60, (400, 600, 3), dtype=np.uint8)
    data = encoded(
        Image.fromarray(noise + np.asarray(Image.fromarray(gradient // 2).resize((600, 400)))), "JPEG", **options
    )
    with pytest.raises(UnreadableInputError, match="truncated"):
        decode_photo(data[: int(cut * len(data))])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_long_grey_pictures_of_1_and_16_bits_are_reduced(kind: str) -> None:
    ramp = np.repeat(np.arange(100, dtype=np.uint16)[:, None] * 655, 5000, 1)
    photo = decode_photo(encoded(Image.fromarray(ramp), kind))
    assert (photo.width_px, photo.image_rgb.shape) == (5000, (50, 2500, 3))
    expected = ramp[:, 0].reshape(50, 2).mean(1) / 257
    np.testing.assert_allclose(photo.image_rgb[:, 0, 0], expected, atol=1)
    black_above_white = Image.fromarray(np.repeat(np.arange(100)[:, None] >= 50, 5000, 1))
    image = decode_photo(encoded(black_above_white, kind)).image_rgb
    assert (image[:25].max(), image[25:].min()) == (0, 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_colours_are_converted_to_srgb(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100}
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    swapped = decode_photo(encoded(red, kind, icc_profile=rgb_profile(order=(1, 0, 2)), **options)).image_rgb
    np.testing.assert_allclose(swapped[16, 16], (0, 255, 0), atol=3)
    linear = Image.new("RGB", (32, 32), (55, 55, 55))  # 0.2157 of the light, which sRGB writes as 128
    brighter = decode_photo(encoded(linear, kind, icc_profile=rgb_profile(gamma=1), **options)).image_rgb
    np.testing.assert_allclose(brighter[16, 16], (128, 128, 128), atol=2)


def test_transparency_survives_the_conversion_of_colours() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = (255, 0, 0, 255)
    data = encoded(Image.fromarray(pixels), "PNG", icc_profile=rgb_profile(order=(1, 0, 2)))
    np.testing.assert_allclose(decode_photo(data).image_rgb[:, 0], [[0, 255, 0], [255, 255, 255]], atol=3)


def test_a_grey_profile_is_applied_to_grey_pixels_alone() -> None:
    grey_profile = profile(
        b"GRAY", {b"desc": text_tag(b"test"), b"wtpt": xyz_tag(0.9642, 1.0, 0.8249), b"kTRC": gamma_tag(1)}
    )
    grey = decode_photo(encoded(Image.new("L", (8, 8), 55), "PNG", icc_profile=grey_profile))
    np.testing.assert_allclose(grey.image_rgb[4, 4], (128, 128, 128), atol=2)
    colour = decode_photo(encoded(Image.new("RGB", (8, 8), (55, 60, 70)), "PNG", icc_profile=grey_profile))
    assert colour.image_rgb[4, 4].tolist() == [55, 60, 70]


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_photos_of_phones_are_read(gradient: np.ndarray, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    large = Image.fromarray(gradient).resize((240, 160))
    large.info["exif"] = exif.tobytes()
    photo = decode_photo(encoded(large, kind, quality=95, **({} if kind == "HEIF" else {"exif": exif})))
    assert (photo.width_px, photo.height_px) == (160, 240)
    expected = np.rot90(np.asarray(large), -1).astype(float)
    assert np.abs(photo.image_rgb - expected).mean() < 4


@pytest.mark.parametrize("data", [b"GIF89a" + b"\0" * 40, b"no picture at all"])
def test_messages_name_no_buffer(data: bytes) -> None:
    with pytest.raises(UnreadableInputError) as caught:
        decode_photo(data)
    assert "0x" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)
