"""The structs in which a call is told to the library: one table of fields, of which Python packs them and the header for C is written."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

MAX_LAYERS = 32
"""Hidden layers, at most."""
MAX_BINS = 1024
"""Bins of a spline, and units of a sum of sigmoids."""
MAX_THREADS = 1024
"""As many as the library takes in a call."""
MAX_STAGES = 16
"""Stages of a Runge-Kutta method."""
MAX_STEPS = 1 << 20
"""Steps of a row through a velocity field."""


class Scalar(NamedTuple):
    """A field of 8 bytes: its type in C, its code for `struct`, and whether the caller sets it; the library fills in the others."""

    c: str
    code: str
    given: bool = True


INT, REAL, ADDRESS = Scalar("Int ", "q"), Scalar("double ", "d"), Scalar("void *", "q")
# What the library fills in.
MADE, MADE_ADDRESS, MADE_PLACES = Scalar("Int ", "q", False), Scalar("void *", "q", False), Scalar("Int *", "q", False)


class Layout:
    """A struct, whose fields are scalars or other structs.

    ``pack`` takes each field by its name, one that is a struct as a tuple of its numbers; arrays that are not there may be left out.

    Args:
        name: Its name in C.
        words: What it is.
        many: The struct of which one stands behind it for each layer, the last included.
        fields: Name and type of each field, in their order.
    """

    def __init__(self, name: str, words: str, many: Layout | None = None, **fields: Scalar | Layout) -> None:
        self.name, self.words, self.many, self.fields = name, words, many, fields
        self.code: str = "".join(field.code for field in fields.values())
        self.form = struct.Struct(f"={self.code}")
        #: Whether it tells where an array is, which may be none: all zeros.
        self.is_array = ADDRESS in fields.values()
        self.pack = self._packer()

    def numbers(self) -> dict[str, Scalar]:
        """Return the scalars in their order, those of an array by the name of the array and their own."""
        found: dict[str, Scalar] = {}
        for name, field in self.fields.items():
            if isinstance(field, Layout):
                found |= {f"{name}.{part}" if field.is_array else part: scalar for part, scalar in field.numbers().items()}
            else:
                found[name] = field
        return found

    def _packer(self) -> Callable[..., bytes]:
        """Return ``pack``, made once as a function of named arguments, as `collections.namedtuple` makes its own.

        To fill in a `ctypes.Structure` takes ten times as long, as long as a small problem.
        """
        taken, packed = [], []
        for name, field in self.fields.items():
            if isinstance(field, Layout):
                taken.append(f"{name}={(0,) * len(field.code)}" if field.is_array else name)
                packed.append(f"*{name}")
            else:
                taken.append(name if field.given else f"{name}=0")
                packed.append(name)
        made: Callable[..., bytes] = eval(f"lambda *, {', '.join(taken)}: pack({', '.join(packed)})", {"pack": self.form.pack})
        return made


MATRIX = Layout(
    "Matrix",
    "Rows, `stride` numbers apart: where they begin, and how many numbers there are from there.",
    at=ADDRESS, extent=INT, stride=INT,
)  # fmt: skip
BLOCK = Layout("Block", "What lies without gaps: where it begins, and how many numbers there are.", at=ADDRESS, extent=INT)
KIND = Layout(
    "Kind",
    "A kernel in numbers. bins: of a spline, units of a network, the degree of a polynomial. parts: panels of a network, terms of a sum of "
    "squares. floor: the least slope of a sum of squares.",
    code=INT, bins=INT, inverse=INT, bound=REAL, parts=INT, floor=REAL,
)  # fmt: skip
JOB = Layout(
    "Job",
    "One call of a kernel, or of a linear map: arrays, and how the rows are dealt out, `group` of them to a thread at a time; the gradient "
    "of shared parameters has one sum for each group. Parameters of stride 0 are those of all rows.",
    kind=KIND, is_double=INT, backward=INT, threads=INT, rows=INT, elements=INT, group=INT,
    x=MATRIX, theta=MATRIX, g=MATRIX, gl=MATRIX, out=BLOCK, ladj=BLOCK, gtheta=BLOCK,
)  # fmt: skip
LAYER = Layout(
    "Layer",
    "A layer of a perceptron: z = weight h(source) + bias (+ z of layer skip); source -1 is the layer's own input. `edges[g]`: how many of "
    "its units see only what is made before step g. The layer after the last hidden one gives the parameters, element by element.",
    width=INT, source=INT, skip=INT, edges=BLOCK, weight=BLOCK, bias=BLOCK, transposed=BLOCK, z=BLOCK, gz=BLOCK,
)  # fmt: skip
SWEEP = Layout(
    "Sweep",
    "One sequential pass. Elements are made in the order `order`, those before `ends[g]` by the end of step g.",
    kind=KIND, is_double=INT, backward=INT, threads=INT, rows=INT, elements=INT, groups=INT, layers=INT, activation=INT,
    order=BLOCK, ends=BLOCK, values=MATRIX, shift=MATRIX, gmade=MATRIX, gladj=MATRIX,
    theta=BLOCK, made=BLOCK, ladj=BLOCK, gvalues=BLOCK, gtheta=BLOCK, many=LAYER,
)  # fmt: skip
DENSE_LAYER = Layout(
    "DenseLayer",
    "A layer of a perceptron: z = weight a + bias (+ z of layer skip), a the activations of layer `source`, or (-1) inputs and context. "
    "Weights count as the mask says, or all `gain` times; `more` are those of the context. What stands after gbias the library fills in: "
    "the weights as they are multiplied, by rows and by columns, and for each row and column where it begins and ends to be other than 0.",
    inputs=INT, outputs=INT, source=INT, skip=INT, gain=REAL,
    weight=BLOCK, mask=BLOCK, more=BLOCK, bias=BLOCK, gweight=BLOCK, gmore=BLOCK, gbias=BLOCK,
    matrix=MADE_ADDRESS, transposed=MADE_ADDRESS, seen=MADE_PLACES, seeing=MADE_PLACES,
)  # fmt: skip
NET = Layout(
    "Net",
    "One pass through a perceptron, or back: all hidden layers and the last. What stands after gc the library fills in: sums of the "
    "gradient of all weights, `part` numbers for each group of rows, and whether those beginnings and ends leave weights out.",
    is_double=INT, backward=INT, threads=INT, rows=INT, group=INT, layers=INT, activation=INT, inputs=INT, contexts=INT,
    x=MATRIX, c=MATRIX, g=MATRIX, out=BLOCK, gx=BLOCK, gc=BLOCK, sums=MADE_ADDRESS, part=MADE, gaps=MADE, many=DENSE_LAYER,
)  # fmt: skip
FIELD_LAYER = Layout(
    "FieldLayer",
    "A layer of a perceptron without masks: z = weight h(source) + bias (+ z of layer skip); source -1 is the place.",
    outputs=INT, source=INT, skip=INT, weight=BLOCK, bias=BLOCK,
)  # fmt: skip
FOLLOW = Layout(
    "Follow",
    "Rows (a place of `inputs` numbers, and an integral) that follow the velocity that a perceptron gives, and the trace of its Jacobian. "
    "The first layer is shown the time as `frequencies` cosines and sines of half turns, and the context, whose weights are `more`. "
    "form: the trace as a form in the slopes of one or two hidden layers; without it tangents are carried. method: c, a, b and error "
    "of `stages` stages. steps: how many equal ones; 0 follows the error. A row tries `most`, and a call accepts `accepts` of them. "
    "Of a row that has not begun, whose status is 0, the place alone is read.",
    threads=INT, rows=INT, group=INT, layers=INT, activation=INT, inputs=INT, contexts=INT, frequencies=INT, stages=INT, steps=INT,
    most=INT, accepts=INT, start=REAL, end=REAL, tolerance=REAL, exponent=REAL, safety=REAL, least=REAL, greatest=REAL, damping=REAL,
    method=BLOCK, more=BLOCK, form=BLOCK, c=MATRIX, z=BLOCK, first=BLOCK, t=BLOCK, h=BLOCK, before=BLOCK, step=BLOCK,
    status=BLOCK, tries=BLOCK, many=FIELD_LAYER,
)  # fmt: skip
STATUSES = ("NEW", "GOING", "THERE", "LOST")
"""Of a row that follows a velocity, by their numbers."""
LAYOUTS = (MATRIX, BLOCK, KIND, JOB, LAYER, SWEEP, DENSE_LAYER, NET, FIELD_LAYER, FOLLOW)
"""All of them, each after those that it is made of."""
SIGNATURE = "\n".join(f"{layout.name}: {' '.join(name + field.code for name, field in layout.fields.items())}" for layout in LAYOUTS)
"""All fields, a struct a line: a library that was built from others is not used."""
