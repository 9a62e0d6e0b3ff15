"""The flow: a base through a bijection as a distribution, its conditioned view, its file, and what it says of its quantiles."""
