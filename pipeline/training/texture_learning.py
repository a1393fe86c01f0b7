"""Learning a texture model from the photos of an input, or of a finished run, in rounds of fitting and learning.

::

    OUT/bundle.yaml             the bundle it began with, and the learned texture in it
        texture.safetensors     the texture model
        learning.parquet        one row per person: learned from, or why not
        learning.json           settings, models, what each round came to
        report/index.html       mean, modes, people held out before and after, who was not used
        rounds/1/run            a reconstruction of the people that are learned from; see `ganfit reconstruct`
                 people ...     see `pipeline.training.texture_people` and `texture_iterations`
               2 ...            the same with the texture model of the first round
        held_out                the people held out, reconstructed with the learned texture

Each step leaves a file; the same call continues an interrupted one, and a finished one is only read.
"""

import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import yaml

from ops.errors import ConfigurationError, FingerprintMismatchError, InputError
from ops.fit.config import FitConfig, default_preset
from ops.reconstruction.detection import DetectionConfig
from ops.texture.locality import face_windows, localised
from ops.texture.pca import PcaTexture, save_pca_texture
from ops.weights.bundle import ModelBundle, ModelRef, load_shape
from ops.weights.bundle_file import find_bundle, read_bundle
from ops.weights.registry import sha256_of
from ops.weights.remote import cached_copy, is_remote
from pipeline.cluster.session import ClusterConfig, ray_session
from pipeline.input.listing import Layout
from pipeline.input.planner import PlanConfig
from pipeline.input.sources import list_input
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.reader import open_run
from pipeline.run.record import Fingerprint, code_checksum
from pipeline.storage.parquet import read_table
from pipeline.storage.store import Storage, as_output_errors, open_output, open_storage
from pipeline.tables.schema import PENDING
from pipeline.training.texture_iterations import (
    LearningModels,
    blocks_of,
    iterate,
    map_blocks,
    model_file,
)
from pipeline.training.texture_people import Selection, UnwrapPeople, draw_of, people_file
from pipeline.training.texture_report import LearningReport, write_learning_report

TEXTURE_FILE, BUNDLE_FILE, RECORD_FILE, TABLE_FILE = (
    "texture.safetensors",
    "bundle.yaml",
    "learning.json",
    "learning.parquet",
)
VIEWS = 2
SHARD_IMAGES = 32
"""Images of a shard of a round's run, whatever fits them: shards decide which people are sketched together."""
Say = Callable[[str], None]
pc: Any = pyarrow.compute


