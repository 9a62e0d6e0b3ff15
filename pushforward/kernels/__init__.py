"""Kernels: the pure maths of each bijection, one idea a file."""
