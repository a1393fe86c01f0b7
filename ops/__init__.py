"""Numerical kernels of face reconstruction: torch, numpy, numba, scipy, open3d; no ray, no dataset layouts."""
