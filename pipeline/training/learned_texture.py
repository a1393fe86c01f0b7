"""Reconstruction with a texture model learned from its own input: when one is learned, and that a run keeps it.

::

    OUT/learned_texture/    see `pipeline.training.texture_learning`; texture.safetensors is the run's texture model
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute

from ops.texture.pca import load_pca_texture
from ops.weights.bundle import ModelBundle, ModelRef
from ops.weights.registry import sha256_of
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.reconstruction import check_folders
from pipeline.run.record import LEARNED_TEXTURE
from pipeline.run.shards import ShardStore
from pipeline.storage.store import Storage, as_output_errors
from pipeline.training.texture_learning import (
    RECORD_FILE,
    LearningConfig,
    TooFewPeopleError,
    learn_texture,
    texture_ref,
)
from pipeline.training.texture_people import Selection

AUTO, NEVER = "auto", "never"
LEAST_PEOPLE = 50
"""People to learn from below which the painted texture is kept."""
SAMPLED_SHARE, LEAST_SAMPLED, MOST_SAMPLED = 0.3, 60, 120
"""Of the people, how many are fitted to learn from, at least and at most: what 60 to 100 teach is most of what there is
to learn, and learning is to take a small part of the run."""
SAMPLED_PHOTOS = 2
"""Photos of a person, and frames of a clip, that are fitted to learn from."""
SAMPLED_STEPS = (15, 12)
"""Iterations of these fits: of 60 people they teach what 25 teach."""
PAINTED = "procedural-pca"
"""The kind of texture that auto replaces."""
OUTCOME_FILE = "outcome.json"
Say = Callable[[str], None]
What = Literal["learn", "use", "keep", "file"]
pc: Any = pyarrow.compute


@dataclass(frozen=True, kw_only=True)
class TextureChoice:
    """What a run does about its texture model."""

    what: What
    """learn it first; use the one it has learned; keep the bundle's; take it from a file."""
    line: str
    """The same for people."""
    texture: ModelRef | None = None
    """Known unless it is to be learned."""
    sample: int = 0
    """People to learn it from."""


def sample_size(people: int) -> int:
    """How many of an input's people `auto` learns from."""
    return min(people, MOST_SAMPLED, max(LEAST_SAMPLED, round(SAMPLED_SHARE * people)))


def choose_texture(config: ReconstructConfig, bundle: ModelBundle, wish: str, *, usual: bool = True) -> TextureChoice:
    """What `--learn-texture` means for a run: auto, never or a texture file.

    Args:
        config: the run.
        bundle: its models.
        wish: as given.
        usual: whether the settings are those for photos of anybody; auto learns for no others.

    Raises:
        ConfigurationError: an input that cannot be listed.
        ModelFileError: a file that is no PCA texture.
        OutputError: an output that is not ours or would become input.
    """
    if wish == NEVER:
        return TextureChoice(what="keep", line="texture: the bundle's", texture=bundle.texture)
    if wish != AUTO:
        path = Path(wish).expanduser().absolute()
        load_pca_texture(path)
        ref = ModelRef(kind="pca", path=path, sha256=sha256_of(path))
        return TextureChoice(what="file", line=f"texture: {path}", texture=ref)
    root, folder = config.root, config.root / LEARNED_TEXTURE
    check_folders(config, root)
    with as_output_errors(root):
        if (sha256 := _outcome(folder)) is not None:
            if sha256:
                ref = texture_ref(folder, sha256)
                return TextureChoice(what="use", line="texture: as this run has learned it from its input", texture=ref)
            return TextureChoice(what="keep", line="texture: the bundle's, as too few people could be learned from")
        if ShardStore(root).summaries():
            return TextureChoice(what="keep", line="texture: the bundle's, with which this run began")
    reason = _why_not(config, bundle, usual)
    if reason:
        return TextureChoice(what="keep", line=f"texture: the bundle's ({reason})")
    people = pc.count_distinct(config.listing().items.column("identity_id")).as_py()
    if people < LEAST_PEOPLE:
        line = f"texture: the bundle's (learning another takes {LEAST_PEOPLE} people, the input has {people})"
        return TextureChoice(what="keep", line=line)
    with as_output_errors(root):
        sample = _begun(folder) or sample_size(people)
    line = f"texture: learned first, from {min(sample, people)} of {people} people of the input"
    return TextureChoice(what="learn", line=line, sample=sample)


def with_texture(
    choice: TextureChoice, config: ReconstructConfig, bundle: ModelBundle, named: str | Path, say: Say
) -> ModelBundle:
    """The bundle with which a run is made; learns its texture where that was chosen.

    Raises:
        ConfigurationError, OutputError: as `learn_texture`.
    """
    if choice.what == "keep":
        return bundle
    if choice.texture is not None:
        return replace(bundle, texture=choice.texture)
    folder = config.root / LEARNED_TEXTURE
    learning = LearningConfig(
        input=config.input,
        output=config.root.location(LEARNED_TEXTURE),
        layout=config.layout,
        identity_field=config.identity_field,
        only=config.people,
        steps=SAMPLED_STEPS,
        people=choice.sample,
        least_people=LEAST_PEOPLE,
        selection=Selection(hold_out=0.0),
        plan=replace(
            config.plan,
            max_images=min(config.plan.max_images, SAMPLED_PHOTOS),
            frames=min(config.plan.frames, SAMPLED_PHOTOS),
        ),
        detection=config.detection,
        fit=config.fit,
        cluster=config.cluster,
    )
    try:
        learned = learn_texture(learning, bundle, named, say)
    except TooFewPeopleError as error:
        say(f"the bundle's texture is kept: {error}")
        with as_output_errors(config.root):
            folder.write(OUTCOME_FILE, json.dumps({"texture": "", "why": str(error)}).encode())
        return bundle
    with as_output_errors(config.root):
        folder.write(OUTCOME_FILE, json.dumps({"texture": learned.texture.sha256}).encode())
    return replace(bundle, texture=learned.texture)


def _why_not(config: ReconstructConfig, bundle: ModelBundle, usual: bool) -> str:
    if not usual:
        return "only the default preset learns another"
    if config.fit.method == "fastganfit":
        return "answers do not wait for fits to learn from"
    if bundle.texture.kind != PAINTED:
        return "it is not the painted one"
    return "the run is limited to some people" if config.plan.limit is not None else ""


def _begun(folder: Storage) -> int:
    """Of how many people a learning that was interrupted began to learn, 0 where none was."""
    try:
        return int(json.loads(folder.read(RECORD_FILE))["fingerprint"]["configuration"]["people"])
    except FileNotFoundError:
        return 0


def _outcome(folder: Storage) -> str | None:
    """The checksum of the learned texture, nothing where too few people were found, None where nothing is known yet."""
    for name in (OUTCOME_FILE, RECORD_FILE):
        try:
            content: dict[str, Any] = json.loads(folder.read(name))
        except FileNotFoundError:
            continue
        if "texture" in content:
            return str(content["texture"])
    return None
