"""Readers of published morphable models, each ending in a validated `ops.morphable_model.MorphableModel`."""