@dataclass(frozen=True, kw_only=True)
class LearningConfig:
    """What is learned from, how, and where to."""

    output: Path | str
    """A new folder, or an earlier one to continue: a path or a URI."""
    input: Path | str | None = None
    """Photos and clips, as `ReconstructConfig.input`; None: those of the run."""
    run: Path | str | None = None
    """A finished run whose fits are those of the first round."""
    layout: Layout = "auto"
    identity_field: str | None = None
    only: frozenset[str] | None = None
    """Learn from these persons alone; None: from all."""
    steps: tuple[int, int] = (25, 20)
    """Iterations of the fits that are learned from: of the first round, and of those with a learned texture."""
    rounds: int = 1
    """How often people are fitted and learned from: a second time costs as much again for a little more likeness. More
    than one needs an input."""
    iterations: int = 3
    """Of expectation maximisation in a round."""
    people: int = 5000
    """At most so many, drawn by hash of their ids."""
    least_people: int = 15
    """Fewer to learn from are refused."""
    modes: int = 100
    """Modes of the whole face."""
    local_modes: int = 300
    """Modes of the texture model, half of whose variance is confined to parts of the face; 0: those of the whole."""
    side: int = 256
    """Texels along an edge."""
    selection: Selection = field(default_factory=Selection)
    plan: PlanConfig = field(default_factory=PlanConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    fit: FitConfig = field(default_factory=default_preset)
    """What the short fits are derived from."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        if min(self.rounds, self.iterations, self.people, self.least_people, self.modes) < 1:
            raise ConfigurationError("expected at least one round, iteration, person and mode")
        if self.local_modes < 0:
            raise ConfigurationError(f"expected local_modes >= 0, got {self.local_modes}")
        if self.input is None and self.run is None:
            raise ConfigurationError("expected an input or a run to learn from")

    def computed(self) -> dict[str, Any]:
        """What decides the result besides models and code."""
        left_out = ("output", "cluster", "plan", "input", "run", "only")
        settings = {name: value for name, value in asdict(self).items() if name not in left_out}
        sources = {
            name: str(open_storage(value)) if (value := getattr(self, name)) else None for name in ("input", "run")
        }
        return settings | sources | {"frames": self.plan.frames, "max_images": self.plan.max_images}


@dataclass(frozen=True, kw_only=True)
class LearnedModel:
    """What a learning came to."""

    texture: ModelRef
    """For a bundle."""
    people: int
    """Learned from."""


class TooFewPeopleError(InputError):
    """An input with too few people to learn a texture model from; the message says why others were not used."""


def learn_texture(
    config: LearningConfig, bundle: ModelBundle, named: str | Path, say: Say = lambda line: None
) -> LearnedModel:
    """Learn a texture model and write it, its bundle, tables and report.

    Args:
        config: what and where.
        bundle: verified models; its texture is the prior.
        named: the bundle's name or YAML file, which the learned bundle repeats but for the texture.
        say: receives the lines of progress.

    Raises:
        ConfigurationError: settings or an input that cannot work.
        TooFewPeopleError: fewer than `least_people` to learn from.
        FingerprintMismatchError: the output is of other settings.
        OutputError: the output cannot be used.
    """
    root = open_output(config.output)
    fingerprint = Fingerprint(configuration=config.computed(), models=bundle.description(), code=code_checksum())
    with as_output_errors(root):
        record = _started(root, fingerprint)
        if "texture" in record:
            say(f"{root} is finished: {record['people']} people were learned from")
            return LearnedModel(texture=texture_ref(root, record["texture"]), people=record["people"])
        first = root / "rounds/1/run" if config.run is None else open_storage(config.run)
        with ray_session(config.cluster) as ray:
            learning = _Learning(config=config, bundle=bundle, root=root, first=first, ray=ray, say=say)
            rounds, people, learned = learning.all_rounds(fingerprint.digest())
            held_out = learning.fit_held_out(people, learned)
        content = LearningReport(people=people, rounds=rounds, before=first, after=held_out, bundle=learned)
        page = write_learning_report(root, content)
        root.write(BUNDLE_FILE, bundle_text(named, learned, rounds[-1]["people"]).encode())
        _write_table(root, people)
        done = {"rounds": rounds, "people": rounds[-1]["people"], "texture": learned.texture.sha256}
        _write_record(root, fingerprint, done)
        for number in range(1, config.rounds + 1):
            root.remove(f"rounds/{number}/{model_file(config.iterations)}")
    say(f"report: {page}")
    return LearnedModel(texture=learned.texture, people=rounds[-1]["people"])


@dataclass(frozen=True, kw_only=True)
class _Learning:
    """One learning, with Ray at hand."""

    config: LearningConfig
    bundle: ModelBundle
    root: Storage
    first: Storage
    """The run of the first round."""
    ray: Any
    say: Say

    def all_rounds(self, digest: str) -> tuple[list[dict[str, Any]], pa.Table, ModelBundle]:
        """What each round came to, the people of the last one and those held out, the bundle with the texture."""
        config, fitted = self.config, self.bundle
        chosen = _sample(config) if config.run is None else frozenset[str]()
        if config.run is None and len(chosen) < config.least_people:
            raise TooFewPeopleError(
                f"expected at least {config.least_people} people to learn a texture from, the input has {len(chosen)}"
            )
        rounds: list[dict[str, Any]] = []
        everybody = pa.table({})
        for number in range(1, config.rounds + 1):
            folder = self.root / f"rounds/{number}"
            run = self.first
            if number > 1 or config.run is None:
                self.say(f"round {number} of {config.rounds}: fit {len(chosen)} people")
                run = self._fit(chosen, fitted, config.steps[number > 1], folder.location("run"))
            else:
                check_models(open_run(run).record["models"], self.bundle)
            people = self._unwrap(run, fitted, folder)
            everybody = people if number == 1 else _with_held_out(people, everybody)
            count = _check_people(people, config.least_people)
            self.say(f"round {number} of {config.rounds}: learn from {count} people")
            models = LearningModels(bundle=self.bundle, fitted=fitted, side=config.side, modes=config.modes)
            blocks = blocks_of(used_by_shard(folder, run))
            learner = models.learner()
            learned, progress = iterate(self.ray, folder, models, learner, blocks, config.iterations, self.say)
            about = {"people": count, "round": number, "fingerprint": digest, "prior": self.bundle.name}
            place = self.root if number == config.rounds else folder
            shape = load_shape(self.bundle.shape)
            if config.local_modes:
                windows = face_windows(shape, learner.atlas)
                local = localised(learned.modes, windows, learner.mirroring, learner.metric(), config.local_modes)
                learned = learned._replace(modes=local.modes)
            pca = learned.pca(shape.metadata.uv_layout)
            fitted = replace(self.bundle, texture=_write_texture(place, pca, about))
            rounds.append({"people": count, "iterations": [one._asdict() for one in progress]})
            chosen = frozenset(people.filter(people.column("used")).column("identity_id").to_pylist())
        return rounds, everybody, fitted

    def fit_held_out(self, people: pa.Table, learned: ModelBundle) -> Storage | None:
        """Fit the people held out with the learned texture as in the first round; None where there are none."""
        held_out = frozenset(people.filter(people.column("held_out")).column("identity_id").to_pylist())
        if not held_out:
            return None
        self.say(f"fit the {len(held_out)} people held out with the learned texture")
        return self._fit(held_out, learned, self.config.steps[0], self.root.location("held_out"))

    def _fit(self, people: frozenset[str], bundle: ModelBundle, steps: int, output: str) -> Storage:
        config = self.config
        source, layout, identity_field = _source(config)
        plan = replace(config.plan, shard_size=SHARD_IMAGES, limit=None)
        run = ReconstructConfig(
            input=source,
            output=output,
            layout=layout,
            identity_field=identity_field,
            plan=plan,
            detection=config.detection,
            fit=short_fit(config.fit, steps),
            mesh_formats=(),
            people=people,
            cluster=config.cluster,
        )
        reconstruct(run, bundle, self.say)
        return open_storage(output)

    def _unwrap(self, run: Storage, fitted: ModelBundle, folder: Storage) -> pa.Table:
        stage = UnwrapPeople(
            run=run, folder=folder, bundle=fitted, selection=self.config.selection, side=self.config.side
        )
        tables = [pa.table({"shard": [shard]}, schema=PENDING) for shard in _shards(run)]
        if not tables:
            raise TooFewPeopleError(f"expected people to learn from in {run}, found none")
        return pa.concat_tables(map_blocks(self.ray, stage, tables)).sort_by("identity_id")


def short_fit(fit: FitConfig, steps: int) -> FitConfig:
    """The fit of a round: short, without what does not help to learn a texture, each photo held by the whole prior."""
    return replace(
        fit, steps=steps, views=VIEWS, second_render=False, early_stop_window=0, images_that_share_texture_prior=1
    )


def texture_ref(root: Storage, sha256: str) -> ModelRef:
    """The learned texture of a folder, as a bundle holds it."""
    if root.local is not None:
        return ModelRef(kind="pca", path=root.local.absolute() / TEXTURE_FILE, sha256=sha256)
    uri = root.location(TEXTURE_FILE)
    return ModelRef(kind="pca", path=cached_copy(uri, sha256), sha256=sha256, uri=uri)


def bundle_text(named: str | Path, learned: ModelBundle, people: int) -> str:
    """The YAML of a bundle with its texture replaced by a learned one beside it; paths of other files are absolute."""
    source = find_bundle(named)
    described = read_bundle(source)
    for entry in described.values():
        if isinstance(entry, dict) and "path" in entry and not is_remote(str(entry["path"])):
            entry["path"] = str((source.parent / Path(str(entry["path"])).expanduser()).absolute())
    texture = {"kind": "pca", "path": TEXTURE_FILE, "sha256": learned.texture.sha256}
    what = f"{described.get('what', learned.name)}; texture learned from photos of {people} people"
    return yaml.safe_dump(
        described | {"name": f"{learned.name}-learned", "what": what, "texture": texture}, sort_keys=False, width=120
    )


def used_by_shard(folder: Storage, run: Storage) -> dict[int, int]:
    """How many people of each of a run's shards are learned from."""
    return {shard: sum(read_table(folder, people_file(shard), ["used"])["used"].to_pylist()) for shard in _shards(run)}


def why_not_used(people: pa.Table) -> dict[str, int]:
    """How many people are not learned from, by reason."""
    reasons = people.filter(pc.invert(people.column("used"))).column("reason").to_pylist()
    return dict(sorted(Counter(reasons).items()))


def _started(root: Storage, fingerprint: Fingerprint) -> dict[str, Any]:
    """What is known of an earlier call, after a look whether this one may go on with it."""
    try:
        record: dict[str, Any] = json.loads(root.read(RECORD_FILE))
    except FileNotFoundError:
        _write_record(root, fingerprint, {})
        return {}
    before, now = record["fingerprint"], fingerprint.parts()
    changed = sorted(name for name in now if before.get(name) != now[name])
    if "texture" in record and changed == ["code"]:
        return record
    if changed:
        raise FingerprintMismatchError(
            f"{root} holds a texture model of other {', '.join(changed)}: choose another output, or the old settings"
        )
    return record


def _write_record(root: Storage, fingerprint: Fingerprint, content: Mapping[str, Any]) -> None:
    data = {"fingerprint": fingerprint.parts(), **content}
    root.write(RECORD_FILE, json.dumps(data, indent=2, sort_keys=True, default=str).encode())


def _source(config: LearningConfig) -> tuple[Path | str, Layout, str | None]:
    """Where the photos are; of a run alone, where it had them from."""
    if config.input is not None or config.run is None:
        assert config.input is not None
        return config.input, config.layout, config.identity_field
    told: dict[str, Any] = dict(open_run(config.run).record["configuration"])
    return told["input"], told["layout"], told.get("identity_field")


def _sample(config: LearningConfig) -> frozenset[str]:
    source, layout, identity_field = _source(config)
    ids: list[str] = pc.unique(list_input(source, layout, identity_field).items.column("identity_id")).to_pylist()
    wanted = ids if config.only is None else [name for name in ids if name in config.only]
    return frozenset(sorted(wanted, key=draw_of)[: config.people])


def _shards(run: Storage) -> list[int]:
    return sorted(int(folder.rpartition("/")[2]) for folder in open_run(run).folders)


def check_models(used: Mapping[str, Any], bundle: ModelBundle) -> None:
    """Coefficients of a run mean something with its own shape and texture alone.

    Args:
        used: the models of the run, see `ModelBundle.description`.
        bundle: those that are at hand.

    Raises:
        ConfigurationError: shape or texture are others.
    """
    ours: dict[str, Any] = bundle.description()
    for role in ("shape", "texture"):
        mine, theirs = ({key: models[role][key] for key in ("kind", "sha256")} for models in (ours, used))
        if mine != theirs:
            raise ConfigurationError(
                f"the run was made with the {role} model {theirs}, the bundle {bundle.name} has {mine}: name its bundle"
            )


def _check_people(people: pa.Table, least: int) -> int:
    used = sum(people.column("used").to_pylist())
    if used < least:
        reasons = ", ".join(f"{count} {reason}" for reason, count in why_not_used(people).items())
        raise TooFewPeopleError(
            f"expected at least {least} people to learn a texture from, found {used}; not used: {reasons or 'none'}"
        )
    return used


def _with_held_out(people: pa.Table, before: pa.Table) -> pa.Table:
    """The rows of a later round, and those of the first for whom it did not fit."""
    left = pc.invert(pc.is_in(before.column("identity_id"), value_set=people.column("identity_id").combine_chunks()))
    return pa.concat_tables([people, before.filter(left)]).sort_by("identity_id")


def _write_texture(folder: Storage, pca: PcaTexture, about: Mapping[str, object]) -> ModelRef:
    with tempfile.TemporaryDirectory(prefix="ganfit-") as scratch:
        path = Path(scratch) / TEXTURE_FILE
        save_pca_texture(pca, path, about)
        folder.write(TEXTURE_FILE, path.read_bytes())
        return texture_ref(folder, sha256_of(path))


def _write_table(root: Storage, people: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(people, buffer)
    root.write(TABLE_FILE, buffer.getvalue())
