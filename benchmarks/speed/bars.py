"""What the library must show, held against the figures: each bar with what was measured and what the best peer has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .picture import NAMES
from .works import JOBS, LARGE, MAIN, WORKS

# Largest time of a training step over that of the bare networks; largest time of sampling over scoring.
OVER_BARE = {MAIN[0].name: 1.35, MAIN[1].name: 1.6, MAIN[2].name: 1.2}
OVER_SCORING = {MAIN[1].name: 3.0, "spline autoregressive, D = 64": 3.0, MAIN[2].name: 3.0, LARGE.name: 5.0}
FOUNDER = {job.name: "flowtorch" if "FlowTorch" in job.name else "pyro" for job in JOBS}
FASTER, WARM_UP, MEMORY = 8.0, 0.05, 0.5
# Two runs that end at the same optimum differ by this much in the mean loss of a hundred steps.
SAME = 0.005
PEERS = ("pyro", "zuko", "nflows", "normflows", "flowtorch", "flowjax")
THREADS = ("1", "2")


@dataclass(frozen=True)
class Bar:
    """One thing to show.

    Args:
        point: Its number in the list of what must be shown.
        what: The figure in words.
        limit: The bar; None where there is none to meet.
        measured: Threads to figure.
        at_least: The figure has to reach the bar instead of staying under it.
        peer: What the best peer has, in words, with one thread.
        form: How figures are written.
    """

    point: int
    what: str
    limit: float | None
    measured: dict[str, float] = field(default_factory=dict)
    at_least: bool = False
    peer: str = ""
    form: str = ".2f"

    def keeps(self, threads: str) -> bool | None:
        """Return whether the bar is met, None where nothing was measured."""
        if self.limit is None or threads not in self.measured:
            return None
        value = self.measured[threads]
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def verdict(self) -> str:
        kept = {threads: self.keeps(threads) for threads in THREADS if self.keeps(threads) is not None}
        if self.limit is None:
            return "shown"
        if not kept:
            return "not measured"
        if len(set(kept.values())) == 1:
            return "met" if all(kept.values()) else "**missed**"
        return "**missed** with one thread" if kept["2"] else "**missed** with two threads"


def action(data: dict[str, Any], threads: str, work: str, library: str, name: str) -> dict[str, Any]:
    """Return one measured action, empty where there is none."""
    found: dict[str, Any] = data.get("times", {}).get(threads, {}).get(work, {}).get(library, {}).get("actions", {}).get(name, {})
    return found if "median" in found else {}


def ratio(data: dict[str, Any], threads: str, over: tuple[str, str, str], under: tuple[str, str, str]) -> float | None:
    """Return the ratio of two medians, each named by work, library and action."""
    a, b = action(data, threads, *over), action(data, threads, *under)
    return a["median"] / b["median"] if a and b else None


def at_least(data: dict[str, Any], over: tuple[str, str, str], under: tuple[str, str, str]) -> float | None:
    """Return what a ratio is more than, where one call took longer than the limit, with one thread."""
    work, library, name = over
    found = data.get("times", {}).get("1", {}).get(work, {}).get(library, {}).get("actions", {}).get(name, {})
    below = action(data, "1", *under)
    return found["limit"] / below["median"] if "limit" in found and below else None


def by_threads(data: dict[str, Any], over: tuple[str, str, str], under: tuple[str, str, str]) -> dict[str, float]:
    found = {threads: ratio(data, threads, over, under) for threads in THREADS}
    return {threads: value for threads, value in found.items() if value is not None}


def best(candidates: dict[str, float | None], form: str = ".2f") -> str:
    """Return the lowest figure and whose it is."""
    have = {name: value for name, value in candidates.items() if value is not None}
    if not have:
        return "–"
    name = min(have, key=lambda key: have[key])
    return f"{have[name]:{form}} ({said(name)})"


def said(name: str) -> str:
    """Return the name of a library, with what was done to it behind a comma."""
    library, *rest = name.split(", ")
    return ", ".join([NAMES[library], *rest])


def all_bars(data: dict[str, Any]) -> list[Bar]:
    return [*training(data), *sampling(data), *jobs(data), *warm_up(data), *memory(data), *calls(data)]


def training(data: dict[str, Any]) -> Iterator[Bar]:
    for work, limit in OVER_BARE.items():
        bare = (work, "bare", "train")
        peers: dict[str, float | None] = {name: ratio(data, "1", (work, name, "train"), bare) for name in PEERS}
        floor = action(data, "1", *bare)
        for name, found in data.get("compiled", {}).get(work, {}).items():
            step = found.get("actions", {}).get("train", {})
            if name in PEERS and "median" in step and floor:
                peers[f"{name}, torch.compile"] = step["median"] / floor["median"]
        measured = by_threads(data, (work, "ours", "train"), bare)
        yield Bar(1, f"train step over bare networks, {work}", limit, measured, peer=best(peers))


def sampling(data: dict[str, Any]) -> Iterator[Bar]:
    pairs = (("sample", "log_prob", "`sample` over `log_prob`"), ("sample_grad", "score_grad", "the same with gradients"))
    for work, limit in OVER_SCORING.items():
        for over, under, words in pairs:
            peers = {name: ratio(data, "1", (work, name, over), (work, name, under)) for name in PEERS}
            measured = by_threads(data, (work, "ours", over), (work, "ours", under))
            least = [bound for name in PEERS if (bound := at_least(data, (work, name, over), (work, name, under)))]
            peer = best(peers, ".0f") if any(peers.values()) or not least else f"> {min(least):.0f} (all)"
            yield Bar(2, f"{words}, {work}", limit, measured, peer=peer)


def jobs(data: dict[str, Any]) -> Iterator[Bar]:
    for job, founder in FOUNDER.items():
        measured = by_threads(data, (job, founder, "train"), (job, "ours", "train"))
        yield Bar(3, f"{job}, times as fast per step as {NAMES[founder]}", FASTER, measured, at_least=True, form=".1f")
        ends = data.get("losses", {}).get(job, {})
        if all("mean" in ends.get(name, {}) for name in ("ours", founder)):
            theirs = ends[founder]["mean"]
            words = f"{job}, loss of the last hundred steps, median of the starts; the bar is {NAMES[founder]}'s and {SAME} for noise"
            yield Bar(3, words, theirs + SAME, {"1": ends["ours"]["mean"]}, peer=f"{theirs:.4f} ({NAMES[founder]})", form=".4f")


def warm_up(data: dict[str, Any]) -> Iterator[Bar]:
    for work in OVER_BARE:
        measured = {}
        for threads in THREADS:
            found = data.get("fresh", {}).get(threads, {}).get(work, {}).get("ours", {})
            if "first" in found:
                measured[threads] = 1e3 * (found["first"] - found["later"])
        others = data.get("fresh", {}).get("1", {}).get(work, {})
        # JAX has no step without compiling.
        torch = (name for name in others if name not in ("ours", "flowjax") and "first" in others[name])
        excess: dict[str, float | None] = {name: 1e3 * (others[name]["first"] - others[name]["later"]) for name in torch}
        yield Bar(4, f"first step over a later one, ms, {work}", 1e3 * WARM_UP, measured, peer=best(excess, ".0f"), form=".0f")


def memory(data: dict[str, Any]) -> Iterator[Bar]:
    for work in list(OVER_BARE)[:2]:
        found = data.get("fresh", {}).get("1", {}).get(work, {})
        for peer in ("nflows", "zuko"):
            if all("memory" in found.get(name, {}) for name in ("ours", peer)):
                measured = {"1": found["ours"]["memory"] / found[peer]["memory"]}
            else:
                measured = {}
            yield Bar(5, f"peak memory over that of {NAMES[peer]}, {work}", MEMORY, measured)


def calls(data: dict[str, Any]) -> Iterator[Bar]:
    for work in OVER_BARE:
        found = data.get("calls", {}).get(work, {})
        layer = {name: one["layer"] for name, one in found.items() if "layer" in one}
        measured = {"1": layer["ours"]} if "ours" in layer else {}
        peers: dict[str, float | None] = {name: layer.get(name) for name in PEERS}
        bare = f"; bare networks {layer['bare']:.0f}" if "bare" in layer else ""
        yield Bar(6, f"operator calls a layer, forward and backward, {work}", None, measured, peer=best(peers, ".0f") + bare, form=".0f")


assert set(OVER_SCORING) <= set(WORKS)
