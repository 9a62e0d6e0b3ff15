"""Pyro's face: names and arguments of `pyro.distributions` over the plans of this library, which need torch alone.

`pushforward.transforms` and `pushforward.distributions` gather the names; nothing else of the library loads them.
"""
