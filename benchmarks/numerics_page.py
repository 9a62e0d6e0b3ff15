"""The page docs/numerics.md, written from the figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

# Law -> (heading, what its figure is). A law that is not named here has its own name as heading.
WORDS = {
    "round trip, float32, in roundings": (
        "f32, roundings",
        "largest error of x → y → x in float32, N(0, 1) points, per rounding that nothing avoids, ε (|J⁻¹| |y| + |x|)",
    ),
    "round trip, float32, parameters x10, in roundings": ("f32, ×10, roundings", "the same with parameters of standard deviation 10"),
    "round trip, float64, in units of 1e-11": (
        "f64 / 1e-11",
        "largest error in float64, per 1e-11, or per 4 such roundings where those are more",
    ),
    "round trip, float32, in units of 2e-5": ("f32 / 2e-5", "largest error in float32 per 2e-5, or per 4 such roundings"),
    "round trip, float32, parameters x10, in units of 1e-3": (
        "f32, ×10 / 1e-3",
        "the same with parameters of standard deviation 10, per 1e-3",
    ),
    "round trip at knots, edges, denormals, |x| <= 10": (
        "knots / 1e-5",
        "largest error in float32 at knots, box edges, one ulp beside, zero, denormals, per 1e-5 or 16 such roundings; "
        "infinite if a gradient there is not finite",
    ),
    "any x up to 1e30": ("any x", "values up to 1e30 whose result is not finite or comes back farther off than rounding allows"),
    "ladj against autograd, float64": ("ladj, f64", "largest difference of ladj from autograd's Jacobian, both ways, per 1 + its size"),
    "ladj against autograd, float64, parameters x10": ("ladj, f64, ×10", "the same with parameters of standard deviation 10"),
    "ladj, float32 against float64": (
        "ladj, f32",
        "largest difference of ladj in float32 from float64 at the same point, per 1 + its size",
    ),
    "gradients against differences": (
        "gradients",
        "largest relative difference from central differences, in values, parameters and contexts, both ways",
    ),
    "second derivatives against differences": ("second derivatives", "the same for derivatives of the gradient"),
    "extreme parameters": (
        "extremes",
        "rows and gradients that are not finite, with all parameters 0 or ±1e4, ×100, and 80 random sets ×10, both ways",
    ),
    "a NaN or infinite row is alone": ("NaN row", "rows beside a NaN or an infinite one that change, and NaN rows that come out finite"),
    "outside the domain": (
        "domain",
        "values outside domain or range whose ladj is not -inf, or that spoil a gradient, and values in them that do not come back",
    ),
    "shapes, strides, contexts": (
        "shapes",
        "wrong shapes, or values that depend on layout: batches of any rank, stride 0, contexts that broadcast",
    ),
    "empty batch": ("empty", "empty batches that do not come back empty"),
    "float32 and float64 kept": ("dtype", "dtypes that are not kept"),
    "bfloat16, float16, autocast": (
        "half",
        "largest difference of bfloat16, float16 and autocast from float32, per 1 + size; ladj must stay float32",
    ),
    "no hidden state": (
        "no state",
        "traces of a call in module, inputs, random state and other threads, and tensors that are no parameter or buffer",
    ),
    "copies": ("copies", "copies that differ: deep copy and pickle after a call, state_dict, the plan through JSON"),
    "vmap and per-sample gradients": ("vmap", "largest difference of vmap and of per-sample gradients from plain batches"),
    "one graph under torch.compile": ("compile", "results that differ and recompilations under `torch.compile(fullgraph=True)`, both ways"),
    "meta device": ("meta", "shapes that a build on the meta device gets wrong"),
    "a row alone, train and eval, in ulps": (
        "row alone, ulps",
        "largest difference of a row alone from the row in a batch, in ulps of its own size in float32",
    ),
    "sample and score in one pass": ("one pass", "largest relative difference of `rsample_and_log_prob` from `log_prob`"),
    "density against autograd's Jacobian": ("Jacobian", "largest relative difference from base and autograd's Jacobian"),
    "density integrates to 1": (
        "integral",
        "distance of the integral from 1: by quadrature, less the error of a grid (two dimensions) or of importance sampling (more)",
    ),
    "samples against density, |z|": (
        "samples, \\|z\\|",
        "largest z-score of mass and bounded moments by the density against samples, three seeds, up to six dimensions, and of what steps "
        "that leave the base's density as it is do to samples, in any",
    ),
    "torch.distributions interface": ("interface", "promises of torch.distributions that are not kept"),
    "seeds and generators": ("seeds", "draws that a seed does not repeat, and calls that touch the random state without drawing"),
    "file and copies": ("files", "copies whose log-densities are not the same bits: saved and loaded, pickled, deep-copied, state_dict"),
    "outside the support": (
        "support",
        "values outside the support that are not -inf, whatever torch's validation is set to, and values in it that no draw gives",
    ),
    "wrong calls refused": ("wrong calls", "wrong calls that are not refused with what was expected and what came"),
    "bfloat16": ("bfloat16", "median relative difference of bfloat16 log-densities from float32"),
}
GROUPS = (
    ("Round trips", ("round trip", "any x")),
    ("Log-determinants and gradients", ("ladj", "gradients", "second", "extreme")),
    ("Rows, shapes and formats", ("a NaN", "outside", "shapes", "empty", "float32 and", "bfloat16")),
    ("Copies, transformations and the compiler", ()),
)

INTRO = """# Numerics

