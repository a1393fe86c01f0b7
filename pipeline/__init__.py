"""Ray Data stages over Arrow tables; uses ops and evaluation."""
