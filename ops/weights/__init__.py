"""Which model files a run uses, where they are, and the proof that they are the right ones."""
