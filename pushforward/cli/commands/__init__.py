"""The commands, a file each: each reads files, calls the library, and writes files."""
