"""Texture models: latent vector to albedo image in UV space."""
