"""Train the FastGANFit regressor of a bundle: an aligned face to all parameters at once (Gecer et al. 2021).

    python -m jobs.train_regressor --models ict --input PHOTOS --input OUT --output regressor

learns from faces of a data set (a folder of photos and clips, or a manifest), of a run of jobs.reconstruct, whose fits
then supervise it, or, with --portraits N, of N people of the face world photographed on the bundle's shape model, whose
truth is known. The first phase asks for landmarks in their places and for known parameters; the second adds the
objective of the fit, through the renderer. All the while landmarks are displaced, so that bad ones are not believed.
Needs a bundle whose models are all there.

writes to the output folder settings.json, samples/, tested/ (portraits of further people, by which the regressor knows
how far it is off), checkpoint.pt, metrics.jsonl, training.log (of workers), and at the
end regressor.json with the score on samples that were held out, and regressor.safetensors,
which a bundle names as `regressor: {kind: fastganfit, path: ..., sha256: ...}` for --method fastganfit and ganfit++ of
jobs.reconstruct. The same command continues where it stopped, on the CPU to the last bit.

Exit status: 0 when done, 1 for bad input, a diverged training or a lost worker, 2 when interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jobs.command import command_parser, exit_status, say
from ops.errors import ConfigurationError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    return exit_status(lambda: _train(options))


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("train_regressor", __doc__)
    add = parser.add_argument
    add("--input", type=Path, action="append", default=[], help="a data set or a run of jobs.reconstruct; repeatable")
    add("--portraits", type=int, default=0, help="people of the face world to photograph (default: none)")
    add("--first-person", type=int, default=0, help="number of the first of these people (default: %(default)s)")
    add("--start-from", type=Path, help="a regressor.safetensors of the same layout, for what it makes of pictures")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--models", default="ict", help="a bundle's name or YAML file (default: %(default)s)")
    add("--model-dir", type=Path, help="folder of model files; default: $GANFIT_MODELS, else a cache")
    add("--steps", type=int, default=20_000, help="default: %(default)s")
    add("--batch", type=int, default=32, help="faces a step, over all workers (default: %(default)s)")
    add("--learning-rate", type=float, default=1e-3, help="default: %(default)s")
    add("--start-share", type=float, default=0.6, help="share of the steps of the first phase (default: %(default)s)")
    add("--checkpoint-every", type=int, default=500, help="steps (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the network and the batches (default: %(default)s)")
    add("--threads", type=int, default=1, help="CPU threads a worker (default: %(default)s)")
    add("--workers", type=int, default=1, help="Ray Train workers; 0 trains in this process without Ray (default: 1)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one")
    add("--address", help="an existing Ray cluster, such as auto")
    return parser


def _train(options: argparse.Namespace) -> None:
    if not options.input and not options.portraits:
        raise ConfigurationError("expected faces to learn from: give --input or --portraits")
    if not 0 <= options.start_share <= 1 or min(options.steps, options.batch, options.checkpoint_every) < 1:
        raise ConfigurationError("expected --start-share in [0, 1], and --steps, --batch and --checkpoint-every >= 1")
    from ops.training.loop import Schedule
    from ops.training.regressor import RegressorTrainingConfig
    from ops.weights.bundle import resolve_bundle
    from ops.weights.registry import sha256_of
    from pipeline.cluster.session import ClusterConfig
    from pipeline.training.regressor_samples import sample_input
    from pipeline.training.regressor_training import (
        FIRST_TESTED,
        RegressorRun,
        claim_folder,
        portrait_set,
        tested_set,
        trained_with,
    )
    from pipeline.training.workers import pick_device, train_on_workers

    people = range(options.first_person, options.first_person + options.portraits)
    if not 0 <= people.start <= people.stop <= FIRST_TESTED:
        raise ConfigurationError(f"expected --first-person and --portraits to name people from 0 to {FIRST_TESTED}")
    absent = [str(path) for path in options.input if not path.exists()]
    if absent:
        raise ConfigurationError(f"expected data sets or runs at {', '.join(absent)}, found nothing there")
    if options.start_from and not options.start_from.is_file():
        raise ConfigurationError(f"expected a regressor to start from at {options.start_from}, found nothing there")
    bundle = resolve_bundle(options.models, options.model_dir)
    device = pick_device(options.device)
    cluster = ClusterConfig(address=options.address, num_gpus=None if device == "cuda" else 0)
    output = options.output.absolute()
    schedule = Schedule(
        steps=options.steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        seed=options.seed,
        threads=options.threads,
        checkpoint_every=options.checkpoint_every,
    )
    decisive = ("input", "portraits", "first_person", "steps", "batch", "learning_rate", "start_share", "seed")
    settings = {name: getattr(options, name) for name in decisive} | {"input": [str(path) for path in options.input]}
    start_from = options.start_from.absolute() if options.start_from else None
    begun_with = start_from and sha256_of(start_from)
    claim_folder(output, settings | {"start_from": begun_with, "models": trained_with(bundle)})
    sets = [output / "samples" / f"{number:02d}" for number in range(len(options.input))]
    for source, folder in zip(options.input, sets, strict=True):
        sample_input(source, folder, bundle, cluster, say)
    tested = None
    if options.portraits:
        sets.append(output / "samples" / "portraits")
        portrait_set(bundle, sets[-1], people, say)
        tested = tested_set(bundle, output / "tested", len(people), say)
    run = RegressorRun(
        bundle=bundle,
        samples=tuple(sets),
        tested=tested,
        output=output,
        schedule=schedule,
        config=RegressorTrainingConfig(start_share=options.start_share),
        device=device,
        start_from=start_from,
    )
    train_on_workers(run, output, options.workers, cluster, say)
    print(f"finished; see {output}")


if __name__ == "__main__":
    sys.exit(main())
