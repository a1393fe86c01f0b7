"""The MICC Florence benchmark: registration, reconstruction files, evaluation, synthetic data."""
