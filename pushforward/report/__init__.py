"""Reports: what there is, what it is called elsewhere, and which versions run. Nothing else of the library imports this."""
