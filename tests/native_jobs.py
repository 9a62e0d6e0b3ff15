"""Descriptions of calls, as the compiled library gets them: right ones, and what may be wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from hypothesis import strategies as st

from pushforward.native import library
from pushforward.native.activations import CODES
from pushforward.native.elementwise import KINDS, Code
from pushforward.native.layout import DENSE_LAYER, FIELD_LAYER, FOLLOW, JOB, LAYER, NET, SWEEP, Layout
from pushforward.solvers.tableau import METHODS

SENTINEL = -777.0
"""What outputs hold before a call, and after one that was refused."""


@dataclass
class Job:
    """A description: numbers by name, first those of the call, then those of each layer; and the arrays that they point to."""

    entry: str
    parts: list[tuple[Layout, dict[str, float]]]
    dtype: torch.dtype
    arrays: dict[tuple[int, str], torch.Tensor] = field(default_factory=dict)
    outputs: list[torch.Tensor] = field(default_factory=list)

    def put(self, part: int, name: str, rows: int, width: int, *, gap: int | None = None, made: bool = False, like=None) -> None:
        """Give an array memory of its own, of exactly the extent that it needs; ``gap`` makes rows of a matrix lie apart."""
        extent = rows * width if gap is None or not rows * width else (rows - 1) * (width + gap) + width
        tensor = torch.from_numpy(np.array(like)) if like is not None else torch.randn(extent, dtype=self.dtype)
        if made:
            tensor.fill_(SENTINEL)
            self.outputs.append(tensor)
        numbers = self.parts[part][1]
        numbers |= {f"{name}.at": tensor.data_ptr(), f"{name}.extent": tensor.numel()}
        if gap is not None:
            numbers[f"{name}.stride"] = width + gap
        self.arrays[part, name] = tensor

    def call(self, short: int = 0) -> int:
        """Call the library; ``short`` leaves bytes out at the end."""
        packed = b"".join(layout.form.pack(*(numbers.get(name, 0) for name in layout.numbers())) for layout, numbers in self.parts)
        packed = packed[: len(packed) - short]
        return getattr(library.LIBRARY.handle, f"pushforward_{self.entry}")(packed, len(packed))

    def places(self) -> list[tuple[int, str]]:
        """Return part and name of all numbers that a caller sets."""
        return [(part, name) for part, (layout, _) in enumerate(self.parts) for name, scalar in layout.numbers().items() if scalar.given]


sizes = st.integers(1, 40)
gaps = st.integers(0, 3)


@st.composite
def codes(draw):
    """Draw a kernel of a small size."""
    kind = draw(st.sampled_from(list(KINDS)))
    form = KINDS[kind]
    bins, parts = (draw(st.integers(sizes[0], min(sizes[-1], max(sizes[0], most)))) for sizes, most in ((form.bins, 9), (form.parts, 3)))
    return Code(kind, bins, draw(st.sampled_from([0.5, 3.0, 100.0])), parts, 0.01 if form.has_floor else 0.0)


NO_KERNEL = Code(0, 0, 3.0)


def team(draw, code=NO_KERNEL):
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    numbers = {
        **code._asdict(), "code": code.kind, "inverse": draw(st.integers(0, 1)),
        "is_double": int(dtype == torch.float64), "backward": draw(st.integers(0, 1)), "threads": draw(st.sampled_from([1, 1, 2, 3])),
        "rows": draw(st.integers(0, 70)),
    }  # fmt: skip
    return dtype, numbers


@st.composite
def elementwise_jobs(draw):
    code = draw(codes())
    dtype, numbers = team(draw, code)
    rows, elements, group = numbers["rows"], draw(sizes), draw(st.integers(1, 80))
    shared, count = draw(st.booleans()), code.parameters * elements
    job = Job("elementwise", [(JOB, numbers | {"elements": elements, "group": group})], dtype)
    job.put(0, "x", rows, elements, gap=draw(gaps))
    job.put(0, "theta", 1 if shared else rows, count, gap=draw(gaps))
    if shared:
        job.parts[0][1]["theta.stride"] = 0
    if numbers["backward"]:
        job.put(0, "g", rows, elements, gap=draw(gaps))
        job.put(0, "gl", rows, 1, gap=draw(gaps))
        job.put(0, "gtheta", -(-rows // group) if shared else rows, count, made=True)
    else:
        job.put(0, "ladj", rows, 1, made=True)
    job.put(0, "out", rows, elements, made=True)
    return job


@st.composite
def linear_jobs(draw):
    dtype, numbers = team(draw)
    rows, size, group, bias = numbers["rows"], draw(st.integers(1, 20)), draw(st.integers(1, 80)), draw(st.integers(0, 1))
    count = size * size + bias * size
    job = Job("linear", [(JOB, numbers | {"bins": bias, "elements": size, "group": group})], dtype)
    job.put(0, "x", rows, size, gap=draw(gaps))
    job.put(0, "theta", 1, count, gap=0)
    if numbers["backward"]:
        job.put(0, "g", rows, size, gap=draw(gaps))
        job.put(0, "gl", rows, 1, gap=draw(gaps))
        job.put(0, "gtheta", -(-rows // group), count, made=True)
    else:
        job.put(0, "ladj", rows, 1, made=True)
    job.put(0, "out", rows, size, made=True)
    return job


def wiring(draw, layers):
    """Return source and skip of each hidden layer: earlier ones, of one width where one is added to another."""
    sources = [-1] + [draw(st.integers(-1, layer - 1)) for layer in range(1, layers)]
    skips = [-1] + [draw(st.integers(-1, layer - 1)) for layer in range(1, layers)]
    widths = []
    for skip in skips:
        widths.append(widths[skip] if skip >= 0 else draw(sizes))
    return sources, skips, widths


@st.composite
def sweep_jobs(draw):
    code = draw(codes())
    dtype, numbers = team(draw, code)
    rows, elements, layers = numbers["rows"], draw(st.integers(1, 8)), draw(st.integers(1, 3))
    groups, count = draw(st.integers(1, elements)), code.parameters * elements
    sources, skips, widths = wiring(draw, layers)
    numbers |= {"elements": elements, "groups": groups, "layers": layers, "activation": draw(st.integers(0, len(CODES) - 1))}
    heads = [{"width": w, "source": a, "skip": b} for w, a, b in zip(widths, sources, skips, strict=True)]
    heads.append({"width": 0, "source": draw(st.integers(0, layers - 1)), "skip": -1})
    job = Job("sweep", [(SWEEP, numbers), *((LAYER, head) for head in heads)], dtype)
    job.put(0, "order", elements, 1, like=draw(st.permutations(range(elements))))
    job.put(
        0, "ends", groups, 1, like=[*sorted(draw(st.lists(st.integers(0, elements), min_size=groups - 1, max_size=groups - 1))), elements]
    )
    for index, head in enumerate(heads):
        width = count if index == layers else head["width"]
        taken = elements if head["source"] < 0 else widths[head["source"]]
        part = index + 1
        if index < layers:
            places = sorted(draw(st.lists(st.integers(0, width), min_size=groups, max_size=groups)))
            job.put(part, "edges", groups, 1, like=places)
        if numbers["backward"]:
            job.put(part, "transposed", taken, width)
            if index < layers:
                job.put(part, "z", rows, width)
                job.put(part, "gz", rows, width, made=True)
        else:
            job.put(part, "weight", width, taken)
            job.put(part, "bias", width, 1)
    job.put(0, "values", rows, elements, gap=draw(gaps))
    job.put(0, "made", rows, elements, made=not numbers["backward"])
    if numbers["backward"]:
        job.put(0, "theta", rows, count)
        job.put(0, "gmade", rows, elements, gap=draw(gaps))
        job.put(0, "gladj", rows, 1, gap=draw(gaps))
        job.put(0, "gvalues", rows, elements, made=True)
        job.put(0, "gtheta", rows, count, made=True)
    else:
        if draw(st.booleans()):
            job.put(0, "shift", rows, widths[0], gap=draw(gaps))
        job.put(0, "ladj", rows, 1, made=True)
    return job


@st.composite
def perceptron_jobs(draw):
    dtype, numbers = team(draw)
    rows, inputs, layers = numbers["rows"], draw(st.integers(0, 9)), draw(st.integers(0, 3))
    contexts = draw(st.integers(int(inputs == 0), 9))
    sources, skips, widths = wiring(draw, layers) if layers else ([], [], [])
    sources, skips, widths = [*sources, draw(st.integers(-1, layers - 1))], [*skips, -1], [*widths, draw(sizes)]
    backward = numbers["backward"]
    numbers |= {
        "group": draw(st.integers(1, 80)), "layers": layers, "activation": draw(st.integers(0, len(CODES) - 1)),
        "inputs": inputs, "contexts": contexts,
    }  # fmt: skip
    heads = []
    for width, source, skip in zip(widths, sources, skips, strict=True):
        heads.append({"inputs": inputs + contexts if source < 0 else widths[source], "outputs": width, "source": source, "skip": skip})
    job = Job("perceptron", [(NET, numbers), *((DENSE_LAYER, head | {"gain": 0.5}) for head in heads)], dtype)
    for part, head in enumerate(heads, 1):
        own = inputs if head["source"] < 0 else head["inputs"]
        rest, outputs = head["inputs"] - own, head["outputs"]
        job.put(part, "weight", outputs, own)
        job.put(part, "more", outputs, rest)
        if draw(st.booleans()):
            job.put(part, "mask", outputs, own)
            job.arrays[part, "mask"].copy_((job.arrays[part, "mask"] > 0).to(dtype))
        with_bias = draw(st.booleans())
        if with_bias:
            job.put(part, "bias", outputs, 1)
        if backward:
            job.put(part, "gweight", outputs, own, made=True)
            job.put(part, "gmore", outputs, rest, made=True)
            if with_bias:
                job.put(part, "gbias", outputs, 1, made=True)
    job.put(0, "x", rows, inputs, gap=draw(gaps))
    job.put(0, "c", rows, contexts, gap=draw(gaps))
    if backward:
        job.put(0, "g", rows, widths[-1], gap=draw(gaps))
        if draw(st.booleans()):
            job.put(0, "gx", rows, inputs, made=True)
        if draw(st.booleans()):
            job.put(0, "gc", rows, contexts, made=True)
    else:
        job.put(0, "out", rows, widths[-1], made=True)
    return job


@st.composite
def follow_jobs(draw):
    rows, inputs, layers = draw(st.integers(0, 70)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    sources, skips, widths = wiring(draw, layers)
    sources, skips = [-1, *(max(source, 0) for source in sources[1:]), draw(st.integers(0, layers - 1))], [*skips, -1]
    widths, contexts, steps = [*widths, inputs], draw(st.integers(0, 3)), draw(st.integers(0, 3))
    method = METHODS[draw(st.sampled_from([name for name in METHODS if steps or METHODS[name].adaptive]))]
    stages, frequencies = len(method.c), draw(st.integers(1, 4))
    numbers = {
        "threads": draw(st.sampled_from([1, 1, 2, 3])), "rows": rows, "group": draw(st.integers(1, 80)), "layers": layers,
        "activation": draw(st.integers(0, len(CODES) - 1)), "inputs": inputs, "contexts": contexts, "frequencies": frequencies,
        "stages": stages, "steps": steps, "most": draw(st.integers(1, 20)), "accepts": draw(st.integers(0, 20)),
        "start": draw(st.sampled_from([0.0, 1.0])), "end": draw(st.sampled_from([0.0, 0.5])), "tolerance": 1e-3, "exponent": 0.2,
        "safety": 0.9, "least": 0.2, "greatest": 5.0, "damping": 0.04,
    }  # fmt: skip
    heads = [{"outputs": width, "source": a, "skip": b} for width, a, b in zip(widths, sources, skips, strict=True)]
    job = Job("follow", [(FOLLOW, numbers), *((FIELD_LAYER, head) for head in heads)], torch.float64)
    for part, head in enumerate(heads, 1):
        job.put(part, "weight", head["outputs"], inputs if part == 1 else widths[head["source"]])
        if draw(st.booleans()):
            job.put(part, "bias", head["outputs"], 1)
    rows_of_a = [number for row in method.a for number in (*row, *(stages - len(row)) * (0.0,))]
    error = method.error or stages * (0.0,)
    job.put(0, "method", stages, stages + 3, like=[*method.c, *rows_of_a, *method.b, *error])
    job.put(0, "more", widths[0], 2 * frequencies + contexts)
    chain = sources == list(range(-1, layers)) and skips == (layers + 1) * [-1]
    if chain and layers < 3 and draw(st.booleans()):
        job.put(0, "form", widths[0], widths[1] if layers == 2 else 1)
    job.put(0, "c", rows, contexts, gap=draw(gaps))
    for name in ("z", "first", "t", "h", "before", "step"):
        job.put(0, name, rows, inputs + 1 if name in ("z", "first") else 1, made=True)
    for name in ("status", "tries"):
        job.put(0, name, rows, 1, like=draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), min_size=rows, max_size=rows)))
    return job


JOBS = {
    "elementwise": elementwise_jobs(), "linear": linear_jobs(), "sweep": sweep_jobs(), "perceptron": perceptron_jobs(),
    "follow": follow_jobs(),
}  # fmt: skip

BEYOND = [-(2**63), -(2**40), -2, -1, 2**24 + 1, 2**31, 2**40 + 1, 2**62, 2**63 - 1]
"""Numbers that fit no size, flag or code."""
EDGES = [0, 1, 2, 3, 4, 7, 8, 9, 32, 33, 1024, 1025]
"""Numbers that may fit."""


@st.composite
def faults(draw, job):
    """Draw one thing that the library has to refuse: a function that spoils the description, and its name."""
    part, name = draw(st.sampled_from([place for place in job.places() if needed(job, *place)]))
    numbers = job.parts[part][1]
    kind = name.rpartition(".")[2]
    if kind == "at":
        change = draw(st.sampled_from(["null", "misaligned"]))
        wrong = 0 if change == "null" else numbers[name] + 1
    elif kind == "extent":
        # Of a matrix more may be there than is touched; nothing else may differ.
        wrong = (
            numbers[name] - draw(st.integers(1, 3))
            if f"{name[:-7]}.stride" in numbers
            else draw(st.sampled_from([0, -1, numbers[name] - 1, numbers[name] + 1]))
        )
    elif kind == "stride":
        wrong = -1 - numbers[name]
    elif name == "floor":
        wrong = draw(st.sampled_from([1.0, -1.0, float("nan"), float("inf")]))
    elif name in ("start", "end"):
        wrong = draw(st.sampled_from([-0.5, 1.5, float("nan"), float("inf")]))
    elif name in ("bound", "gain", "tolerance", "exponent", "safety", "least", "greatest", "damping"):
        wrong = draw(st.sampled_from([0.0, -1.0, float("nan"), float("inf")]))
    else:
        many = name in ("rows", "elements", "group")  # of no rows there may be that many elements
        fits = [value for value in BEYOND if (value == -1 and name in ("source", "skip")) or (many and 0 < value <= 2**40)]
        wrong = draw(st.sampled_from([value for value in BEYOND if value not in fits]))
    numbers[name] = wrong
    return f"{name} {wrong}"


def needed(job, part, name):
    """Tell whether a number is looked at: an array that is there and is not empty, or a number that is set and has bounds."""
    numbers = job.parts[part][1]
    stem, dot, kind = name.rpartition(".")
    if dot:
        tensor = job.arrays.get((part, stem))
        # An optional array may be left out, and one row has no stride.
        if job.entry == "elementwise" and stem == "theta" and not numbers["rows"]:
            return False  # nobody asks for parameters of no rows
        optional = stem in ("bias", "mask", "shift", "gx", "gc", "gbias", "form") and kind == "at"
        return (
            tensor is not None
            and tensor.numel() > 0
            and not optional
            and (kind != "stride" or (numbers[name] > 0 and job.parts[0][1]["rows"] > 1))
        )
    return name in numbers and name != "gain" and not (name in ("width", "skip") and part == len(job.parts) - 1 and job.entry == "sweep")


@st.composite
def anything(draw, job):
    """Put any numbers into up to four places that hold no address and no extent: what is then accepted has to stay within the arrays.

    Of what type the numbers are belongs to an address: float32 that is said to be float64 has twice as many bytes.
    """
    told = ("at", "extent", "threads", "is_double")
    free = [place for place in job.places() if place[1].rpartition(".")[2] not in told]
    for _ in range(draw(st.integers(1, 4))):
        part, name = draw(st.sampled_from(free))
        job.parts[part][1][name] = draw(st.sampled_from(BEYOND + EDGES))
    if draw(st.booleans()):
        whole = ("order", "ends", "edges", "status", "tries")
        indices = [tensor for (_, name), tensor in job.arrays.items() if name in whole and tensor.numel()]
        if indices:
            tensor = draw(st.sampled_from(indices))
            tensor[draw(st.integers(0, tensor.numel() - 1))] = draw(st.sampled_from(BEYOND + EDGES))
    return draw(st.sampled_from([0, 0, 0, 8, 16]))
