"""Zuko: flows of this library as Zuko's, and trained flows of Zuko's as ones of this library."""

from pushforward.contrib.zuko.adapter import to_zuko
from pushforward.contrib.zuko.convert import convert

__all__ = ["convert", "to_zuko"]
