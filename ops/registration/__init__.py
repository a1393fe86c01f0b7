"""Aligning and deforming meshes onto scans."""
