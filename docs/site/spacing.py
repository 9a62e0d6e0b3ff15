"""Spaces in formulas."""

from __future__ import annotations

import re

BEFORE_A_SIGN = "|".join([r"\(", r"\[", ",", "=", *(f"&#x{ord(c):05X};" for c in "([,=<>≤≥∝")])
BARS = ('<mo stretchy="false">&#x0007C;</mo>', '<mo fence="false" stretchy="false">&#x02016;</mo>')


def spaced(made: str) -> str:
    """Return a formula with the spaces of TeX, which browsers cannot know.

    They are those of a minus that is a sign, of bars that are brackets, and of the names of functions.

    >>> spaced("<mo>=</mo><mo>&#x02212;</mo><mi>x</mi>")
    '<mo>=</mo><mo form="prefix">&#x02212;</mo><mi>x</mi>'
    """
    made = made.replace('<mo movablelimits="true">det</mo>', "<mi>det</mi>").replace("<mi>;</mi>", "<mo>;</mo>")
    made = re.sub(rf"(<mo[^>]*>(?:{BEFORE_A_SIGN})</mo>)<mo>&#x02212;</mo>", r'\1<mo form="prefix">&#x02212;</mo>', made)
    for bar in BARS:
        parts = made.split(bar)
        if len(parts) % 2:  # an even number of them: each opens or closes
            marked = (bar.replace("<mo", f'<mo form="{form}"') for form in ["prefix", "postfix"] * (len(parts) // 2))
            made = parts[0] + "".join(mark + part for mark, part in zip(marked, parts[1:], strict=True))
    return re.sub(r"(<mi>[a-z]{2,}</mi>)(?=<m(?:i|n|sub|sup|frac|row)\b|<mo form)", r'\1<mspace width="0.167em"/>', made)
