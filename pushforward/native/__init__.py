"""Compiled CPU kernels: affine maps, splines and monotone maps, the sequential direction of autoregressive layers, and velocity fields.

`library` loads them, if a compiler was there when the package was installed; `elementwise` and `sweep` make operators of them.
The pure PyTorch kernels are the reference, and what runs wherever these do not.
"""
