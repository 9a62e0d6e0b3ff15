"""Recipes: the table of named flows, and how a flow is made of a row, a name, a function or plans."""
