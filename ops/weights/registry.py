"""Every model file this project knows: what it is, its checksum, its licence and how to get it.

Nothing here imports torch, so that a job can refuse a missing file at once.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ops.errors import AlteredModelFileError, ConfigurationError, MissingModelFileError

MODEL_DIR_VARIABLE = "GANFIT_MODELS"
_INSIGHTFACE_RELEASE = "https://github.com/deepinsight/insightface/releases/download/v0.7"
_INSIGHTFACE_LICENCE = "InsightFace model terms: non-commercial research only"


@dataclass(frozen=True, kw_only=True)
class Download:
    """A public address of a file, or of a ZIP archive that holds it."""

    url: str
    sha256: str
    """Of what the address delivers: the file itself, or the archive."""
    member: str | None = None
    """Base name of the file inside the archive; None where the address delivers the file itself."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A known model file."""

    name: str
    filename: str
    """Name in the model directory."""
    what: str
    sha256: str
    size_bytes: int | None
    licence: str
    source: str
    download: Download | None = None
    how_to_obtain: str = ""
    """For files without a public address: what the user does to get one."""


_BUFFALO_SC = "57d31b56b6ffa911c8a73cfc1707c73cab76efe7f13b675a05223bf42de47c72"
_BUFFALO_L = "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f"
_ICT_LICENCE = "MIT (USC Institute for Creative Technologies, 2020)"
_ICT_SOURCE = "ICT-FaceKit, https://github.com/USC-ICT/ICT-FaceKit"
_ICT_ADVICE = (
    "this exact conversion has no public address. Convert your own from a clone of https://github.com/USC-ICT/ICT-FaceKit"
    " with `ganfit import-model` and name the result in a bundle file of your own (`--models FILE.yaml`) as a"
    " shape of kind ict, or copy the file from an installation that has it"
)
_RECOGNITION_ADVICE = (
    "this exact export has no public address: copy it from an installation that has it, or name another ArcFace-type"
    " ONNX network, such as arcface_r50, in a bundle file of your own (`--models FILE.yaml`)"
)

KNOWN_FILES: tuple[ModelFile, ...] = (
    ModelFile(
        name="ict_facekit_face",
        filename="ict_facekit_face.npz",
        what="shape: ICT-FaceKit, face, eyes and mouth, 19,775 vertices",
        sha256="ef073b4fe70d69fd62d17509dc43add799b6d05ac6375fa84e12c6b39808d7be",
        size_bytes=12_817_442,
        licence=_ICT_LICENCE,
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
        source="InsightFace model pack buffalo_sc, det_500m.onnx",
        download=Download(url=f"{_INSIGHTFACE_RELEASE}/buffalo_sc.zip", sha256=_BUFFALO_SC, member="det_500m.onnx"),
    ),
    ModelFile(
        name="scrfd_10g",
        filename="scrfd_10g.onnx",
        what="detector: SCRFD 10 GF with five points",
        sha256="5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
        size_bytes=16_923_827,
        licence=_INSIGHTFACE_LICENCE,
        source="InsightFace model pack buffalo_l, det_10g.onnx",
        download=Download(url=f"{_INSIGHTFACE_RELEASE}/buffalo_l.zip", sha256=_BUFFALO_L, member="det_10g.onnx"),
    ),
    ModelFile(
        name="arcface_mobilefacenet",
        filename="arcface_mobilefacenet.onnx",
        what="recognition: MobileFaceNet, 1.0 M parameters, 128 numbers",
        sha256="2d3bcec041b13cb06de570c0c9757b0981aebf5fcd959b6792da946ab8c684bd",
        size_bytes=3_997_427,
        licence="none stated; derived from an InsightFace network: non-commercial research only",
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
        source="InsightFace model pack buffalo_l, w600k_r50.onnx",
        download=Download(url=f"{_INSIGHTFACE_RELEASE}/buffalo_l.zip", sha256=_BUFFALO_L, member="w600k_r50.onnx"),
    ),
    ModelFile(
        name="arcface_mbf",
        filename="arcface_mbf.onnx",
        what="recognition: ArcFace MobileFaceNet, WebFace600K, 512 numbers",
        sha256="9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
        size_bytes=13_616_099,
        licence=_INSIGHTFACE_LICENCE,
        source="InsightFace model pack buffalo_sc, w600k_mbf.onnx",
        download=Download(url=f"{_INSIGHTFACE_RELEASE}/buffalo_sc.zip", sha256=_BUFFALO_SC, member="w600k_mbf.onnx"),
    ),
    ModelFile(
        name="recognition_second",
        filename="recognition_second.onnx",
        what="judge: MobileFaceNet, CASIA-WebFace, 128 numbers; never optimised",
        sha256="5a81083241c5c345f0182f659876e46a1d36e56b453e4c077deb1af0dc218779",
        size_bytes=3_984_703,
        licence="none stated; trained on CASIA-WebFace: research only",
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
        source="cunjian/pytorch_face_landmark, onnx/pfld.onnx",
        download=Download(
            url="https://raw.githubusercontent.com/cunjian/pytorch_face_landmark/master/onnx/pfld.onnx",
            sha256="7d7bbd5c6a1d9272e58d9773898284a1905d872eba9a662df9b5f20f1ba6f83e",
        ),
    ),
    ModelFile(
        name="fan_2d",
        filename="fan_2d.pth",
        what="landmarks: face-alignment's 2D FAN, four stacked hourglasses, 68 points",
        sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
        size_bytes=None,
        licence="BSD-3-Clause code; weights trained on 300-W-LP: research only",
        source="face-alignment, 2DFAN4-11f355bf06.pth.tar",
        download=Download(
            url="https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
            sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
        ),
    ),
)


