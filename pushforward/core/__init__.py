"""The core: what all parts stand on. Plans, layers and bases, their checks, and numbers; nothing here names a map, a net or a file."""
