import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from ops.errors import ConfigurationError
from ops.reconstruction.detection import DetectionConfig, DetectionNetworks
from ops.weights.bundle import ModelBundle
from pipeline.input.planner import FrameChoice, PlanConfig, block_of, plan_shards
from pipeline.input.sources import list_input
from pipeline.stages.detection import DetectFaces
from pipeline.stages.frames import ReadFrames
from pipeline.stages.stage import run_stage
from pipeline.tables.schema import Frame, frames_from_table


def stage(bundle: ModelBundle, config: DetectionConfig) -> DetectFaces:
    return DetectFaces(
        detector=bundle.detector, landmarks=bundle.landmarks, recognition=bundle.recognition, config=config
    )


@pytest.fixture(scope="module")
def networks(bundle: ModelBundle) -> DetectionNetworks:
    return stage(bundle, DetectionConfig()).load()


Detect = Callable[..., dict[str, Frame]]


@pytest.fixture
def detect(bundle: ModelBundle, networks: DetectionNetworks) -> Detect:
    """Rows of an input by `identity/file name`."""

    def run(path: Path, config: DetectionConfig | None = None) -> dict[str, Frame]:
        block = block_of(plan_shards(list_input(path).items, PlanConfig(shard_size=100)).rows())
        images = run_stage(ReadFrames(), None, block)
        rows = frames_from_table(run_stage(stage(bundle, config or DetectionConfig()), networks, images))
        return {f"{row.identity_id}/{Path(row.uri).name}": row for row in rows}

    return run


@pytest.fixture
def portrait(photo_dir: Path) -> Image.Image:
    """Of 910 x 1137 pixels."""
    with Image.open(photo_dir / "presidents" / "obama.jpg") as photo:
        return photo.convert("RGB")


def box(row: Frame) -> np.ndarray:
    assert row.box_xyxy_px is not None
    return np.array(row.box_xyxy_px)


@pytest.mark.models
def test_a_portrait_has_its_box_and_landmarks_in_pixels_of_the_photo(photo_dir: Path, detect: Detect) -> None:
    (row,) = detect(photo_dir / "presidents" / "obama.jpg").values()
    assert (row.status, row.width_px, row.height_px) == ("ok", 910, 1137)
    points = np.array(row.landmarks_px).reshape(68, 2)
    left, top, right, bottom = box(row)
    assert 150 < right - left < 400
    inner = points[17:]
    assert (inner > (left, top)).all()
    assert (inner < (right, bottom)).all()
    assert points[36, 0] < points[45, 0]
    assert points[8, 1] > points[30, 1] > points[27, 1]


