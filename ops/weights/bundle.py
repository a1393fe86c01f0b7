"""Bundles: every model of a run, by name, verified before any work.

A bundle is a YAML file. Each role says which kind of model it is and where the file lies:

    name: my-models                 # optional, default: the file's name
    what: for my study              # optional, a line about it
    shape:       {kind: ganfit, path: lsfm.safetensors, sha256: 0123...}
    texture:     {kind: procedural-pca}
    recognition: {kind: onnx, known: arcface_r50}
    detector:    {kind: scrfd, known: scrfd_500m}
    landmarks:   {kind: fan, path: /models/2dfan4.pth, sha256: 89ab...}
    prior:       {kind: default}    # optional
    judge:       {kind: onnx, path: second.onnx, sha256: cdef...}   # optional; reported, never optimised: another file
    regressor:   {kind: fastganfit, path: r.safetensors, sha256: ef01...}   # optional; trained with these very models
    calibration: {kind: ganfit, path: c.safetensors, sha256: 0a1b...}   # optional; of these landmarks on this shape
    landmark_bias: {kind: by-pose, path: b.json, sha256: 1b2c...}   # optional; of these landmarks on this shape
    dense_landmarks: {kind: dense, path: d.safetensors, sha256: 2c3d...}   # optional; of this shape, for stage one
    people: {same_person: 0.35, cluster: 0.48}   # optional: cosines of the recognition network, see `PeopleThresholds`
    quality: {judge_similarity: [0.45, 0.68]}   # optional: limit and typical value, see `ops.reconstruction.quality`

`path` is relative to the YAML file, or a URI such as s3://bucket/file; `known` names a file of the registry in the
model directory instead, which may be a URI too. Remote files are copied to each machine once. Built in are the bundles
that lie beside this module, such as `open`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ops.errors import ConfigurationError, MissingModelFileError, ModelFileError
from ops.reconstruction.quality import QualityRanges, ranges_from_pairs
from ops.weights.bundle_facts import bundle_line
from ops.weights.bundle_file import built_in_bundles, find_bundle, read_bundle
from ops.weights.models import (
    BIASES,
    CALIBRATIONS,
    DENSE_LANDMARKS,
    DENSE_REGRESSOR,
    DETECTORS,
    LANDMARKS,
    PRIORS,
    RECOGNITIONS,
    REGRESSORS,
    SHAPES,
    TEXTURES,
    Kind,
    ModelRef,
    load_bias,
    load_calibration,
    load_dense,
    load_detector,
    load_landmarks,
    load_prior,
    load_recognition,
    load_regressor,
    load_shape,
    load_texture,
)
from ops.weights.registry import (
    MODEL_DIR_VARIABLE,
    absence,
    known_file,
    remedy_of,
    resolve_model_dir,
    verify,
    with_companions,
)
from ops.weights.remote import cached_copy, is_remote
from ops.weights.sources import ModelFile

__all__ = [
    "ModelBundle",
    "ModelRef",
    "built_in_bundles",
    "load_bias",
    "load_calibration",
    "load_dense",
    "load_detector",
    "load_landmarks",
    "load_prior",
    "load_recognition",
    "load_regressor",
    "load_shape",
    "load_texture",
    "resolve_bundle",
]

_KINDS: Mapping[str, Mapping[str, Kind[Any]]] = {
    "shape": SHAPES,
    "texture": TEXTURES,
    "recognition": RECOGNITIONS,
    "detector": DETECTORS,
    "landmarks": LANDMARKS,
    "prior": PRIORS,
    "judge": RECOGNITIONS,
    "regressor": REGRESSORS,
    "calibration": CALIBRATIONS,
    "landmark_bias": BIASES,
    "dense_landmarks": DENSE_LANDMARKS,
}
_OPTIONAL_ROLES = ("prior", "judge", "regressor", "calibration", "landmark_bias", "dense_landmarks")
_TEXTS = ("name", "what")
_ENTRY_KEYS = ("kind", "path", "sha256", "known")


@dataclass(frozen=True, kw_only=True)
class PeopleThresholds:
    """What a recognition network's cosines say about people, measured on labelled pairs."""

    same_person: float
    """Two faces below this are taken for two people; of one person's photos hardly any pair is."""
    cluster: float
    """Faces above this are taken for one person; of two people's photos hardly any pair is, among many thousands."""

    def __post_init__(self) -> None:
        if not -1 <= self.same_person <= self.cluster <= 1:
            raise ConfigurationError(
                f"expected -1 <= same_person <= cluster <= 1, got {self.same_person} and {self.cluster}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelBundle:
    """Every model of a run."""

    name: str
    shape: ModelRef
    texture: ModelRef
    recognition: ModelRef
    detector: ModelRef
    landmarks: ModelRef
    prior: ModelRef
    judge: ModelRef | None
    regressor: ModelRef | None = None
    calibration: ModelRef | None = None
    landmark_bias: ModelRef | None = None
    dense_landmarks: ModelRef | None = None
    about: str = ""
    """A line for the user, see `ops.weights.bundle_facts`."""
    people: PeopleThresholds | None = None
    """None: nobody is taken for somebody else, and images cannot be grouped by person."""
    quality: QualityRanges | None = None
    """None: nothing is known of what good reconstructions measure."""

    def roles(self) -> tuple[tuple[str, ModelRef | None], ...]:
        """Every role and its model."""
        return tuple((role, getattr(self, role)) for role in _KINDS)

    def description(self) -> dict[str, str | dict[str, str | None] | None]:
        """The bundle as JSON holds it: its name, and kind, path and sha256 of every role."""
        roles = {role: ref.description() if ref else None for role, ref in self.roles()}
        return {"name": self.name, **roles, "people": _text(self.people), "quality": _text(self.quality)}


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a bundle is described, for messages and relative paths."""

    path: Path
    model_dir: Path | str
    """A folder, or the URI of one."""


class _AbsentError(MissingModelFileError):
    """Known files are not in the model directory."""

    def __init__(self, items: Sequence[ModelFile]) -> None:
        super().__init__(", ".join(item.name for item in items))
        self.items = items


def resolve_bundle(name_or_yaml: str | Path, model_dir: Path | str | None = None) -> ModelBundle:
    """Read a bundle and verify the checksum of every file it names.

    Args:
        name_or_yaml: a built-in bundle's name, or the path of a YAML file.
        model_dir: where registered files lie, a folder or a URI; None for $GANFIT_MODELS or the user's cache.

    Raises:
        ConfigurationError: no such bundle, or a description that is not understood.
        MissingModelFileError, AlteredModelFileError: files that are absent or another; all of them are in the message,
            which ends in what to do.
    """
    source = _Source(path=find_bundle(name_or_yaml), model_dir=_model_place(model_dir))
    description = read_bundle(source.path)
    unknown = [role for role in description if role not in (*_TEXTS, "people", "quality", *_KINDS)]
    absent = [role for role in _KINDS if role not in _OPTIONAL_ROLES and role not in description]
    if unknown or absent:
        raise ConfigurationError(
            f"{source.path}: expected the roles {', '.join(_KINDS)} and perhaps {' and '.join(_TEXTS)} "
            f"({', '.join(_OPTIONAL_ROLES)} are optional); "
            f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(absent) or 'none'}"
        )
    problems: list[ModelFileError] = []
    not_here: list[ModelFile] = []
    refs: dict[str, ModelRef | None] = dict.fromkeys(_OPTIONAL_ROLES)
    refs["prior"] = ModelRef(kind="default", path=None, sha256=None)
    for role in _KINDS:
        if description.get(role) is None and role in _OPTIONAL_ROLES:
            continue
        try:
            refs[role] = _resolve(role, description[role], source)
        except _AbsentError as error:
            not_here += error.items
        except ModelFileError as error:
            problems.append(error)
    said = [absence(str(name_or_yaml), list(dict.fromkeys(not_here)), Path(source.model_dir))] if not_here else []
    if problems:
        said += [f"bundle {source.path.stem!r} ({source.path}):", *map(str, problems)]
    if said:
        raise (type(problems[0]) if problems else MissingModelFileError)("\n".join(said))
    _check_judge(source.path, refs["recognition"], refs["judge"])
    _check_points(source.path, refs["regressor"], refs["dense_landmarks"])
    return ModelBundle(
        name=_name(description, source.path),
        about=bundle_line(source.path),
        people=_people(description.get("people"), source.path),
        quality=_quality(description.get("quality"), source.path),
        **cast(dict[str, Any], refs),
    )


def _check_judge(path: Path, recognition: ModelRef | None, judge: ModelRef | None) -> None:
    """A network that is optimised says nothing as its own judge."""
    if judge and recognition and judge.sha256 == recognition.sha256:
        raise ConfigurationError(
            f"{path}: expected a judge that is another network than recognition, found one file (sha256 {judge.sha256})"
            " for both; name another, or leave the judge out"
        )


def _check_points(path: Path, regressor: ModelRef | None, dense: ModelRef | None) -> None:
    """A regressor that answers to dense points needs a network that finds them."""
    if regressor and regressor.kind == DENSE_REGRESSOR and dense is None:
        raise ConfigurationError(
            f"{path}: a regressor of kind {DENSE_REGRESSOR} answers to dense points: add the role dense_landmarks, or "
            "use the kind fastganfit"
        )


def _name(description: Mapping[str, object], path: Path) -> str:
    name = description.get("name", path.stem)
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{path}: expected a text as name, found {name!r}")
    return name


def _people(content: object, path: Path) -> PeopleThresholds | None:
    if content is None:
        return None
    entry: dict[object, object] = cast(dict[object, object], content) if isinstance(content, dict) else {}
    same, cluster = entry.get("same_person"), entry.get("cluster")
    if len(entry) != 2 or not isinstance(same, int | float) or not isinstance(cluster, int | float):
        raise ConfigurationError(f"{path}, people: expected the numbers same_person and cluster, found {content!r}")
    return PeopleThresholds(same_person=float(same), cluster=float(cluster))


def _quality(content: object, path: Path) -> QualityRanges | None:
    if content is None:
        return None
    entry: dict[object, object] = cast(dict[object, object], content) if isinstance(content, dict) else {}
    pairs = {str(name): cast(list[object], pair) for name, pair in entry.items() if isinstance(pair, list)}
    if not entry or len(pairs) < len(entry) or not all(isinstance(n, int | float) for p in pairs.values() for n in p):
        raise ConfigurationError(f"{path}, quality: expected pairs [limit, typical] by measure, found {content!r}")
    try:
        return ranges_from_pairs({name: [float(cast(float, n)) for n in pair] for name, pair in pairs.items()})
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}, quality: {error}") from error


def _text(settings: object) -> str | None:
    return None if settings is None else str(settings)


def _resolve(role: str, content: object, source: _Source) -> ModelRef:
    where = f"{source.path}, {role}"
    entry = _entry(content, where)
    kinds = _KINDS[role]
    kind = entry.get("kind", "")
    if kind not in kinds:
        raise ConfigurationError(f"{where}: expected kind to be one of {', '.join(kinds)}, found {kind or 'none'}")
    given = [key for key in ("path", "sha256", "known") if key in entry]
    if not kinds[kind].has_file:
        if given:
            raise ConfigurationError(f"{where}: kind {kind} takes no file, found {', '.join(given)}")
        return ModelRef(kind=kind, path=None, sha256=None)
    if given == ["known"]:
        return _known(kind, known_file(entry["known"]), source.model_dir)
    if given != ["path", "sha256"]:
        raise ConfigurationError(
            f"{where}: kind {kind} needs path and sha256, or known, found {', '.join(given) or 'neither'}"
        )
    sha256 = entry["sha256"].lower()
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ConfigurationError(f"{where}: expected a sha256 of 64 hexadecimal digits, found {entry['sha256']!r}")
    if is_remote(entry["path"]):
        return _remote(kind, entry["path"], sha256)
    path = (source.path.parent / Path(entry["path"]).expanduser()).absolute()
    return ModelRef(kind=kind, path=verify(path, sha256), sha256=sha256)


def _known(kind: str, item: ModelFile, model_dir: Path | str) -> ModelRef:
    """A registered file; those that its network reads beside it are verified too."""
    if isinstance(model_dir, str):
        base, mark, query = model_dir.partition("?")
        places = {part: f"{base.rstrip('/')}/{part.filename}{mark}{query}" for part in with_companions(item)}
        for part in with_companions(item)[1:]:
            cached_copy(places[part], part.sha256, beside=item.sha256)
        companions = tuple((places[part], part.sha256) for part in with_companions(item)[1:])
        return replace(_remote(kind, places[item], item.sha256), companions=companions)
    if absent := [part for part in with_companions(item) if not (model_dir / part.filename).is_file()]:
        raise _AbsentError(absent)
    for part in with_companions(item)[1:]:
        verify(model_dir / part.filename, part.sha256, remedy_of(part, model_dir))
    path = verify(model_dir / item.filename, item.sha256, remedy_of(item, model_dir))
    return ModelRef(kind=kind, path=path, sha256=item.sha256)


def _remote(kind: str, uri: str, sha256: str) -> ModelRef:
    return ModelRef(kind=kind, path=cached_copy(uri, sha256), sha256=sha256, uri=uri)


def _model_place(model_dir: Path | str | None) -> Path | str:
    """The model directory, as it is named where it is a remote one."""
    named = model_dir or os.environ.get(MODEL_DIR_VARIABLE)
    if isinstance(named, str) and is_remote(named):
        return named
    return resolve_model_dir(None if model_dir is None else Path(model_dir))


def _entry(content: object, where: str) -> dict[str, str]:
    if not isinstance(content, dict):
        raise ConfigurationError(f"{where}: expected {', '.join(_ENTRY_KEYS)}, found {content!r}")
    entry: dict[str, str] = {}
    for key, value in cast(dict[object, object], content).items():
        if key not in _ENTRY_KEYS:
            raise ConfigurationError(f"{where}: unknown key {key!r}; expected {', '.join(_ENTRY_KEYS)}")
        if not isinstance(value, str):
            raise ConfigurationError(f"{where}: expected {key} to be a text, found {value!r} (quote it)")
        entry[str(key)] = value
    return entry
