"""Training of the small networks that belong to the face world, on pictures rendered from it."""
