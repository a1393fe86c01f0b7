"""Commands that measure reconstructions."""
