"""Reconstruction of a data set: configuration, stage graph, run and dry run."""
