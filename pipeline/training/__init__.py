"""Training data and training runs of the regressor and the texture generator."""
