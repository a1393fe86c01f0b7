"""Entry points: parse configuration, call the pipeline, set the exit code."""
