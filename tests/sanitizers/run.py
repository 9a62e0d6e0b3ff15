"""Builds the compiled kernels with sanitizers and tries them: the tests of the kernels, a fuzzer, threads, and two planted faults.

Each planted fault has to be found, or the run fails: a sanitizer that finds nothing might be one that does not look.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "pushforward" / "native" / "src"
OUT = ROOT / "out" / "sanitizers"
CC = os.environ.get("CC", "gcc")
FLAGS = ["-std=gnu11", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
ADDRESS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
OPTIONS = {
    # Python and torch keep what they have until the end; a wrong size may ask for any amount of memory, and gets NULL.
    "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=0:exitcode=66",
    "OMP_NUM_THREADS": "2",
}
TESTS = [f"tests/test_native{of}.py" for of in ("", "_follow", "_linear", "_monotone", "_perceptron", "_values")]
RACE = ("kernels.c", "__atomic_fetch_add(&team->next, team->group, __ATOMIC_RELAXED)", "team->next; team->next += team->group")
UNCHECKED = ("checks.h", "last + width <= m->extent, SHORT", "1, SHORT")


def build(name: str, flags: list[str], fault: tuple[str, str, str] | None = None, program: str | None = None) -> Path:
    """Compile the sources, with a fault planted where one is given, to a library or a program in a folder of its own."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCES, folder / "src")
    if fault is not None:
        file, right, wrong = fault
        text = (folder / "src" / file).read_text()
        if text.count(right) != 1:
            raise SystemExit(f"{file}: expected {right!r} once, to plant a fault there; it is there {text.count(right)} times")
        (folder / "src" / file).write_text(text.replace(right, wrong))
    if program is not None:
        made, source, kind = folder / "program", Path(__file__).parent / program, ["-pthread"]
    else:
        made, source, kind = folder / "_kernels.so", folder / "src" / "kernels.c", ["-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run([CC, *FLAGS, *flags, *kind, f"-I{folder / 'src'}", str(source), "-o", str(made), "-lm"], check=True)
    return made


def preloaded() -> dict[str, str]:
    """Return the environment of a Python that has AddressSanitizer from its start."""
    # That of C++ too, since AddressSanitizer looks for what throws exceptions when it starts, before torch brings it.
    names = [[CC, f"-print-file-name={name}"] for name in ("libasan.so", "libstdc++.so.6")]
    runtime = " ".join(subprocess.run(name, check=True, capture_output=True, text=True).stdout.strip() for name in names)
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    return {**os.environ, **OPTIONS, "LD_PRELOAD": runtime, "PYTHONPATH": path, "PYTHONMALLOC": "malloc"}


def tested(library: Path, *what: str, examples: int) -> int:
    """Run tests with a library; return the exit status."""
    # One case in some tests starts Python anew: it inherits the sanitizer, and takes the usual library.
    plugin = ["-p", "sanitized", "--library", str(library.parent), "--examples", str(examples)]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--capture=sys", "-p", "no:cacheprovider", "-p", "no:xdist", *plugin, *what]
    return subprocess.run(command, cwd=ROOT, env=preloaded(), check=False).returncode


def say(text: str) -> None:
    """Say which part comes, between what the parts print themselves."""
    sys.stdout.write(f"\n=== {text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="examples of each property of the fuzzer")
    parser.add_argument("--only", choices=["address", "threads", "planted"], help="one part of it")
    parts = parser.parse_args()
    if parts.only in (None, "address"):
        library = build("address", ADDRESS)
        say(f"AddressSanitizer, UBSan: the fuzzer, {parts.examples} examples of each property")
        if tested(library, "tests/test_native_sizes.py", examples=parts.examples):
            raise SystemExit("a finding, or a test that failed: see above")
        say("AddressSanitizer, UBSan: the tests of the kernels")
        if tested(library, *TESTS, "-k", "not forked and not compiler_takes and not traced", examples=20):
            raise SystemExit("a finding, or a test that failed: see above")
    if parts.only in (None, "planted"):
        say("planted: an extent that is not compared; expected: found")
        library = build("unchecked", ADDRESS, UNCHECKED)
        if not tested(library, "tests/test_native_sizes.py", "-k", "refused", examples=parts.examples):
            raise SystemExit("the planted fault was not found")
    if parts.only in (None, "threads"):
        say("ThreadSanitizer: all entries with four threads")
        program = build("threads", ["-fsanitize=thread"], program="threads.c")
        if subprocess.run([program], env={**os.environ, **OPTIONS}, check=False).returncode:
            raise SystemExit("a finding: see above")
        say("planted: threads that take rows without an atomic; expected: found")
        program = build("race", ["-fsanitize=thread"], RACE, program="threads.c")
        found = subprocess.run([program], env={**os.environ, **OPTIONS}, check=False, capture_output=True, text=True)
        if "data race" not in found.stderr or found.returncode == 0:
            raise SystemExit(f"the planted race was not found: {found.returncode} {found.stderr[-2000:]}")
        say("\n".join(line for line in found.stderr.splitlines() if line.startswith("SUMMARY"))[:400])
    say("no finding; every planted fault found")


if __name__ == "__main__":
    main()