@pytest.mark.models
def test_coordinates_are_those_of_the_upright_photo_at_full_resolution(
    tmp_path: Path, photo_dir: Path, portrait: Image.Image, detect: Detect
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    portrait.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    portrait.resize((910 * 6, 1137 * 6)).save(tmp_path / "large.jpg")
    shutil.copy(photo_dir / "presidents" / "obama.jpg", tmp_path / "plain.jpg")
    found = {Path(row.uri).stem: box(row) for row in detect(tmp_path).values()}
    np.testing.assert_allclose(found["turned"], found["plain"], atol=6)
    np.testing.assert_allclose(found["large"] / 6, found["plain"], atol=12)


@pytest.mark.models
def test_a_quick_search_looks_at_a_reduced_photo_and_at_all_of_it_where_that_shows_nothing(
    tmp_path: Path, portrait: Image.Image, detect: Detect
) -> None:
    portrait.resize((910 * 4, 1137 * 4)).save(tmp_path / "large.jpg")
    far = Image.new("RGB", (4000, 4000), (90, 120, 90))
    far.paste(portrait.resize((273, 341)), (1800, 1800))
    far.save(tmp_path / "far.jpg", quality=95)
    full, quick = (
        {Path(row.uri).stem: row for row in detect(tmp_path, DetectionConfig(effort=effort)).values()}
        for effort in ("full", "quick")
    )
    assert {name: row.status for name, row in quick.items()} == {"large": "ok", "far": "ok"}
    for name, size in (("large", 4 * 250), ("far", 75)):
        apart = np.array(quick[name].landmarks_px) - np.array(full[name].landmarks_px)
        assert np.abs(apart).mean() < 0.02 * size


@pytest.mark.models
def test_among_two_faces_the_person_is_recognised(tmp_path: Path, photo_dir: Path, detect: Detect) -> None:
    folder = photo_dir / "presidents"
    rows = [("biden.jpg", "biden"), ("two_people.jpg", "biden"), ("obama.jpg", "obama"), ("two_people.jpg", "obama")]
    uris = [str(folder / name) for name, _ in rows] + [str(folder / "two_people.jpg")]
    identities = [identity for _, identity in rows] + ["stranger"]
    pq.write_table(pa.table({"uri": uris, "identity_id": identities}), tmp_path / "list.parquet")
    found = detect(tmp_path / "list.parquet")
    biden, obama = found["biden/two_people.jpg"], found["obama/two_people.jpg"]
    assert box(obama)[2] < box(biden)[0], "in this photo the one stands left of the other"
    assert "most like the person's other images" in obama.message
    assert found["stranger/two_people.jpg"].message == "2 faces, the most prominent is taken"
    assert found["obama/obama.jpg"].message == ""


@pytest.mark.models
def test_what_has_no_usable_face_says_why(tmp_path: Path, photo_dir: Path, detect: Detect) -> None:
    with Image.open(photo_dir / "presidents" / "obama.jpg") as photo:
        small = Image.new("RGB", (1200, 1200), (90, 120, 90))
        small.paste(photo.resize((91, 114)), (500, 500))
        small.save(tmp_path / "small.png")
        photo.save(tmp_path / "portrait.png")
    Image.new("RGB", (300, 300), (90, 120, 90)).save(tmp_path / "empty.png")
    (tmp_path / "text.jpg").write_text("no photo")
    rows = {Path(row.uri).name: row for row in detect(tmp_path, DetectionConfig(min_face_px=50.0)).values()}
    verdicts = {name: (row.status, row.reason) for name, row in rows.items()}
    assert verdicts["empty.png"] == ("rejected", "no_face")
    assert verdicts["text.jpg"] == ("failed", "unreadable")
    assert verdicts["portrait.png"] == ("ok", "")
    assert verdicts["small.png"][0] == "rejected"
    strict = detect(tmp_path / "portrait.png", DetectionConfig(min_score=0.99))
    (row,) = strict.values()
    assert (row.status, row.reason) == ("rejected", "low_score")
    assert "best detection score 0." in row.message
    assert row.landmarks_px is None


def test_people_of_the_face_world_are_told_apart_by_the_networks_made_for_it(
    embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    for person, other in (("person_00", "person_01"), ("person_01", "person_00")):
        (tmp_path / person).mkdir()
        shutil.copy(album / person / "photo_0.jpg", tmp_path / person / "alone.jpg")
        pair = [np.asarray(Image.open(album / name / "photo_1.jpg")) for name in (person, other)]
        Image.fromarray(np.hstack(pair)).save(tmp_path / person / "beside another.png")
    Image.new("RGB", (240, 240), (90, 120, 90)).save(tmp_path / "person_01" / "nobody.png")
    networks = stage(embedded, DetectionConfig()).load()
    block = block_of(plan_shards(list_input(tmp_path).items, PlanConfig(shard_size=100)).rows())
    images = run_stage(ReadFrames(), None, block)
    rows = frames_from_table(run_stage(stage(embedded, DetectionConfig()), networks, images))
    for row in rows:
        if row.uri.endswith("nobody.png"):
            assert (row.status, row.reason) == ("rejected", "no_face")
            continue
        assert row.ok
        assert box(row)[2] < 240, "the person is the one on the left"
        points = np.array(row.landmarks_px).reshape(68, 2)
        assert points[36, 0] < points[45, 0]
        assert points[8, 1] > points[30, 1] > points[27, 1]
    assert sum("most like the person's other images" in row.message for row in rows) == 2


@pytest.mark.parametrize("settings", [{"min_score": 1.5}, {"min_face_px": 0.0}])
def test_settings_without_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="expected min_score"):
        DetectionConfig(**settings)


def detect_embedded(
    embedded: ModelBundle, path: Path, *, frames: int = 5, frame_choice: FrameChoice = "uniform"
) -> list[Frame]:
    """The rows of an input, by the bundle's own networks and threshold."""
    detecting = DetectFaces(
        detector=embedded.detector,
        landmarks=embedded.landmarks,
        recognition=embedded.recognition,
        config=DetectionConfig(),
        same_person=embedded.people and embedded.people.same_person,
        best_frames=frames if frame_choice == "best" else None,
    )
    block = block_of(plan_shards(list_input(path).items, PlanConfig(shard_size=100, frames=frames)).rows())
    reading = ReadFrames(frames=frames, frame_choice=frame_choice)
    images = run_stage(reading, reading.load(), block)
    return frames_from_table(run_stage(detecting, detecting.load(), images))


def picture(path: Path) -> Image.Image:
    with Image.open(path) as photo:
        return photo.convert("RGB")


def write_clip(path: Path, images: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 240, 240, "yuv420p", 4_000_000
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())


def eyes_deg(row: Frame) -> float:
    points = np.array(row.landmarks_px).reshape(68, 2)
    across = points[42:48].mean(0) - points[36:42].mean(0)
    return float(np.degrees(np.arctan2(across[1], across[0])))


def test_photos_upside_down_have_their_landmarks_the_right_way_round(
    embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    for person in ("person_00", "person_01", "person_02", "person_03"):
        picture(album / person / "photo_0.jpg").rotate(180).save(tmp_path / f"{person}.png")
    rows = detect_embedded(embedded, tmp_path)
    assert [row.status for row in rows] == ["ok"] * 4
    assert max(180 - abs(eyes_deg(row)) for row in rows) < 15, "none lies on its side"
    for row in rows:
        points = np.array(row.landmarks_px).reshape(68, 2)
        assert points[8, 1] < points[30, 1] < points[27, 1], "the chin is above the nose"


def test_a_stranger_among_the_photos_of_a_person_is_rejected(
    embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    (tmp_path / "somebody").mkdir()
    for name in ("photo_0.jpg", "photo_1.jpg"):
        shutil.copy(album / "person_00" / name, tmp_path / "somebody" / f"b_{name}")
    shutil.copy(album / "person_02" / "photo_0.jpg", tmp_path / "somebody" / "a.jpg")
    rows = {Path(row.uri).name: row for row in detect_embedded(embedded, tmp_path)}
    assert {name for name, row in rows.items() if row.ok} == {"b_photo_0.jpg", "b_photo_1.jpg"}
    assert rows["a.jpg"].reason == "other_person"
    assert rows["a.jpg"].message.startswith("similarity ")


def test_unusable_frames_of_a_clip_with_cuts_are_replaced_by_the_next_usable_ones(
    embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    # 45 frames in three parts: the middle of the second is black, the middle of the third shows somebody else.
    person = np.asarray(picture(album / "person_00" / "photo_0.jpg"))
    other = np.asarray(picture(album / "person_01" / "photo_0.jpg"))
    dark = (person * 0.05).astype(np.uint8)
    shown = [dark if 21 <= index <= 23 else other if 36 <= index <= 38 else person for index in range(45)]
    write_clip(tmp_path / "clip.mp4", shown)
    rows = detect_embedded(embedded, tmp_path, frames=3)
    verdicts = {row.frame_index: (row.status, row.reason) for row in rows}
    assert verdicts == {
        7: ("ok", ""),
        17: ("ok", ""),
        22: ("rejected", "too_dark"),
        32: ("ok", ""),
        37: ("rejected", "other_person"),
    }
    said = {row.frame_index: row.message for row in rows}
    assert said[22].startswith("brightness 0.04, ")
    assert said[37].startswith("similarity ")
    assert float(said[37].split()[1]) < 0.45
    assert (said[17], said[32]) == ("", "")


def test_the_best_frames_of_a_clip_are_sharp_and_show_its_person(
    embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    first, second = (picture(album / "person_00" / f"photo_{number}.jpg") for number in (0, 1))
    blurred = first.filter(ImageFilter.GaussianBlur(2))
    other, nobody = picture(album / "person_01" / "photo_0.jpg"), Image.new("RGB", first.size, (90, 120, 90))
    shown = [blurred] * 6 + [first, blurred, nobody] + [blurred] * 3 + [other] * 3 + [second, blurred, first]
    write_clip(tmp_path / "clip.mp4", [np.asarray(image) for image in shown])
    rows = detect_embedded(embedded, tmp_path, frames=3, frame_choice="best")
    assert [(row.frame_index, row.status) for row in rows] == [(6, "ok"), (15, "ok"), (17, "ok")]
    assert all(0 < (row.frame_score or 0) <= 1 for row in rows)


def test_a_clip_with_one_usable_frame_says_of_others_why_they_are_none(
    embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    person, nobody = np.asarray(picture(album / "person_00" / "photo_0.jpg")), np.full((240, 240, 3), 110, np.uint8)
    write_clip(tmp_path / "empty.mp4", [nobody] * 4)
    write_clip(tmp_path / "one.mp4", [*[nobody] * 4, person, nobody])
    write_clip(tmp_path / "short.mp4", [person])
    rows = detect_embedded(embedded, tmp_path, frames=2, frame_choice="best")
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(Path(row.uri).stem, []).append(row.reason or row.status)
        assert (row.frame_score is None) == (not row.ok)
    assert found == {"empty": ["no_face"] * 2, "one": ["no_face", "ok"], "short": ["ok"]}


def test_a_small_face_in_a_picture_of_twelve_megapixels_is_found(
    embedded: ModelBundle, album: Path, tmp_path: Path
) -> None:
    photo = picture(album / "person_00" / "photo_0.jpg")
    large = Image.new("RGB", (5000, 2400), photo.getpixel((0, 0)))
    large.paste(photo.resize((140, 140), Image.Resampling.LANCZOS), (3700, 1500))
    large.save(tmp_path / "large.jpg", quality=92)
    (row,) = detect_embedded(embedded, tmp_path)
    assert row.ok
    left, top, right, bottom = box(row)
    assert 3700 < left < right < 3840
    assert 1500 < top < bottom < 1640
