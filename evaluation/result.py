"""The measured figures of one (reconstruction, scan) pair."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """Distances in millimetres as the protocol defines them; pass 1 starts at the ground truth, pass 2 comes back."""

    distance_mm: float
    pass1_mm: float
    pass2_mm: float | None
    """None where the protocol looks in one direction only."""
    median_mm: float
    p95_mm: float
    iterations1: int
    iterations2: int
    masked1: int
    """Ground-truth vertices inside the crop."""
    masked2: int
    scale: float
    """What the alignment multiplied the reconstruction by; 1 where the protocol is metric."""
    crop_radius_mm: float
    """In real millimetres of the scan."""
