"""The settings of a reconstruction."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ops.errors import ConfigurationError
from ops.fit.config import FitConfig, default_preset
from pipeline.cluster import ClusterConfig
from pipeline.detection import DetectionConfig
from pipeline.planner import PlanConfig
from pipeline.sources import Layout
from pipeline.writing import MESH_WRITERS, MeshFormat


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """One run: what, with which settings, where to."""

    input: Path
    """A folder, a photo, a clip or a Parquet manifest."""
    output: Path
    """A new folder, or one of an earlier run to continue."""
    layout: Layout = "auto"
    """How the input is laid out, see `pipeline.sources.list_input`."""
    preset: str = "default"
    """Name of the settings `fit` started from; recorded as the method."""
    plan: PlanConfig = field(default_factory=PlanConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    fit: FitConfig = field(default_factory=default_preset)
    mesh_formats: tuple[MeshFormat, ...] = ("glb",)
    """Files written for every identity; the first is its main one."""
    clip_timeout_s: float = 600.0
    """Seconds a clip may take to decode; one that takes longer fails as timeout."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        if not self.clip_timeout_s > 0:
            raise ConfigurationError(f"expected clip_timeout_s > 0, got {self.clip_timeout_s}")
        unknown = set(self.mesh_formats) - set(MESH_WRITERS)
        if unknown or len(set(self.mesh_formats)) < len(self.mesh_formats):
            raise ConfigurationError(
                f"expected different mesh formats out of {', '.join(MESH_WRITERS)}, got {', '.join(self.mesh_formats)}"
            )

    def computed(self) -> dict[str, Any]:
        """The settings that decide what is computed; how the input is divided shows in the plan's checksum."""
        return {
            "frames": self.plan.frames,
            "max_images": self.plan.max_images,
            "detection": dataclasses.asdict(self.detection),
            "fit": dataclasses.asdict(self.fit),
            "mesh_formats": list(self.mesh_formats),
        }
