"""Train a texture generator: progressive growing, WGAN-GP (Karras et al. 2018), on Ray Train.

    ganfit make-synthetic --layout uv --maps 10000 --side 256 --output uv-maps
    ganfit train-texture-gan --maps uv-maps --output gan --preset 1gpu-256

    ganfit learn-texture --input PHOTOS --output LEARNED
    ganfit train-texture-gan --learned LEARNED --output gan --preset 1gpu-256

writes to the output folder a checkpoint, training.log, metrics.jsonl, sample grids, TensorBoard events, and at the end
generator.safetensors, which a bundle names as `texture: {kind: gan, path: ..., sha256: ...}`. The same command
continues an interrupted training where it was, on the CPU to the last bit. `ganfit fit-texture` compares the result
with a PCA.

Presets: cpu-small (64 px, narrow networks), cpu-128 (128 px, levels that add to a linear image), cpu-128-detail (the
same, with more left to the levels), 1gpu-256 (256 px, at most 192 channels), 8gpu-512 (the published networks and
schedule). --start-steps N regresses the maps from codes before the adversarial phase: a short cut for small machines,
without which the linear image of cpu-128 and cpu-128-detail starts empty; give --first-side with it, so that the
critic's schedule begins at that level. Codes are principal components of the maps; a file texel_weight.npy beside the
maps ([side, side], > 0) says how much every texel counts for them.

--learned trains on the people a texture model was learned from, each with its mirror image: what photos show of them,
completed by the learned model. The critic sees no detail where they are guessed; codes, and the linear image that a
supervised start begins with, are those of the learned model; half of a minibatch is drawn from random latent vectors.
After a supervised start the critic has 150 steps alone, and sees detail alone, as codes tell tones.
Few people would be learned by heart, so that what the critic sees is augmented with a probability that follows how far
it tells them from a tenth of the people, who are held back (--augment; Karras et al. 2020). A generator learned from
photos of people is personal data as they are.

Exit status: 0 when done or out of time, 1 for bad input, a diverged training or a lost worker, 2 when interrupted.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from jobs.cli.command import MODEL_DIR_HELP, Command, CommandParser, say
from ops.errors import ConfigurationError

if TYPE_CHECKING:
    from ops.training.texture_maps import TextureMaps

CRITIC_FIRST = 150
"""Steps, see `GanSchedule.critic_first`."""
RANDOM_SHARE = 0.5
"""Of a minibatch, with few maps: see `GanSchedule.random_share`."""


def _declare(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--maps", type=Path, help="folder of square PNG or JPEG maps, or a Parquet file with column uri")
    add("--learned", type=Path, help="in place of maps the output of ganfit learn-texture, a local folder")
    add("--models", help="bundle that learning began with (default: the built-in one of the name it recorded)")
    add("--model-dir", help=MODEL_DIR_HELP)
    add("--output", type=Path, required=True, help="a new folder, or that of an earlier run to continue")
    add(
        "--preset",
        choices=["cpu-small", "cpu-128", "cpu-128-detail", "1gpu-256", "8gpu-512"],
        default="cpu-small",
        help="size of the networks and schedule, see above",
    )
    add("--latent-size", type=int, default=512, help="length of the latent vector")
    add("--images", type=int, help="real images of every fading and every stable phase (default: the preset's)")
    add("--first-side", type=int, default=4, help="level the schedule begins at")
    add("--start-steps", type=int, default=0, help="steps of a supervised start before (default: none)")
    add(
        "--augment",
        choices=["auto", "never", "adaptive"],
        default="auto",
        help="augment what the critic sees; auto: with --learned",
    )
    add("--minutes", type=float, help="wall-clock limit of this run; the same command continues")
    add("--seed", type=int, default=0, help="of networks, order and latent vectors")
    add("--workers", type=int, default=1, help="Ray Train workers; 0 trains in this process without Ray")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: a GPU where there is one")
    add("--address", help="an existing Ray cluster, such as auto")
    add("--uv-layout", help="layout the maps are drawn on (default: what textures.json beside them says)")
    add("--licence", default="not stated", help="of the trained weights, kept in the file")
    add("--no-tensorboard", action="store_true", help="write no TensorBoard events")


def _maps(options: Namespace, sides: tuple[int, ...]) -> "tuple[TextureMaps, str]":
    """The maps of a folder, and the layout they are drawn on."""
    from ops.training.texture_maps import find_maps, load_or_decode_maps

    source = find_maps(options.maps)
    layout = options.uv_layout or source.uv_layout
    if layout is None:
        raise ConfigurationError(f"{options.maps} does not say on which UV layout its maps are drawn: give --uv-layout")
    if options.uv_layout and source.uv_layout not in (None, options.uv_layout):
        raise ConfigurationError(f"{options.maps} is drawn on {source.uv_layout}, not on {options.uv_layout}")
    return load_or_decode_maps(source, sides, options.output / "maps", say), layout


def _learned(options: Namespace, sides: tuple[int, ...]) -> "tuple[TextureMaps, str]":
    """What a texture model was learned from, and the layout of its textures."""
    from pipeline.training.learned_maps import learned_maps, open_learned

    learned = open_learned(options.learned, options.models, options.model_dir)
    return learned_maps(learned, sides, options.output / "maps", say), learned.texture().uv_layout


def _train(options: Namespace) -> None:
    from dataclasses import replace

    from ops.training.adversarial.augmentation import augmentation_for
    from ops.training.gan_run import GanRun
    from ops.training.gan_schedule import gan_preset
    from pipeline.cluster.session import ClusterConfig
    from pipeline.training.texture_training import TextureTraining, supervised_start
    from pipeline.training.workers import pick_device, train_on_workers

    if (options.maps is None) == (options.learned is None):
        raise ConfigurationError("expected either --maps or --learned")
    learned = options.learned is not None
    schedule = gan_preset(
        options.preset, latent_size=options.latent_size, images=options.images, first_side=options.first_side
    )
    augmented = options.augment == "adaptive" or (options.augment == "auto" and learned)
    schedule = replace(
        schedule,
        seed=options.seed,
        augmentation=augmentation_for(schedule.total_images) if augmented else None,
        random_share=RANDOM_SHARE if learned else 0.0,
        critic_first=CRITIC_FIRST if learned and options.start_steps else 0,
    )
    maps, layout = (_learned if learned else _maps)(options, schedule.size.generator_sides)
    training = TextureTraining(
        schedule=schedule,
        maps=maps,
        run=GanRun(
            folder=options.output,
            uv_layout=layout,
            maps_description=f"preset {options.preset} on {(options.learned or options.maps).name}",
            licence=options.licence,
            minutes=options.minutes,
            tensorboard=not options.no_tensorboard,
        ),
        device=pick_device(options.device),
    )
    if options.start_steps:
        training = supervised_start(training, options.start_steps, say)
    cluster = ClusterConfig(address=options.address, num_gpus=None if training.device == "cuda" else 0)
    train_on_workers(training, options.output, options.workers, cluster, say)
    print(f"finished; see {options.output}")


main = Command("train-texture-gan", __doc__, _declare, _train)

if __name__ == "__main__":
    sys.exit(main())
