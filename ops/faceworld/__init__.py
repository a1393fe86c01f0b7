"""The self-made face world: heads, albedo and scenes of people who do not exist, in millimetres, from seeds alone."""
