"""How each named flow is called, and what it is built of with its defaults and with every option: `tests/data/named_flows.json` has it.

A signature that changes there breaks calls; a plan or the name of a weight, files and figures that users have. `make generated` adds what
is new. Where a change is meant, write the file anew: ``python tests/named_flow_plans.py``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import torch

import pushforward
from pushforward import bijectors, flows

FILE = Path(__file__).parent / "data" / "named_flows.json"
NAMES = sorted(set(flows.__all__) - {"mixture"})
# Another value of each option than its default, as it is written in a call, and what the plan then has in it.
VALUES = {
    "context": ("2", "context_shape=(2,)"),
    "transforms": ("7", ""),
    "widths": ("(5, 6)", "widths=(5, 6)"),
    "activation": ("'tanh'", "'tanh'"),
    "net": ("MLP((7,), 'silu')", "MLP(widths=(7,), activation='silu')"),
    "mix": ("None", ""),
    "support": ("['positive', 'unit_interval'] * 2", "Concatenate((Exp(), Sigmoid()"),
    "structure": ("'autoregressive'", "Autoregressive("),
    "bins": ("5", "bins=5"),
    "bound": ("2.5", "bound=2.5"),
    "order": ("'linear'", "order='linear'"),
    "units": ("5", "units=5"),
    "layers": ("3", "layers=3"),
    "degree": ("6", "degree=6"),
    "terms": ("4", "terms=4"),
    "factors": ("(3,)", "factors=(3,)"),
    "components": ("5", "components=5"),
    "coefficient": ("0.7", "coefficient=0.7"),
    "variant": ("'triangular'", "'triangular'"),
    "reflections": ("3", "reflections=3"),
    "tolerance": ("0.001", "tolerance=0.001"),
    "method": ("'rk4'", "method='rk4'"),
    "trace": ("'hutchinson'", "trace='hutchinson'"),
    "probes": ("5", "probes=5"),
    "seed": ("7", "seed=7"),
}
# For some flows an option means something else.
OTHER = {
    ("PlanarFlow", "activation"): ("'leaky_relu'", "'leaky_relu'"),
    ("BNAF", "activation"): ("'leaky_relu'", "'leaky_relu'"),
    ("ResidualFlow", "activation"): ("'elu'", "'elu'"),
}
# Sizes at which a flow is quick, and what is least for one.
SMALL = {"transforms": 2, "widths": (8,), "bins": 4, "units": 4, "degree": 6, "components": 4, "factors": (4,), "tolerance": 1e-3}
LEAST = {"SOSPF": {"degree": 2}}
MORE = (
    "NSF(5, support=['circular', 'real', 'circular', 'positive', 'circular'], transforms=3)",
    "NSF(2, 2, support=['circular', 'unit_interval'], bins=4, order='linear', mix='shuffle')",
    "NSF(3, structure='autoregressive', mix='shuffle', support=['real', 'positive', 'unit_interval'])",
    "NCSF(2, structure='autoregressive')",
    "NCSF(3, 2, mix='reverse')",
    "MAF(3, mix='shuffle')",
    "RealNVP(3, mix='linear')",
    "NICE(2, 2, net=MLP((3,)))",
    "GF(2, 0, widths=(3,))",
    "PlanarFlow(2, 0, net=MLP((3,)))",
    "SylvesterFlow(3, 2, variant='triangular', transforms=3)",
    "HouseholderFlow(3, transforms=3)",
    "BNAF(2, transforms=1)",
    "BNAF(2, transforms=2, factors=(3, 4))",
)


def options(name: str) -> list[str]:
    """Return the options of a named flow: what it takes beside the numbers of features and of context."""
    return list(inspect.signature(getattr(flows, name)).parameters)[2:]


def calls() -> list[str]:
    """Return the calls, as a user writes them."""
    usual = [f"{name}({given})" for name in NAMES for given in ("1", "2", "4", "4, context=1")]
    told = [f"{name}(4, context=1, {option}={value_of(name, option)[0]})" for name in NAMES for option in options(name)]
    return [*usual, *told, *MORE]


def value_of(name: str, option: str) -> tuple[str, str]:
    """Return another value of an option than its default, as it is written, and what the plan then has in it."""
    found = OTHER.get((name, option)) or VALUES.get(option)
    if found is None:
        raise KeyError(f"{name}: expected a value of {option} in VALUES of tests/named_flow_plans.py, with which the tests try it")
    return found


def small(name: str, features: int, context: int = 0, **told: object) -> pushforward.Flow:
    """Return a named flow that is quick, with some options told."""
    sizes = {option: value for option, value in (SMALL | LEAST.get(name, {})).items() if option in options(name)}
    flow: pushforward.Flow = getattr(flows, name)(features, context, **sizes | told)
    return flow


def called(call: str) -> pushforward.Flow:
    """Return the flow of a call."""
    flow: pushforward.Flow = eval(call, {"__builtins__": {}}, {**{name: getattr(flows, name) for name in NAMES}, "MLP": bijectors.MLP})
    return flow


def built(call: str) -> dict[str, str]:
    """Return the text of a flow, which has its whole plan, and a digest of the names and shapes of its weights."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*one feature without a context")
        flow = called(call)
    weights = sorted((name, list(value.shape)) for name, value in flow.state_dict().items())
    return {"flow": repr(flow), "weights": hashlib.sha256(json.dumps(weights).encode()).hexdigest()[:16]}


def signatures() -> dict[str, str]:
    """Return how each named flow is called, as `help` shows it."""
    return {name: str(inspect.signature(getattr(flows, name))) for name in NAMES}


def recorded() -> dict[str, dict[str, Any]]:
    """Return what is recorded: ``signatures`` by name, and ``flows`` by call."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text())
    return found


def record(signed: dict[str, Any], made: dict[str, Any]) -> None:
    """Write the file, in the order of the names and calls."""
    order = {"signatures": {name: signed[name] for name in NAMES}, "flows": {call: made[call] for call in calls()}}
    FILE.write_text(json.dumps(order, indent=1) + "\n")


if __name__ == "__main__":
    record(signatures(), {call: built(call) for call in calls()})
