"""Expectation maximisation over blocks of people on Ray Data: each block gives a sketch, merged in a fixed order.

::

    FOLDER/people/*.parquet             see `pipeline.training.texture_people`
           iteration_2/00007.safetensors    the sketch of a block of people
           model_2.safetensors              mean and modes after the second iteration

A block is read, completed and sketched by one worker, person after person, so a worker's memory does not grow with the
people, and the result does not depend on the workers' number.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import safetensors.torch
import torch

from ops.texture.interface import TextureModel
from ops.texture.learning import LearnedTexture, TextureLearner, make_learner
from ops.texture.sketches import TextureSketch, merge_sketches
from ops.weights.bundle import ModelBundle, load_shape, load_texture
from pipeline.cluster.session import local_cpus
from pipeline.stages.stage import Placement, Stage, apply_stage, run_stage
from pipeline.storage.parquet import read_table
from pipeline.storage.store import Storage, as_output_errors
from pipeline.training.texture_people import people_file, seen_person

SKETCHED_PEOPLE = 64
"""People whose complete textures are in memory at once."""
MOST_BLOCKS = 64
"""Blocks the people are divided into, at most: their sketches are merged one after the other by the driver."""
PROGRESS = "progress"
Say = Callable[[str], None]

BLOCKS = pa.schema([("block", pa.int32()), ("files", pa.list_(pa.string()))])
"""One row per block: the files its people are in."""
SKETCHED = pa.schema([("block", pa.int32()), ("people", pa.int32()), ("left", pa.float64()), ("trusted", pa.float64())])
"""One row per block: means over its people, see `ops.texture.learning.Completed`."""


class Progress(NamedTuple):
    """What an iteration came to."""

    people: int
    left: float
    """Mean luma difference between photos and model."""
    trusted: float
    """Mean share of what photos show that was believed."""


class _Loaded(NamedTuple):
    learner: TextureLearner
    fitted: TextureModel
    model: LearnedTexture | None


@dataclass(frozen=True, kw_only=True)
class LearningModels:
    """What a learning starts from."""

    bundle: ModelBundle
    """Its texture is the prior."""
    fitted: ModelBundle
    """With the texture the people were fitted with."""
    side: int
    modes: int

    def learner(self) -> TextureLearner:
        """The steps of the learning."""
        shape = load_shape(self.bundle.shape)
        return make_learner(shape, load_texture(self.bundle.texture, shape), self.side, self.modes)


@dataclass(frozen=True, kw_only=True)
class SketchPeople:
    """Completes the textures of a block's people under a model, and writes their sketch."""

    folder: Storage
    models: LearningModels
    iteration: int
    """From 1; the model is that of the iteration before."""

    @property
    def inputs(self) -> pa.Schema:
        """Blocks."""
        return BLOCKS

    @property
    def outputs(self) -> pa.Schema:
        """What became of them."""
        return SKETCHED

    def load(self) -> _Loaded:
        """The learner and the models."""
        fitted = self.models.fitted
        model = None if self.iteration == 1 else read_model(self.folder, self.iteration - 1)
        return _Loaded(self.models.learner(), load_texture(fitted.texture, load_shape(fitted.shape)), model)

    def __call__(self, loaded: _Loaded, table: pa.Table) -> pa.Table:
        """Sketch every block of a table."""
        rows = [self._block(loaded, row["block"], row["files"]) for row in table.to_pylist()]
        return pa.Table.from_pylist(rows, schema=SKETCHED)

    def _block(self, loaded: _Loaded, block: int, files: Sequence[str]) -> dict[str, Any]:
        with as_output_errors(self.folder):
            if self.folder.exists(sketch_file(self.iteration, block)):
                return {"block": block, **_read_sketch(self.folder, self.iteration, block)[1]._asdict()}
        learner, metric = loaded.learner, loaded.learner.metric()
        textures: list[torch.Tensor] = []
        sketch: TextureSketch | None = None
        left = trusted = 0.0
        for row in itertools.chain(used_people(self.folder, files), (None,)):
            if row is not None:
                completed = learner.complete_person(seen_person(row, loaded.fitted), loaded.model)
                textures.append(completed.texture)
                left, trusted = left + completed.left, trusted + completed.trusted
            if textures and (row is None or len(textures) == SKETCHED_PEOPLE):
                part = learner.sketch(torch.stack(textures))
                sketch = part if sketch is None else merge_sketches(sketch, part, metric)
                textures = []
        assert sketch is not None
        people = sketch.textures
        told = {"people": people, "left": left / people, "trusted": trusted / people}
        tensors = {"mean": sketch.mean, "even": sketch.even.contiguous(), "odd": sketch.odd.contiguous()}
        data = safetensors.torch.save(tensors, {name: repr(value) for name, value in told.items()})
        with as_output_errors(self.folder):
            self.folder.write(sketch_file(self.iteration, block), data)
        return {"block": block, **told}


def blocks_of(counts: Mapping[int, int]) -> list[list[int]]:
    """Shards with people to learn from, by their numbers, as blocks; the same for one input.

    A block ends with the shard in which it has `SKETCHED_PEOPLE`, or in a large input its part of all people.
    """
    enough = max(SKETCHED_PEOPLE, math.ceil(sum(counts.values()) / MOST_BLOCKS))
    blocks: list[list[int]] = []
    waiting: list[int] = []
    people = 0
    for shard, count in sorted(counts.items()):
        if count:
            waiting, people = [*waiting, shard], people + count
        if people >= enough:
            blocks.append(waiting)
            waiting, people = [], 0
    return [*blocks, waiting] if waiting else blocks


