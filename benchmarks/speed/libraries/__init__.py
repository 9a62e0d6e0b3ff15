"""One file a library: how it builds a work. `build(work)` returns a `Built` (torch) or the actions themselves (JAX)."""
