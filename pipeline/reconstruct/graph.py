"""The pipeline as flat lists of stages."""

from ops.weights.bundle import ModelBundle
from pipeline.cluster.session import Pools
from pipeline.reconstruct.config import ReconstructConfig
from pipeline.run.attempts import Attempts
from pipeline.run.shards import ShardStore
from pipeline.stages.alignment import AlignFaces
from pipeline.stages.detection import DetectFaces
from pipeline.stages.fitting import FitFaces
from pipeline.stages.frames import ReadFrames, give_up_items
from pipeline.stages.gate import QualityGate
from pipeline.stages.isolation import Isolating
from pipeline.stages.stage import Fused, Stage
from pipeline.stages.writing import CommitOnce, OpenShard, RehearseWriting, WriteShard
from pipeline.tables.schema import ModelSizes


def face_stages(config: ReconstructConfig, bundle: ModelBundle) -> tuple[Stage, ...]:
    """From planned items to the faces in them."""
    return (
        ReadFrames(
            frames=config.plan.frames, frame_choice=config.plan.frame_choice, clip_timeout_s=config.clip_timeout_s
        ),
        DetectFaces(
            detector=bundle.detector,
            landmarks=bundle.landmarks,
            recognition=bundle.recognition,
            config=config.search,
            same_person=bundle.people and bundle.people.same_person,
            best_frames=config.plan.frames if config.plan.frame_choice == "best" else None,
        ),
    )


def prepare_stages(config: ReconstructConfig, bundle: ModelBundle) -> Stage:
    """From shards' numbers to aligned crops, in one worker: images do not travel between processes."""
    chain = Fused(
        stages=(
            *face_stages(config, bundle),
            AlignFaces(
                side_px=config.fit.render_px,
                texture_side_px=config.texture_crop_px,
                landmarks=bundle.landmarks if bundle.quality and bundle.quality.landmark_shift else None,
                quick=config.search.quick,
                gate=QualityGate(ranges=bundle.quality, policy=config.quality),
            ),
        )
    )
    isolating = Isolating(
        first=chain,
        apart=chain,
        attempts=Attempts(config.root),
        name="prepare",
        unit="item_id",
        give_up=give_up_items,
    )
    return Fused(stages=(OpenShard(root=config.root), isolating))


def commit_stages(
    config: ReconstructConfig,
    bundle: ModelBundle,
    sizes: ModelSizes,
    pools: Pools,
    store: ShardStore,
    fingerprint: str,
) -> Stage:
    """From aligned crops to a committed shard, in one worker: what is fitted is stored before it is reported."""
    fit = FitFaces(
        bundle=bundle,
        config=config.fit,
        sizes=sizes,
        device=pools.device,
        batch_images=pools.fit_batch,
        rasterizer=pools.rasterizer,
        gate=QualityGate(ranges=bundle.quality, policy=config.quality),
        texture_px=config.photo_texture_px,
    )
    write = WriteShard(
        store=store,
        bundle=bundle,
        sizes=sizes,
        device=pools.device,
        mesh_formats=config.mesh_formats,
        method=f"{config.fit.method} {config.preset}",
        fingerprint=fingerprint,
    )
    isolating = Isolating(
        first=fit,
        apart=Fused(stages=(fit, RehearseWriting(stage=write))),
        rest=write,
        attempts=Attempts(config.root),
        name="fit",
        unit="image_id",
        give_up=fit.give_up,
    )
    return CommitOnce(store=store, stage=isolating)
