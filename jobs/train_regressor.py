"""Train the FastGANFit regressor of a bundle: an aligned face to all parameters at once (Gecer et al. 2021).

    ganfit train-regressor --models open --input PHOTOS --input OUT --output regressor

learns from the faces of a data set (a folder of photos and clips, or a manifest), from a run of ganfit reconstruct on
the same shape model, whose fits are then its labels, or, with --portraits N, from N people who do not exist, whose
truth is known: people of the face world in its scenes, and, for every other shape model, photo-like portraits such as
ganfit make-synthetic --layout portraits draws, with the textures of --looks or of the bundle, painted or learned.
Sources are drawn from in proportion to the root of how many faces they have. The first phase minimises landmark error
and the error of known parameters; the second adds the objective of the fit, through the renderer. Landmarks are
displaced throughout, so that the network learns to doubt bad ones. What is learned of shape, camera and light serves
other linear texture models too, such as ganfit learn-texture makes: a face's pixels tell their coefficients.

writes to the output folder settings.json, samples/, tested/ (portraits of further people, from which the regressor
learns how large its errors are), checkpoint.pt, metrics.jsonl, training.log (of workers), and at the end regressor.json
with the score on held-out samples, and regressor.safetensors, which a bundle names as
`regressor: {kind: fastganfit, path: ..., sha256: ...}` for --method fastganfit and ganfit++ of ganfit reconstruct. The
same command continues where it stopped, on the CPU to the last bit.

Exit status: 0 when done, 1 for bad input, a diverged training or a lost worker, 2 when interrupted.
"""

import sys
from pathlib import Path

from jsonargparse import Namespace

from jobs.cli.command import Command, CommandParser, say
from ops.errors import ConfigurationError
from ops.weights.bundle_file import DEFAULT_BUNDLE


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--input", type=str, action="append", help="a data set or a run of ganfit reconstruct; repeatable")
    add("--portraits", type=int, default=0, help="people who do not exist to photograph (default: none)")
    add("--first-person", type=int, default=0, help="number of the first of these people")
    add("--looks", help="a bundle whose texture model portraits wear beside painted faces (default: that of --models)")
    add("--start-from", type=Path, help="a regressor.safetensors of the same layout, for what it makes of pictures")
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add("--models", default=DEFAULT_BUNDLE, help="a bundle's name or YAML file")
    add("--model-dir", type=Path, help="folder of model files; default: $GANFIT_MODELS, else a cache")
    add("--steps", type=int, default=20_000, help="training steps")
    add("--batch", type=int, default=32, help="faces per step, over all workers")
    add("--learning-rate", type=float, default=1e-3, help="of Adam, at the start")
    add("--start-share", type=float, default=0.6, help="share of the steps of the first phase")
    add("--checkpoint-every", type=int, default=500, help="steps")
    add("--seed", type=int, default=0, help="of the network and the batches")
    add("--threads", type=int, default=1, help="CPU threads a worker")
    add("--workers", type=int, default=1, help="Ray Train workers; 0 trains in this process without Ray")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one")
    add("--address", help="an existing Ray cluster, such as auto")


def _train(options: Namespace) -> None:
    inputs = [Path(each) for each in options.input or ()]
    if not inputs and not options.portraits:
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
        with_looks,
    )
    from pipeline.training.workers import pick_device, train_on_workers

    people = range(options.first_person, options.first_person + options.portraits)
    if not 0 <= people.start <= people.stop <= FIRST_TESTED:
        raise ConfigurationError(f"expected --first-person and --portraits to name people from 0 to {FIRST_TESTED}")
    absent = [str(path) for path in inputs if not path.exists()]
    if absent:
        raise ConfigurationError(f"expected data sets or runs at {', '.join(absent)}, found nothing there")
    if options.start_from and not options.start_from.is_file():
        raise ConfigurationError(f"expected a regressor to start from at {options.start_from}, found nothing there")
    bundle = resolve_bundle(options.models, options.model_dir)
    worn = with_looks(bundle, resolve_bundle(options.looks, options.model_dir)) if options.looks else bundle
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
    settings = {name: getattr(options, name) for name in decisive} | {"input": [str(path) for path in inputs]}
    start_from = options.start_from.absolute() if options.start_from else None
    begun_with = start_from and sha256_of(start_from)
    looks = trained_with(worn)["texture"]
    claim_folder(output, settings | {"start_from": begun_with, "models": trained_with(bundle), "looks": looks})
    sets = [output / "samples" / f"{number:02d}" for number in range(len(inputs))]
    for source, folder in zip(inputs, sets, strict=True):
        sample_input(source, folder, bundle, cluster, say)
    tested = None
    if options.portraits:
        sets.append(output / "samples" / "portraits")
        portrait_set(worn, sets[-1], people, say)
        tested = tested_set(worn, output / "tested", len(people), say)
    run = RegressorRun(
        bundle=bundle,
        looks=looks,
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


main = Command("train-regressor", __doc__, _declare, _train)

if __name__ == "__main__":
    sys.exit(main())
