"""Inference: flows fitted to a log-density, the divergences that lead them, and importance weights of their draws."""
