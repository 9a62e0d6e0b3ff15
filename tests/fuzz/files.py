"""Files that were changed: `load` gives the very flow that was saved, or an error that it names, in bounded time and memory."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from random import Random
from typing import Any

import hostile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import pushforward
from pushforward import bijectors as bij
from pushforward.core.spec import PlanError
from pushforward.distributions import DiagNormal, Flow, Mixture, Resampled, StandardNormal, Truncated
from pushforward.flow.file import FREE
from pushforward.io import checksum

from . import _plans

SHORT = 40
KINDS = {"bytes": 0, "cut": 1, "header": 2, "tensors": 3, "greedy": 4, "any plan": 5}


def case(random: Random, folder: Path) -> str | None:
    """Save a flow, change the file, and load it."""
    path = folder / "flow.safetensors"
    flow = _flow(random)
    flow.save(path)
    kind = random.choice(list(KINDS))
    harmless = False
    if kind == "bytes":
        content = bytearray(path.read_bytes())
        for _ in range(random.choice([1, 1, 1, 2, 20])):
            place = random.randrange(8 * len(content))
            content[place // 8] ^= 1 << place % 8
        harmless = bytes(content) == path.read_bytes()
        path.write_bytes(content)
    elif kind == "cut":
        content = path.read_bytes()
        place = random.randrange(len(content))
        path.write_bytes(
            random.choice([content[:place], content[place:], content + random.randbytes(place % 50 + 1), random.randbytes(place)])
        )
    elif kind == "greedy":
        hostile.write(path, *hostile.GREEDY[random.choice(list(hostile.GREEDY))])
    elif kind == "any plan":
        return _of_any_plan(random, path)
    else:
        _rewrite(random, path, kind)
        harmless = True  # what was changed may be what nobody looks at, or have become what it was
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        loaded = pushforward.load(path)
    except (ValueError, FileNotFoundError) as error:
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if taken > 3 * FREE:
            return f"{kind}: refused, but only after {taken} bytes were taken"
        return None if "load" in str(error) or isinstance(error, PlanError) else f"{kind}: an error without a place: {error}"
    if kind == "tensors":  # others of the same shapes, under a checksum of their own, are another flow, and a right one
        return None if repr(loaded) == repr(flow) else f"{kind}: loads as {loaded!r}"
    return None if harmless or _same(loaded, flow) else f"{kind}: loads as another flow, {loaded!r} instead of {flow!r}"


def _flow(random: Random) -> Flow:
    torch.manual_seed(random.randrange(1000))
    flow = random.choice(
        [
            lambda: pushforward.NSF(2, context=1, transforms=1, widths=(4,)),
            lambda: pushforward.MAF(3, transforms=2, widths=(4,)),
            lambda: Flow(Resampled(bij.MLP((4,)), nodes=16), bij.Affine(), 2),
            lambda: Flow(Mixture([DiagNormal(), Truncated(StandardNormal(), -1.0, 1.0)]), bij.Tanh(), 2),
            lambda: Flow(torch.distributions.Normal(torch.zeros(2), 1.0), [bij.Permute([1, 0]), bij.Linear()]),
        ]
    )()
    if random.random() < 0.5:
        flow.columns = tuple("abc"[: flow.event_shape[0]])
    return flow.double() if random.random() < 0.2 else flow


def _same(one: Flow, other: Flow) -> bool:
    facts = [(repr(flow), flow.dtype, flow.columns, flow.context_columns) for flow in (one, other)]
    return facts[0] == facts[1] and all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def _rewrite(random: Random, path: Path, kind: str) -> None:
    """Change one thing of header or tensors, and seal the file anew."""
    with safe_open(path, "pt") as file:
        content: dict[str, Any] = json.loads(file.metadata()["pushforward"])
    state = load_file(path)
    if kind == "header":
        name = random.choice([*content, "other"])
        if name in content and random.random() < 0.2:
            del content[name]
        else:
            content[name] = _jsonable(_plans.value(random))
    else:
        name = random.choice(list(state))
        tensor = state.pop(name)
        how = random.randrange(5)
        if how == 0:
            state[name] = tensor.to(random.choice([torch.int64, torch.float16, torch.bool, torch.uint8]))
        elif how == 1:
            state[name + "x"] = tensor
        elif how == 2:
            state[name] = tensor.reshape(1, *tensor.shape)
        elif how == 3:
            state[name] = torch.full_like(tensor, random.choice([float("nan"), float("inf"), 0.0, 1e30]))
    text = json.dumps(content)
    sealed = {"pushforward": text, "pushforward.sha256": checksum(text, state)}
    save_file(state, path, random.choice([sealed, sealed, sealed, {"pushforward": text}, {}]))


def _jsonable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


def _of_any_plan(random: Random, path: Path) -> str | None:
    """Save a flow of a random plan, if there is one, and load it; or a file that names the plan without its tensors."""
    found = _plans.plan(random)
    if isinstance(found, PlanError):
        return None
    plan, event_shape, context_shape = found
    base, bijector = (plan, bij.Compose([])) if isinstance(plan, pushforward.core.base.Base) else (StandardNormal(), plan)
    try:
        text = bijector.to_json(), base.to_json()
        hostile.write(path, json.loads(text[1]), json.loads(text[0]), list(event_shape or ()), context_shape)
        pushforward.load(path)
    except (ValueError, FileNotFoundError):
        pass
    try:
        with pushforward.core.budget.Budget(FREE):
            flow = Flow(base, bijector, event_shape, context_shape)  # type: ignore[arg-type]
    except PlanError:
        return None
    flow.save(path)
    return None if _same(pushforward.load(path), flow) else f"comes back as another flow: {flow!r}"
