"""The nets of the page "Add a net", as a user would write them: `ConvNet` and `Attention`.

Under names of their own, since files find plans by name, and the test of the page defines them as well.
"""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "add-a-net.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
FILE = next(block for block in BLOCKS if "class ConvNet" in block)

exec(compile(FILE.replace("ConvNet", "OwnConvNet"), str(PAGE), "exec"))
exec(
    compile(
        next(b for b in BLOCKS if "class Attention" in b).split("\n\n\nsequences")[0].replace("Attention(", "OwnAttention("),
        str(PAGE),
        "exec",
    )
)

ConvNet = globals()["OwnConvNet"]
Attention = globals()["OwnAttention"]
