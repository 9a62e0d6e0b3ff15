"""Run the suites as other processors would, and print how many tests pass and fail under each setting: ``make test-processors``.

    python scripts/processors.py                          every setting, all suites but "numbers", a part of "tests": hours
    python scripts/processors.py MKL simulated            the settings whose names have one of these words
    python scripts/processors.py --suite tests -- -k laws one suite, and what else pytest is told

Each run is a process of its own, one at a time; its output is kept in out/processors. What a setting cannot touch is left out: tests of
text, files and pictures (`TEXT`) run as the machine is, and no other way.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOGS = ROOT / "out" / "processors"
ONE = {"OMP_NUM_THREADS": "1"}

# What a run finds in its environment. MKL and oneDNN are torch's products, ATEN its own loops, NATIVE the compiled code of this package.
SETTINGS: dict[str, dict[str, str]] = {
    "as it is": ONE,
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "MKL_ENABLE_INSTRUCTIONS=AVX2": ONE | {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL_ENABLE_INSTRUCTIONS=SSE4_2": ONE | {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "MKL_CBWR=COMPATIBLE": ONE | {"MKL_CBWR": "COMPATIBLE"},
    "MKL_CBWR=AVX2": ONE | {"MKL_CBWR": "AVX2"},
    "MKL_CBWR=AVX512,STRICT": ONE | {"MKL_CBWR": "AVX512,STRICT"},
    "ATEN_CPU_CAPABILITY=default": ONE | {"ATEN_CPU_CAPABILITY": "default"},
    "ATEN_CPU_CAPABILITY=avx2": ONE | {"ATEN_CPU_CAPABILITY": "avx2"},
    "ONEDNN_MAX_CPU_ISA=SSE41": ONE | {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "ONEDNN_MAX_CPU_ISA=AVX2": ONE | {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "PUSHFORWARD_NATIVE=0": ONE | {"PUSHFORWARD_NATIVE": "0"},
    "PUSHFORWARD_NATIVE=baseline": ONE | {"PUSHFORWARD_NATIVE": "baseline"},
    "simulated": ONE | {"PUSHFORWARD_TEST_BLAS": "other"},
    "simulated, PUSHFORWARD_NATIVE=0": ONE | {"PUSHFORWARD_TEST_BLAS": "other", "PUSHFORWARD_NATIVE": "0"},
}
NEEDS = {"MKL_CBWR=AVX512,STRICT": "avx512f"}  # a flag of the processor

# fmt: off
NUMBERS = [
    "bases", "bases_more", "fixed", "founding", "matrices", "native", "native_linear", "native_perceptron", "native_values", "nets",
    "neural", "normalise", "numerics", "properties", "rankone", "roots", "sequence", "spline", "splines_more", "structures", "univariate",
]
# fmt: on
SUITES: dict[str, tuple[str, list[str]]] = {
    "tests": (".venv", ["-m", "not heavy", "tests", "pushforward"]),
    # The part of the tests in which numbers are compared to roundings: minutes.
    "numbers": (".venv", ["-m", "not heavy", *(f"tests/test_{name}.py" for name in NUMBERS), "pushforward"]),
    "grid": (".venv", ["tests/grid"]),
    "peers": (".venv-interop", ["tests/peers"]),
    "interop": (".venv-interop", ["tests/interop"]),
}
# What the simulation itself allocates would be measured.
MEMORY = ["tests/test_describe.py"]
TEXT = [f"tests/test_{name}.py" for name in ("bench", "catalogue", "coming_from", "imports", "plots", "tables")]


def flags() -> set[str]:
    """Return the flags of this machine's processor, none where the system does not list them."""
    listed = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", listed.read_text(), re.MULTILINE) if listed.exists() else None
    return set(found[1].split()) if found else set()


def run(setting: str, suite: str, extra: list[str]) -> tuple[str, bool]:
    """Return what a run says of its tests, and whether it is a failure."""
    place, arguments = SUITES[suite]
    log = LOGS / f"{re.sub(r'[^A-Za-z0-9]+', '-', setting)}.{suite}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    left = [] if setting == "as it is" else [*TEXT, *(MEMORY if "simulated" in setting else [])]
    skipped = [f"--ignore={path}" for path in left]
    command = [
        str(ROOT / place / "bin" / "python"),
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "-p",
        "no:cacheprovider",
        *arguments,
        *skipped,
        *extra,
    ]
    start = time.monotonic()
    with log.open("w") as out:
        code = subprocess.run(command, cwd=ROOT, env=os.environ | SETTINGS[setting], stdout=out, stderr=subprocess.STDOUT).returncode
    text = log.read_text()
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|errors?)\b", text.strip().rpartition("\n")[2])}
    bad = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    said = f"{counts.get('passed', 0):,} passed, {bad:,} failed" if counts else f"no test ran (exit {code})"
    print(f"{setting}, {suite}: {said} in {time.monotonic() - start:.0f} s; {log.relative_to(ROOT)}", flush=True)
    for line in re.findall(r"^(?:FAILED|ERROR) .*$", text, re.MULTILINE):
        print(f"    {line[:200]}", flush=True)
    return said, code != 0


def main() -> int:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="run the settings whose names have one of these words (none: all)")
    parser.add_argument("--suite", action="append", choices=SUITES, help="which suites (all)")
    given, extra = parser.parse_args(arguments[:cut]), arguments[cut + 1 :]
    chosen = [name for name in SETTINGS if not given.words or any(word in name for word in given.words)]
    if not chosen:
        parser.error(f"expected words of {', '.join(SETTINGS)}, got {' '.join(given.words)}")
    suites, table, failed = given.suite or [suite for suite in SUITES if suite != "numbers"], [], False
    for setting in chosen:
        if NEEDS.get(setting, "") not in flags() | {""}:
            table.append((setting, *["not on this processor"] * len(suites)))
            continue
        results = [run(setting, suite, extra) for suite in suites]
        failed |= any(bad for _, bad in results)
        table.append((setting, *(said for said, _ in results)))
    widths = [max(map(len, column)) for column in zip(("setting", *suites), *table, strict=True)]
    for row in (("setting", *suites), tuple("-" * width for width in widths), *table):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
