"""Every model file this project knows: what it is, its checksum, its licence and how to get it."""

from pathlib import Path

from ops.weights.sources import GitHubFolder, ModelFile, NpmMember, PlainUrl, PypiMember, ZipMember

_INSIGHTFACE_RELEASE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
_INSIGHTFACE_LICENCE = "InsightFace model terms: non-commercial research only"
_BUFFALO_SC = "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72"
_BUFFALO_L = "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"
_ICT_LICENCE = "MIT (USC Institute for Creative Technologies, 2020)"
_ICT_SOURCE = "ICT-FaceKit, https://github.com/USC-ICT/ICT-FaceKit"
_ICT_ADVICE = (
    "this file of an earlier conversion has no public address: fetch ict_facekit, the same model, and name it in"
    " a bundle file of your own (`--models FILE.yaml`) as a shape of kind ict, or copy it from where it is"
)
_MEDIAPIPE_LICENCE = "Apache-2.0 (Google, MediaPipe)"
_FACE_API_LICENCE = "MIT (Vladimir Mandic, face-api); the weights are of dlib-models: public domain"
_RECOGNITION_ADVICE = (
    "this exact export has no public address: copy it from an installation that has it, or name another ArcFace-type"
    " ONNX network, such as arcface_r50, in a bundle file of your own (`--models FILE.yaml`)"
)


def _mediapipe(member: str) -> PypiMember:
    """A file of the last MediaPipe release whose wheels hold the models."""
    return PypiMember(
        distribution="mediapipe",
        version="0.10.21",
        member=f"mediapipe/modules/{member}",
        python="3.11",
        platform="manylinux_2_28_x86_64",
        download_bytes=35_622_638,
    )


def _face_api(member: str) -> NpmMember:
    return NpmMember(
        package="@vladmandic/face-api",
        version="1.7.15",
        member=f"package/model/{member}",
        download_bytes=12_677_476,
    )


def _convert_ict(folder: Path, target: Path) -> None:
    from ops.face.morphable_model import save_morphable_model
    from ops.importers.ict import face_and_eyes, import_ict

    save_morphable_model(face_and_eyes(import_ict(folder)), target)