Written by `make numerics`; not by hand. Every plan is held to every law by the code of `pushforward.testing`, which checks yours too:
`check_bijector(plan, event_shape)` and `check_flow(flow)`. The worst figure of each law is printed, beside that of the best peer: other
libraries' layers that compute the same thing, run through the same code.
"""
FAIR = """A peer is taken at its best: the same sizes of network, bins and box, noise of the same size on the same kind of
parameters, Jacobians by plain autograd (most do not run under vmap, which is a law of its own), a batch of one where a library takes
no lone row, log-determinants summed, broadcast and taken as float32 as the library's own flow would, no answers from caches, and
torch's default dtype set where Pyro needs that to work in float64. The plan and its JSON, which peers do not have, are counted as
right. Peers are measured without a context. An error that a peer raises for values outside its domain counts as *fails* here, though
it is an answer.
"""


def page(data: dict[str, Any], laws: Sequence[Any], flow_laws: Sequence[Any]) -> str:
    """Return the page."""
    plans, peers = data.get("plans", {}), data.get("peers", {})
    notes: dict[str, int] = {}
    parts = [INTRO, *setting(data.get("setting", {})), *later(data.get("since", {})), "## The laws of a bijection\n", meanings(laws)]
    parts += ["## Plans\n", legend()]
    for title, group in grouped(laws):
        parts += [f"### {title}\n", plan_table(plans, peers, group, notes)]
    parts += better(plans, peers, laws)
    parts += ["## Flows\n", meanings(flow_laws), flow_table(data.get("flows", {}), flow_laws, notes)]
    parts += ["## Round trips of splines\n", *splines(data.get("splines", []))]
    parts += ["## Every peer\n", FAIR, summary(plans, peers, laws)]
    parts.append("**Bold** is over the law's limit; *fails* raised an error, which the number names below.\n")
    for title, group in grouped(laws):
        parts += [f"### {title}\n", peer_table(peers, group, notes)]
    parts += ["## Errors\n", *(f"{number}. `{shorten(text)}`" for text, number in notes.items())]
    return "\n".join(parts) + "\n"


def rows_missing(text: str, names: Iterable[str]) -> list[str]:
    """Return the plans without a row."""
    return [name for name in names if f"\n| {name} |" not in text]


def setting(values: dict[str, str]) -> list[str]:
    if not values:
        return []
    libraries = ", ".join(f"{name} {version}" for name, version in values.items() if name not in ("date", "python", "cpu", "threads"))
    machine = f"{values['cpu']}, {values['threads']} thread of computation, Python {values['python']}"
    return [f"Measured on {values['date']} with {libraries}, on {machine}.\n"]


def later(days: dict[str, str]) -> list[str]:
    """Return when the rows that came later were measured."""
    return [f"Measured since, in rows that were new: {', '.join(f'{name} ({day})' for name, day in days.items())}.\n"] if days else []


def legend() -> str:
    return (
        "Rows are plans, columns are laws; *best peer* stands beneath the plan beside which peers were measured, with the number of peers\n"
        "where several share the figure. ↓ marks a peer's figure that is lower than ours; – means that no peer has a figure.\n"
    )


def grouped(laws: Sequence[Any]) -> list[tuple[str, list[Any]]]:
    """Sort laws into tables that stay readable; what is nowhere goes to the last."""
    groups: dict[str, list[Any]] = {title: [] for title, _ in GROUPS}
    for law in laws:
        groups[next((title for title, starts in GROUPS if law.name.startswith(starts)), GROUPS[-1][0])].append(law)
    return list(groups.items())


def heading(law: Any) -> str:
    return WORDS.get(law.name, (law.name.replace("|", "\\|"), ""))[0]


def meanings(laws: Sequence[Any]) -> str:
    rows = [[heading(law), f"{law.limit:g}", WORDS.get(law.name, ("", law.name))[1].replace("|", "\\|")] for law in laws]
    return table(["law", "limit", "the figure is"], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---", *["---:"] * (len(header) - 1)], *rows)]
    if header[-1] == "the figure is":
        lines[1] = "| --- | ---: | --- |"
    return "\n".join(lines) + "\n"


def value(figure: Any) -> float:
    """Return a figure as a number; an error is beyond infinity, which only sorting sees."""
    if isinstance(figure, int | float):
        return float(figure)
    return math.inf if figure == "inf" else math.nan


def word(figure: Any, law: Any, notes: dict[str, int]) -> str:
    """Return a cell: whole numbers for laws that count, two digits for others, and errors by their number."""
    if figure is None:
        return "·"
    if isinstance(figure, str) and figure != "inf":
        return f"*fails* {notes.setdefault(figure, len(notes) + 1)}"
    number = value(figure)
    if number > 1e300:  # a law counts NaN and infinity as the largest number
        return "inf"
    return str(int(number)) if law.limit == 0 or number == 0 else f"{number:.2g}"


def plan_table(plans: dict[str, Any], peers: dict[str, Any], laws: Sequence[Any], notes: dict[str, int]) -> str:
    rows = []
    for name, figures in plans.items():
        rows.append([name, *(word(figures.get(law.name), law, notes) for law in laws)])
        if name in peers:
            rows.append(["*best peer*", *(best_word(peers[name], law, figures.get(law.name), notes) for law in laws)])
    rows.append(["**worst of ours**", *(f"**{worst(plans.values(), law, notes)}**" for law in laws)])
    return table(["plan", *map(heading, laws)], rows)


def worst(all_figures: Iterable[dict[str, Any]], law: Any, notes: dict[str, int]) -> str:
    found = [figures[law.name] for figures in all_figures if law.name in figures]
    errors = [figure for figure in found if math.isnan(value(figure))]
    return word(errors[0] if errors else max(found, key=value, default=None), law, notes)


def best(libraries: dict[str, Any], law: Any) -> tuple[float, list[str]]:
    """Return the lowest figure of the peers, and whose it is."""
    found = {name: value(figures.get(law.name)) for name, figures in libraries.items()}
    numbers = [number for number in found.values() if not math.isnan(number)]
    if not numbers:
        return math.nan, []
    return min(numbers), [name for name, number in found.items() if number == min(numbers)]


def best_word(libraries: dict[str, Any], law: Any, ours: Any, notes: dict[str, int]) -> str:
    figure, names = best(libraries, law)
    if not names:
        return "–"
    who = names[0] if len(names) == 1 else f"{len(names)} of {len(libraries)}"
    lower = "↓" if figure < value(ours) else ""
    return f"{word('inf' if figure == math.inf else figure, law, notes)}{lower} ({who})"


def better(plans: dict[str, Any], peers: dict[str, Any], laws: Sequence[Any]) -> list[str]:
    """Return the places where a peer is clearly better: at half of ours, and ours no longer a hundredth of what the law allows."""
    rows = []
    for law in laws:
        for name, libraries in peers.items():
            ours = plans.get(name, {}).get(law.name)
            figure, names = best(libraries, law)
            if names and value(ours) > 2 * figure and value(ours) > law.limit / 100:
                rows.append([heading(law), name, word(ours, law, {}), word(figure, law, {}), f"{law.limit:g}", ", ".join(names)])
    title = "### Where a peer is better\n"
    if not rows:
        return [title, "Nowhere: no peer has half of our figure where ours is over a hundredth of the limit.\n"]
    text = "A peer's figure is at most half of ours, and ours is over a hundredth of the limit (under that, both are rounding):\n"
    return [title, text, table(["law", "plan", "ours", "peer", "limit", "which"], rows)]


def flow_table(flows: dict[str, Any], laws: Sequence[Any], notes: dict[str, int]) -> str:
    rows = [[name, *(word(figures.get(law.name), law, notes) for law in laws)] for name, figures in flows.items()]
    rows.append(["**worst**", *(f"**{worst(flows.values(), law, notes)}**" for law in laws)])
    return table(["flow", *map(heading, laws)], rows)


def splines(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    text = (
        "Largest error of x → y → x in float32 at 1000 points for each of 5 elements, with 8 bins on a box of [-5, 5] and parameters\n"
        "3 × N(0, 1): median and worst of 20 seeds. Points are N(0, 1), as a base draws them, or uniform over the box and a little\n"
        "beyond. A seed that raises an error counts as infinite.\n"
    )
    cells = []
    for row in rows:
        numbers = [f"{value(row[kind][which]):.2g}" for kind in ("normal", "box") for which in ("median", "worst")]
        raised = " and ".join(f"{len(row[kind]['raised'])} of 20" for kind in ("normal", "box"))
        cells.append([f"{row['library']}, {row['order']}", *numbers, raised])
    header = ["spline", "N(0, 1): median", "worst", "box: median", "worst", "seeds that raise"]
    return [text, table(header, cells)]


def summary(plans: dict[str, Any], peers: dict[str, Any], laws: Sequence[Any]) -> str:
    """Return how many laws each library's layers keep."""
    of: dict[str, list[dict[str, Any]]] = {"pushforward": list(plans.values())}
    for libraries in peers.values():
        for name, figures in libraries.items():
            of.setdefault(name.split(",")[0], []).append(figures)
    rows = []
    for name, layers in of.items():
        pairs = [(value(figures[law.name]), law.limit) for figures in layers for law in laws if law.name in figures]
        kept = sum(figure <= limit for figure, limit in pairs)
        failed = sum(math.isnan(figure) for figure, _ in pairs)
        numbers = [len(layers), len(pairs), kept, len(pairs) - kept - failed, failed]
        rows.append([name, *map(str, numbers), f"{100 * kept / max(len(pairs), 1):.0f} %"])
    return table(["library", "layers", "laws held against", "kept", "over the limit", "fails", "kept"], rows)


def peer_table(peers: dict[str, Any], laws: Sequence[Any], notes: dict[str, int]) -> str:
    rows = []
    for family, libraries in peers.items():
        for name, figures in libraries.items():
            cells = []
            for law in laws:
                figure = figures.get(law.name)
                cell = word(figure, law, notes)
                cells.append(f"**{cell}**" if value(figure) > law.limit else cell)
            rows.append([f"{family}: {name}", *cells])
    return table(["layer", *map(heading, laws)], rows)


def shorten(text: str, room: int = 130) -> str:
    text = text.replace("`", "'")
    return text if len(text) <= room else text[: room - 1] + "…"
