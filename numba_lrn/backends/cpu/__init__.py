"""Numba on the CPU: plan, kernels, threads, launch."""
