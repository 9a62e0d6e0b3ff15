"""The header pushforward/native/src/layout.h: the structs of a call, the enums, and how large kernels may be."""

import json
import textwrap

from pushforward.native.activations import CODES
from pushforward.native.elementwise import KINDS
from pushforward.native.layout import LAYOUTS, MAX_BINS, MAX_LAYERS, MAX_STAGES, MAX_STEPS, MAX_THREADS, SIGNATURE, STATUSES, Layout
from scripts.generated.writer import ROOT, of_files

FILE = ROOT / "pushforward" / "native" / "src" / "layout.h"
WIDTH = 140


def comment(words: str) -> str:
    """Return a comment of C."""
    return "\n".join(textwrap.wrap(words, WIDTH - 6, initial_indent="/* ", subsequent_indent=" * ")) + " */"


def names(kind: str, values: list[str]) -> str:
    """Return an enum, the last of whose values counts the others."""
    body = textwrap.wrap(", ".join([*values, f"{kind}_COUNT"]), WIDTH, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(["enum {", *body, "};"])


def declared(layout: Layout) -> str:
    """Return the declaration of a struct, and that it is as long as Python packs it."""
    lines: list[str] = []
    before = None
    for name, field in layout.fields.items():
        kind = field.c if not isinstance(field, Layout) else f"{field.name} "
        if kind == before:
            lines[-1] = f"{lines[-1][:-1]}, {'*' if kind.endswith('*') else ''}{name};"
        else:
            lines.append(f"  {kind}{name};")
        before = kind
    size = f"sizeof({layout.name})"
    if layout.many is not None:
        lines.append(f"  {layout.many.name} layer[MAX_LAYERS + 1]; /* only the first are there: as many as are said to be, and the last */")
        size = f"offsetof({layout.name}, layer)"
    check = f'_Static_assert({size} == {layout.form.size}, "{layout.name}: other fields than in native/layout.py");'
    return "\n".join([comment(layout.words), "typedef struct {", *lines, f"}} {layout.name};", check])


def sizes() -> str:
    """Return how large each kind may be."""
    rows = [
        f"    [{form.name}] = {{{form.bins[0]}, {form.bins[-1]}, {form.parts[0]}, {form.parts[-1]}, {int(form.has_floor)}}},"
        for form in KINDS.values()
    ]
    words = (
        "How large a kernel may be: a spline of one bin has no slopes to look up, and a gradient keeps what grows with bins times parts."
    )
    head = [comment(words), "static const struct {", "  Int least, most, least_parts, most_parts;", "  int has_floor;", "} SIZES[] = {"]
    return "\n".join([*head, *rows, "};"])


def text() -> str:
    """Return the text of the header."""
    kinds = [KINDS[code].name for code in range(len(KINDS))]
    parts = [
        comment(
            "Written by `make generated` from pushforward/native: layout.py, elementwise.py and activations.py. Each field has 8 bytes."
        ),
        f"#define MAX_LAYERS {MAX_LAYERS}\n#define MAX_BINS {MAX_BINS}\n#define MAX_THREADS {MAX_THREADS}\n"
        f"#define MAX_STAGES {MAX_STAGES}\n#define MAX_STEPS {MAX_STEPS}",
        names("KIND", kinds),
        names("ACTIVATION", list(CODES)),
        names("STATUS", list(STATUSES)),
        *map(declared, LAYOUTS),
        sizes(),
        "#define LAYOUT \\\n" + " \\\n".join(f"  {json.dumps(line)}" for line in SIGNATURE.splitlines(keepends=True)),
    ]
    return "\n\n".join(parts) + "\n"


WRITER = of_files(lambda: {FILE: text()})
