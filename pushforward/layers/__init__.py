"""Layers: what the parameters of a kernel may see (structures), and how features are measured, moved and put together."""
