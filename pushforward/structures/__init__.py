"""Structures: what the parameters of a kernel may see, and how features are moved."""
