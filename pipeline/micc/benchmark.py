"""The MICC Florence benchmark from end to end: register the scans, reconstruct the clips, measure.

::

    OUT/registered          as ganfit register-micc
    OUT/reconstructions     as ganfit reconstruct --layout micc
    OUT/evaluation-paper    as ganfit evaluate-micc, one folder per protocol
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from evaluation.protocols import Protocol
from evaluation.template import StoredTemplate
from ops.fit.config import FitConfig, default_preset
from ops.weights.bundle import ModelBundle
from pipeline.cluster.item_tasks import TaskConfig
from pipeline.cluster.progress import Show
from pipeline.cluster.session import ClusterConfig
from pipeline.input.planner import PlanConfig
from pipeline.micc.evaluation import EvaluateConfig, Evaluation, evaluate
from pipeline.micc.reconstruction_files import open_reconstructions
from pipeline.micc.registration import RegisterConfig, register
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.reconstruct.reconstruction import reconstruct
from pipeline.run.summary import RunSummary, table_text

REGISTERED, RECONSTRUCTIONS, EVALUATION = "registered", "reconstructions", "evaluation-{protocol}"
PAIRS_A_TASK = 6


@dataclass(frozen=True, kw_only=True)
class MiccConfig:
    """One run: which data, with which settings, where to."""

    data: Path
    """Folder with subject_01, subject_02, ..."""
    output: Path
    landmarks: Path | None = None
    """Folder of LJSON annotations; default: anywhere below `data`."""
    preset: str = "default"
    """Name of the settings `fit` started from; recorded as the method."""
    fit: FitConfig = field(default_factory=default_preset)
    plan: PlanConfig = field(default_factory=PlanConfig)
    protocols: tuple[Protocol, ...] = (Protocol.GANFIT_CODE, Protocol.PAPER)
    """One table each."""
    workers: int | None = None
    """Scans or pairs at a time; default: one per CPU. 0: without Ray."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)


class MiccResult(NamedTuple):
    """What came of a run."""

    summary: RunSummary
    evaluations: Mapping[Protocol, Evaluation]


def run_micc(
    config: MiccConfig,
    bundle: ModelBundle,
    template: StoredTemplate,
    say: Callable[[str], None],
    show: Show = lambda progress: None,
) -> MiccResult:
    """Do what is missing of every step; `template` is the mean face of the shape model that reconstructs.

    `say` receives the lines of progress, `show` how far the reconstruction is, once a second, in another thread.

    Raises:
        ConfigurationError: no such data set.
        OutputError: an output that cannot be used or continued.
        StageFailure: something unexpected; what is finished stays.
    """
    output = config.output
    settings = ReconstructConfig(
        input=config.data,
        output=output / RECONSTRUCTIONS,
        layout="micc",
        preset=config.preset,
        plan=config.plan,
        fit=config.fit,
        cluster=config.cluster,
    )
    say("1. register the scans")
    tasks = TaskConfig(workers=config.workers, address=config.cluster.address)
    register(
        RegisterConfig(data=config.data, output=output / REGISTERED, landmarks=config.landmarks, tasks=tasks),
        template,
        say,
    )
    say("\n2. reconstruct the videos")
    summary = reconstruct(settings, bundle, say, show)
    say(table_text(summary))
    say("\n3. measure")
    reconstructions = open_reconstructions(output / RECONSTRUCTIONS)
    pairs = TaskConfig(workers=config.workers, chunk=PAIRS_A_TASK, address=config.cluster.address)
    evaluations: dict[Protocol, Evaluation] = {}
    for protocol in config.protocols:
        wanted = EvaluateConfig(
            registered=output / REGISTERED,
            output=output / EVALUATION.format(protocol=protocol.value),
            protocol=protocol,
            tasks=pairs,
        )
        evaluations[protocol] = evaluate(wanted, reconstructions, f"ganfit, models {bundle.name}")
    return MiccResult(summary, evaluations)
