"""What a training step of a torch library is made of: operator calls, and the time of each operator."""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity
from torch.utils._python_dispatch import TorchDispatchMode

# Matrix products are the networks, which is the limit; what is left is a flow's own.
GROUPS = {"matrix products": ("addmm", "aten::mm", "aten::bmm", "linear", "matmul"), "optimizer": ("_fused_adam", "Optimizer")}
OWN, OTHER = "our kernels", "all else"


class Counter(TorchDispatchMode):
    """Count the operators that torch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def count(actions: Any) -> dict[str, Any]:
    """Return the operator calls of one training step, forward, backward and optimizer."""
    actions.train()  # the optimizer makes its state in the first step
    found = {}
    actions.optimizer.zero_grad()
    with Counter() as counter:
        loss = actions.loss(actions.x, actions.c)
    found["forward"] = counter.calls
    with Counter() as counter:
        loss.backward()
    found["backward"] = counter.calls
    with Counter() as counter:
        actions.optimizer.step()
    found["optimizer"] = counter.calls
    actions.built.after()
    found["step"] = sum(found.values())
    return found


def group(name: str) -> str:
    """Sort an operator; torch's own have a namespace, or a number at the end when they are steps of its autograd."""
    for title, parts in GROUPS.items():
        if any(part in name for part in parts):
            return title
    return OWN if name.startswith("pushforward::") or ("::" not in name and not name[-1].isdigit()) else OTHER


def profile(actions: Any, steps: int = 20) -> dict[str, Any]:
    """Return the operators of a training step by their own time: ``[name, milliseconds, calls, share]``."""
    for _ in range(3):
        actions.train()
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            actions.train()
    events = [event for event in profiler.key_averages() if event.self_cpu_time_total > 0]
    total = sum(event.self_cpu_time_total for event in events)
    rows = sorted(events, key=lambda event: -event.self_cpu_time_total)
    shares = dict.fromkeys((*GROUPS, OWN, OTHER), 0.0)
    for event in events:
        shares[group(event.key)] += event.self_cpu_time_total / total
    top = [
        {
            "operator": event.key,
            "milliseconds": event.self_cpu_time_total / steps / 1e3,
            "calls": event.count / steps,
            "share": event.self_cpu_time_total / total,
            "group": group(event.key),
        }
        for event in rows[:12]
    ]
    return {"milliseconds": total / steps / 1e3, "shares": shares, "top": top}