KNOWN_FILES: tuple[ModelFile, ...] = (
    ModelFile(
        name="ict_facekit",
        filename="ict_facekit.safetensors",
        what="shape: ICT-FaceKit, face, eyes and mouth, 19,775 vertices, in full precision",
        sha256="5ad79c5cfed444ea36dcfc51a0190ff6b077c00e6be1786975b302dd7e3c2bc1",
        size_bytes=37_993_063,
        licence=_ICT_LICENCE,
        commercial_use=True,
        source="ICT-FaceKit, https://github.com/ICT-VGL/ICT-FaceKit, converted by ops.importers.ict",
        download=GitHubFolder(
            repository="ICT-VGL/ICT-FaceKit",
            commit="da5f95a607f5e6b37755b38d3385d7f2853732e5",
            folder="FaceXModel",
            tree_id="8651fa085a9f6043368aba92567d69d8d95ea605",
            listing=Path(__file__).parent / "listings" / "ict_facekit.json",
            convert=_convert_ict,
            download_bytes=133_056_316,
        ),
    ),
    ModelFile(
        name="mediapipe_face_landmark",
        filename="mediapipe_face_landmark.tflite",
        what="landmarks: MediaPipe's face mesh, 468 points",
        sha256="1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
        size_bytes=1_242_398,
        licence=_MEDIAPIPE_LICENCE,
        commercial_use=True,
        source="MediaPipe, face_landmark.tflite",
        download=_mediapipe("face_landmark/face_landmark.tflite"),
    ),
    ModelFile(
        name="mediapipe_face_detection_short",
        filename="mediapipe_face_detection_short.tflite",
        what="detector: MediaPipe's BlazeFace for near faces, six points",
        sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        size_bytes=229_714,
        licence=_MEDIAPIPE_LICENCE,
        commercial_use=True,
        source="MediaPipe, face_detection_short_range.tflite",
        download=_mediapipe("face_detection/face_detection_short_range.tflite"),
        companions=("mediapipe_face_detection_full",),
    ),
    ModelFile(
        name="mediapipe_face_detection_full",
        filename="mediapipe_face_detection_full.tflite",
        what="detector: MediaPipe's BlazeFace for faces up to 5 m away, six points",
        sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        size_bytes=676_746,
        licence=_MEDIAPIPE_LICENCE,
        commercial_use=True,
        source="MediaPipe, face_detection_full_range_sparse.tflite",
        download=_mediapipe("face_detection/face_detection_full_range_sparse.tflite"),
    ),
    ModelFile(
        name="dlib_recognition_face_api",
        filename="face_recognition_model.bin",
        what="recognition: dlib's ResNet-29, 128 numbers, weights of 8 bits",
        sha256="b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
        size_bytes=6_444_032,
        licence=_FACE_API_LICENCE,
        commercial_use=True,
        source="face-api, face_recognition_model.bin",
        download=_face_api("face_recognition_model.bin"),
        companions=("dlib_recognition_face_api_manifest",),
    ),
    ModelFile(
        name="dlib_recognition_face_api_manifest",
        filename="face_recognition_model-weights_manifest.json",
        what="recognition: names, shapes and scales of the weights of dlib_recognition_face_api",
        sha256="cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
        size_bytes=19_615,
        licence=_FACE_API_LICENCE,
        commercial_use=True,
        source="face-api, face_recognition_model-weights_manifest.json",
        download=_face_api("face_recognition_model-weights_manifest.json"),
    ),
    ModelFile(
        name="ict_facekit_face",
        filename="ict_facekit_face.npz",
        what="shape: ICT-FaceKit, face, eyes and mouth, 19,775 vertices",
        sha256="ef073b4fe70d69fd62d17509dc43add799b6d05ac6375fa84e12c6b39808d7be",
        size_bytes=12_817_442,
        licence=_ICT_LICENCE,
        commercial_use=True,
        source=_ICT_SOURCE,
        how_to_obtain=_ICT_ADVICE,
    ),
    ModelFile(
        name="ict_facekit_full",
        filename="ict_facekit_full.npz",
        what="shape: ICT-FaceKit, whole head and shoulders, 26,719 vertices",
        sha256="883ef26974064fe16273e382c3194d230443e4d61587f307134a93c720d461d0",
        size_bytes=16_518_931,
        licence=_ICT_LICENCE,
        commercial_use=True,
        source=_ICT_SOURCE,
        how_to_obtain=_ICT_ADVICE,
    ),
    ModelFile(
        name="scrfd_500m",
        filename="scrfd_500m.onnx",
        what="detector: SCRFD 0.5 GF with five points",
        sha256="5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a",
        size_bytes=2_524_817,
        licence=_INSIGHTFACE_LICENCE,
        commercial_use=False,
        source="InsightFace model pack buffalo_sc, det_500m.onnx",
        download=ZipMember(url=f"{_INSIGHTFACE_RELEASE}/buffalo_sc.zip", sha256=_BUFFALO_SC, member="det_500m.onnx"),
    ),
    ModelFile(
        name="scrfd_10g",
        filename="scrfd_10g.onnx",
        what="detector: SCRFD 10 GF with five points",
        sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
        size_bytes=16_923_827,
        licence=_INSIGHTFACE_LICENCE,
        commercial_use=False,
        source="InsightFace model pack buffalo_l, det_10g.onnx",
        download=ZipMember(url=f"{_INSIGHTFACE_RELEASE}/buffalo_l.zip", sha256=_BUFFALO_L, member="det_10g.onnx"),
    ),
    ModelFile(
        name="arcface_mobilefacenet",
        filename="arcface_mobilefacenet.onnx",
        what="recognition: MobileFaceNet, 1.0 M parameters, 128 numbers",
        sha256="2d3bcec041b13cb06de570c0c9757b0981aebf5fcd959b6792da946ab8c684bd",
        size_bytes=3_997_427,
        licence="none stated; derived from an InsightFace network: non-commercial research only",
        commercial_use=False,
        source="a PyTorch conversion of an InsightFace MobileFaceNet, exported to ONNX",
        how_to_obtain=_RECOGNITION_ADVICE,
    ),
    ModelFile(
        name="arcface_r50",
        filename="arcface_r50.onnx",
        what="recognition: ArcFace ResNet-50, WebFace600K, 512 numbers",
        sha256="4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
        size_bytes=174_383_860,
        licence=_INSIGHTFACE_LICENCE,
        commercial_use=False,
        source="InsightFace model pack buffalo_l, w600k_r50.onnx",
        download=ZipMember(url=f"{_INSIGHTFACE_RELEASE}/buffalo_l.zip", sha256=_BUFFALO_L, member="w600k_r50.onnx"),
    ),
    ModelFile(
        name="arcface_mbf",
        filename="arcface_mbf.onnx",
        what="recognition: ArcFace MobileFaceNet, WebFace600K, 512 numbers",
        sha256="9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
        size_bytes=13_616_099,
        licence=_INSIGHTFACE_LICENCE,
        commercial_use=False,
        source="InsightFace model pack buffalo_sc, w600k_mbf.onnx",
        download=ZipMember(url=f"{_INSIGHTFACE_RELEASE}/buffalo_sc.zip", sha256=_BUFFALO_SC, member="w600k_mbf.onnx"),
    ),
    ModelFile(
        name="recognition_second",
        filename="recognition_second.onnx",
        what="judge: MobileFaceNet, CASIA-WebFace, 128 numbers; never optimised",
        sha256="5a81083241c5c345f0182f659876e46a1d36e56b453e4c077deb1af0dc218779",
        size_bytes=3_984_703,
        licence="none stated; trained on CASIA-WebFace: research only",
        commercial_use=False,
        source="a PyTorch MobileFaceNet with ArcFace loss, exported to ONNX",
        how_to_obtain=_RECOGNITION_ADVICE,
    ),
    ModelFile(
        name="pfld_68",
        filename="pfld_68.onnx",
        what="landmarks: PFLD, 68 points",
        sha256="7d7bbd5c6a1d9272e58d9773898284a1905d872eba9a662df9b5f20f1ba6f83e",
        size_bytes=2_987_921,
        licence="none stated; trained on 300-W: research only",
        commercial_use=False,
        source="cunjian/pytorch_face_landmark, onnx/pfld.onnx",
        download=PlainUrl(
            url="https://raw.githubusercontent.com/cunjian/pytorch_face_landmark/master/onnx/pfld.onnx",
        ),
    ),
    ModelFile(
        name="fan_2d",
        filename="fan_2d.pth",
        what="landmarks: face-alignment's 2D FAN, four stacked hourglasses, 68 points",
        sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
        size_bytes=None,
        licence="BSD-3-Clause code; weights trained on 300-W-LP: research only",
        commercial_use=False,
        source="face-alignment, 2DFAN4-11f355bf06.pth.tar",
        download=PlainUrl(
            url="https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
        ),
    ),
)
