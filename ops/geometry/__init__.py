"""Cameras, rotations, similarities and meshes; no faces."""
