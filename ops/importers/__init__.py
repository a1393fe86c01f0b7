"""Readers of published morphable models, each ending in a validated `ops.face.morphable_model.MorphableModel`."""
