"""Advice of the library in the words of the command: where Python has a call, the command has an option."""

from __future__ import annotations

ADVICE = {
    "Add noise first: x, steps = pushforward.data.dequantize(x)": "Add noise first: --dequantize",
    "subtract the offset, or use float64: flow.double()": "subtract the offset, or compute in double precision: --float64",
    "With a single feature take splines, such as flows.NSF": "With a single column take splines, such as --flow NSF",
    "drop the copies and give weights instead": "drop the copies",
    "Leave such a column out, and compute": "Leave such a column out (--exclude), and compute",
}
"""What the library says, and what the command says in its place."""


def in_options(message: str) -> str:
    """Return a message with the options of the command where it has names of Python.

    >>> in_options("use float64: flow.double()"), in_options("subtract the offset, or use float64: flow.double()")
    ('use float64: flow.double()', 'subtract the offset, or compute in double precision: --float64')
    """
    for said, here in ADVICE.items():
        message = message.replace(said, here)
    return message
