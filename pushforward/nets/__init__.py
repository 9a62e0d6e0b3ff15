"""Networks that make the parameters of kernels from what these may see."""