def known_file(name: str) -> ModelFile:
    """The registered file of that name.

    Raises:
        ConfigurationError: there is none.
    """
    for item in KNOWN_FILES:
        if item.name == name:
            return item
    names = ", ".join(item.name for item in KNOWN_FILES)
    raise ConfigurationError(f"no model file is registered as {name!r}; known are {names}")


def resolve_model_dir(model_dir: Path | None = None) -> Path:
    """The folder model files live in: the given one, or $GANFIT_MODELS, or a folder in the user's cache.

    Raises:
        ConfigurationError: $GANFIT_MODELS is a URI.
    """
    if model_dir is not None:
        return model_dir.expanduser().absolute()
    named = os.environ.get(MODEL_DIR_VARIABLE)
    if named and "://" in named:
        raise ConfigurationError(f"expected a folder, but ${MODEL_DIR_VARIABLE} is {named}: name a folder for this")
    if named:
        return Path(named).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("ganfit")) / "models"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read once a process unless its size or time stamp changes."""
    status = path.stat()
    return _sha256(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    del size, modified_ns  # part of the cache's key
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(path: Path, sha256: str, remedy: str | None = None) -> Path:
    """Make sure that a file is there and is the one expected; returns its path.

    Args:
        path: the file.
        sha256: its expected checksum, hexadecimal.
        remedy: what the user can do; None looks it up in the registry by checksum.

    Raises:
        MissingModelFileError: there is no such file.
        AlteredModelFileError: its checksum is another one.
    """
    advice = remedy or _remedy(path, sha256)
    expected = f"  path:     {path}\n  expected: sha256 {sha256}\n  found:   "
    if not path.is_file():
        raise MissingModelFileError(f"missing model file\n{expected} no file\n  to do:    {advice}")
    try:
        found = sha256_of(path)
    except PermissionError as error:
        raise MissingModelFileError(f"unreadable model file\n{expected} {error.strerror}") from error
    if found != sha256.lower():
        raise AlteredModelFileError(f"altered model file\n{expected} sha256 {found}\n  to do:    {advice}")
    return path


def _remedy(path: Path, sha256: str) -> str:
    for item in KNOWN_FILES:
        if item.sha256 == sha256:
            return remedy_of(item, path.parent)
    return "put the right file there, or correct the sha256 in the bundle file"


def remedy_of(item: ModelFile, model_dir: Path) -> str:
    """What a user does to get a known file into a model directory."""
    command = f"ganfit assets fetch {item.name} --model-dir {model_dir}"
    if item.download is not None:
        return f"run `{command}`"
    return f"`{command}` says how to get it: {item.how_to_obtain}"
