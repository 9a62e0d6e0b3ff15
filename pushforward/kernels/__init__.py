"""Kernels: the pure maths of bijections of numbers and vectors, one idea a file, without shapes, networks or state."""
