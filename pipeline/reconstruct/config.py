"""The settings of a reconstruction."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute

from ops.errors import ConfigurationError
from ops.fit.config import FitConfig, default_preset
from ops.geometry.mesh_io import MESH_WRITERS
from ops.reconstruction.detection import DetectionConfig, Effort
from ops.reconstruction.photo_texture import TexturePx, TextureSource, texture_crop_px
from ops.weights.bundle import ModelBundle
from pipeline.cluster.session import FITS_PER_PREPARE, ClusterConfig
from pipeline.input.listing import Layout, Listing
from pipeline.input.planner import PlanConfig
from pipeline.input.sources import list_input
from pipeline.stages.gate import QualityPolicy
from pipeline.stages.writing import MeshFormat
from pipeline.storage.store import Storage, open_output
from pipeline.storage.submitted_job import submission_id

pc: Any = pyarrow.compute

ANSWERS_PER_SEARCH: Mapping[Effort, float] = {"full": 0.5, "quick": 2.0}
"""CPU time of a regressor's answer, its pictures and files over that of finding the face, by what is spent on that."""


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """One run: what, with which settings, where to."""

    input: Path | str
    """A folder, a photo, a clip, an archive or a manifest: a path or a URI."""
    output: Path | str
    """A new folder, or one of an earlier run to continue: a path or a URI."""
    layout: Layout = "auto"
    """How the input is laid out, see `pipeline.input.sources.list_input`."""
    identity_field: str | None = None
    """What names the person in a manifest or an archive: a column or a JSON field."""
    preset: str = "default"
    """Name of the settings `fit` started from; recorded beside the method."""
    plan: PlanConfig = field(default_factory=PlanConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    fit: FitConfig = field(default_factory=default_preset)
    mesh_formats: tuple[MeshFormat, ...] = ("glb",)
    """Files written for every identity; the first is its main one."""
    quality: QualityPolicy = "note"
    """What becomes of images whose measures are beyond the bundle's ranges: rejected, or noted in their message."""
    texture: TextureSource = "model"
    """Of what textures are made: of the texture model alone, or with what the person's photos show beyond it."""
    texture_px: TexturePx = 512
    """Texels along an edge of textures from photos."""
    clip_timeout_s: float = 600.0
    """Seconds a clip may take to decode; one that takes longer fails as timeout."""
    people: frozenset[str] | None = None
    """Use only these persons; None: all."""
    since: datetime | None = None
    """Plan only people who have a new or changed file that was modified after this."""
    submission_id: str = field(default_factory=submission_id)
    """Names this run to another one that wants the same output."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        if not self.clip_timeout_s > 0:
            raise ConfigurationError(f"expected clip_timeout_s > 0, got {self.clip_timeout_s}")
        if self.texture not in get_args(TextureSource) or self.texture_px not in get_args(TexturePx):
            raise ConfigurationError(
                f"expected a texture out of {', '.join(get_args(TextureSource))} of {get_args(TexturePx)} texels, got "
                f"{self.texture!r} of {self.texture_px}"
            )
        unknown = set(self.mesh_formats) - set(MESH_WRITERS)
        if unknown or len(set(self.mesh_formats)) < len(self.mesh_formats):
            raise ConfigurationError(
                f"expected different mesh formats out of {', '.join(MESH_WRITERS)}, got {', '.join(self.mesh_formats)}"
            )

    def check_models(self, bundle: ModelBundle) -> None:
        """Refuse models with which this run cannot work.

        Raises:
            ConfigurationError: a method that needs a regressor, and a bundle without one; the layout `cluster`, and a
                bundle that does not say how alike the faces of one person are.
        """
        if self.layout == "cluster" and bundle.people is None:
            raise ConfigurationError(
                "the layout cluster needs to know from which similarity on two faces are one person's, and the bundle "
                f"{bundle.name!r} does not say: name it in a bundle file as "
                "`people: {same_person: ..., cluster: ...}`"
            )
        if self.fit.start == "regressor" and bundle.regressor is None:
            raise ConfigurationError(
                f"the method {self.fit.method} needs a regressor, and the bundle {bundle.name!r} has none: name one "
                "in a bundle file as `regressor: {kind: fastganfit, path: ..., sha256: ...}` "
                "(ganfit train-regressor trains one), or use --method ganfit"
            )

    @property
    def search(self) -> DetectionConfig:
        """The detection's settings with the effort that is spent."""
        usual = "quick" if self.fit.method == "fastganfit" else "full"
        return dataclasses.replace(self.detection, effort=self.detection.effort or usual)

    @property
    def fits_per_prepare(self) -> float:
        """How many workers that fit keep up with one that finds faces, on the CPU."""
        if self.fit.method != "fastganfit":
            return FITS_PER_PREPARE
        return ANSWERS_PER_SEARCH[self.search.effort or "full"]

    @property
    def photo_texture_px(self) -> int | None:
        """Side of the textures from photos; None where they are the model's."""
        return self.texture_px if self.texture == "photo" else None

    @property
    def texture_crop_px(self) -> int | None:
        """Side of the crops these are made from; None where the fit's own will do."""
        wanted = texture_crop_px(self.texture_px)
        return wanted if self.texture == "photo" and wanted > self.fit.render_px else None

    @property
    def root(self) -> Storage:
        """The output.

        Raises:
            ConfigurationError: results cannot be kept there.
        """
        return open_output(self.output)

    def listing(self) -> Listing:
        """What there is to reconstruct.

        Raises:
            ConfigurationError: an input that cannot be listed.
        """
        listing = list_input(self.input, self.layout, self.identity_field)
        if self.people is None:
            return listing
        wanted = pa.array(sorted(self.people), listing.items.schema.field("identity_id").type)
        chosen = pc.is_in(listing.items.column("identity_id"), value_set=wanted)
        return dataclasses.replace(listing, items=listing.items.filter(chosen))

    def computed(self) -> dict[str, Any]:
        """The settings that decide what is computed; the input and how it is divided are no part of them."""
        return {
            "frames": self.plan.frames,
            "frame_choice": self.plan.frame_choice,
            "max_images": self.plan.max_images,
            "detection": dataclasses.asdict(self.search),
            "fit": dataclasses.asdict(self.fit),
            "mesh_formats": list(self.mesh_formats),
            "quality": self.quality,
            "persons": "by recognition" if self.layout == "cluster" else "as the input says",
            "texture": self.texture,
            "texture_px": self.photo_texture_px,
        }
