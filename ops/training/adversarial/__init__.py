"""What a critic is shown of few maps that photos tell in part: as much as is seen of them, and augmented."""
