"""Compiled CPU kernels: affine maps, rational splines and monotone maps, and the sequential direction of autoregressive layers.

`library` loads them, if a compiler was there when the package was installed; `elementwise` and `sweep` make operators of them.
The pure PyTorch kernels are the reference, and what runs wherever these do not.
"""
