"""The renderer as kernels of NVIDIA Warp, one source for CUDA and the CPU."""