def iterate(
    ray: Any,
    folder: Storage,
    models: LearningModels,
    learner: TextureLearner,
    blocks: Sequence[Sequence[int]],
    iterations: int,
    say: Say,
) -> tuple[LearnedTexture, list[Progress]]:
    """Learn from the people in a folder; iterations that are there are kept.

    Args:
        ray: a session of Ray.
        folder: of the people.
        models: for the workers.
        learner: that of the models.
        blocks: see `blocks_of`.
        iterations: how many.
        say: receives a line per iteration.

    Raises:
        OutputError: the folder cannot be written.
    """
    done = max((number for number in range(1, iterations + 1) if folder.exists(model_file(number))), default=0)
    progress = _read_progress(folder, done) if done else []
    for iteration in range(done + 1, iterations + 1):
        _sketch_blocks(ray, SketchPeople(folder=folder, models=models, iteration=iteration), blocks)
        merged, now = _merge(folder, iteration, len(blocks), learner)
        progress.append(now)
        write_model(folder, iteration, learner.learned_texture(merged), progress)
        # In this order: an interrupted call finds the newest model, or the sketches for it.
        folder.remove(f"iteration_{iteration}")
        folder.remove(model_file(iteration - 1))
        say(
            f"iteration {iteration} of {iterations}: {now.people} people, luma left over {now.left:.4f}, "
            f"{100 * now.trusted:.1f} % of what photos show was believed"
        )
    return read_model(folder, iterations), progress


def sketch_file(iteration: int, block: int) -> str:
    """Where a block's sketch is."""
    return f"iteration_{iteration}/{block:05d}.safetensors"


def model_file(iteration: int) -> str:
    """Where the model after an iteration is."""
    return f"model_{iteration}.safetensors"


def write_model(folder: Storage, iteration: int, model: LearnedTexture, progress: Sequence[Progress]) -> None:
    """Keep a model as it is, in luma, Cb, Cr, and what the iterations so far came to."""
    tensors = {"mean": model.mean.contiguous(), "modes": model.modes.contiguous()}
    told = {PROGRESS: json.dumps([one._asdict() for one in progress])}
    with as_output_errors(folder):
        folder.write(model_file(iteration), safetensors.torch.save(tensors, told))


def read_model(folder: Storage, iteration: int) -> LearnedTexture:
    """What `write_model` kept."""
    with as_output_errors(folder):
        return LearnedTexture(**safetensors.torch.load(folder.read(model_file(iteration))))


def _read_progress(folder: Storage, iteration: int) -> list[Progress]:
    with as_output_errors(folder):
        told = _metadata(folder.read(model_file(iteration)))
    return [Progress(**one) for one in json.loads(told[PROGRESS])]


def _metadata(data: bytes) -> dict[str, str]:
    """The description in a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]


def _sketch_blocks(ray: Any, stage: SketchPeople, blocks: Sequence[Sequence[int]]) -> None:
    files = [[people_file(shard) for shard in block] for block in blocks]
    tables = [
        pa.table({"block": [number], "files": [names]}, schema=BLOCKS)
        for number, names in enumerate(files)
        if not stage.folder.exists(sketch_file(stage.iteration, number))
    ]
    for _ in map_blocks(ray, stage, tables):
        pass


def map_blocks(ray: Any, stage: Stage, tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """A stage over blocks on Ray Data, one thread a worker, so that the last bits do not depend on the machine.

    A single block is worked on in this process: that takes less than a worker's start.
    """
    if len(tables) > 1:
        cpus = max(1, int(ray.cluster_resources().get("CPU", local_cpus())) - 1)
        placement = Placement(workers=min(len(tables), cpus), cpus=1)
        dataset = apply_stage(ray.data.from_arrow(list(tables)), stage, placement)
        for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield block.cast(stage.outputs)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for table in tables:
            yield run_stage(stage, stage.load(), table)
    finally:
        torch.set_num_threads(threads)


def _merge(folder: Storage, iteration: int, blocks: int, learner: TextureLearner) -> tuple[TextureSketch, Progress]:
    metric = learner.metric()
    merged, done = _read_sketch(folder, iteration, 0)
    for block in range(1, blocks):
        sketch, told = _read_sketch(folder, iteration, block)
        merged, done = merge_sketches(merged, sketch, metric), _both(done, told)
    return merged, done


def _both(first: Progress, second: Progress) -> Progress:
    people = first.people + second.people
    share = second.people / people
    return Progress(
        people,
        first.left + share * (second.left - first.left),
        first.trusted + share * (second.trusted - first.trusted),
    )


def _read_sketch(folder: Storage, iteration: int, block: int) -> tuple[TextureSketch, Progress]:
    with as_output_errors(folder):
        data = folder.read(sketch_file(iteration, block))
    metadata = _metadata(data)
    told = Progress(int(metadata["people"]), float(metadata["left"]), float(metadata["trusted"]))
    tensors = safetensors.torch.load(data)
    return TextureSketch(told.people, tensors["mean"], tensors["even"], tensors["odd"]), told


def used_people(folder: Storage, files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of `SEEN_PEOPLE` that are learned from, file by file."""
    for name in files:
        with as_output_errors(folder):
            rows = read_table(folder, name)
        yield from (row for row in rows.filter(rows.column("used")).to_pylist())
