"""The record of the named flows, tests/data/named_flows.json: how each is called, and what it is built of.

What is recorded stays, since users have it; calls of a new flow or option are added. ``python tests/named_flow_plans.py`` writes all of it
anew, where a change is meant.
"""

from __future__ import annotations

from scripts.generated.writer import Writer
from tests import named_flow_plans as plans


def stale() -> list[str]:
    """Return the flows and the calls that are not recorded yet."""
    known = plans.recorded()
    return [one for one in plans.NAMES if one not in known["signatures"]] + [one for one in plans.calls() if one not in known["flows"]]


def write() -> None:
    """Add what is missing."""
    if missing := stale():
        known = plans.recorded()
        names = {name: signature for name, signature in plans.signatures().items() if name in missing}
        plans.record(names | known["signatures"], {call: plans.built(call) for call in missing if "(" in call} | known["flows"])


WRITER = Writer(stale, write)
