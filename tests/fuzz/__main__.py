"""Run the fuzzers in turn for a fixed time, each in a process of its own; exit with 1 if there is any finding."""

from __future__ import annotations

import argparse
import faulthandler
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import LIMIT, attempt, names

sys.path.insert(0, str(Path(__file__).parents[1]))  # what tests import, as pytest has it

SHOWN = 20  # findings of one fuzzer that are printed in full


def main() -> int:
    """Read the options, run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="time for all fuzzers together (300)")
    parser.add_argument("--only", choices=names(), action="append", metavar="NAME", help=f"one of {', '.join(names())}; may be repeated")
    parser.add_argument("--seed", type=int, help="of the first case; those after it count up (random)")
    parser.add_argument("--cases", type=int, help="how many cases of each fuzzer, whatever time they take")
    parser.add_argument("--journal", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = options.only or names()
    if options.seed is None:
        options.seed = secrets.randbelow(10**9)
    if options.journal is not None:
        work(chosen[0], options.seed, options.seconds, options.cases, options.journal)
        return 0
    rows = [run(name, options.seed, options.seconds / len(chosen), options.cases) for name in chosen]
    print(f"\n{'fuzzer':<12}{'cases':>8}{'findings':>10}{'seconds':>9}")
    for name, cases, findings, seconds in rows:
        print(f"{name:<12}{cases:>8}{findings:>10}{seconds:>9.0f}")
    return int(any(findings for _, _, findings, _ in rows))


def run(name: str, seed: int, seconds: float, cases: int | None) -> tuple[str, int, int, float]:
    """Run one fuzzer in processes of its own, a new one where a case ended the last; print and count what is found."""
    done, findings, start = 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        while (done < cases) if cases is not None else (time.monotonic() - start < seconds):
            journal = Path(folder) / f"journal-{done}"
            left = max(seconds - (time.monotonic() - start), 0)
            command = [sys.executable, "-m", __package__, "--only", name, "--seed", str(seed + done), "--journal", str(journal)]
            command += ["--seconds", str(left)] if cases is None else ["--cases", str(cases - done)]
            ended = subprocess.run(command, check=False).returncode
            lines = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
            if ended and (not lines or "finding" in lines[-1]):  # not in a case: the fuzzer itself does not start
                lines.append({"seed": seed + done + len(lines)})
            for line in lines:
                found = line.get("finding", f"the case ended the process with exit code {ended}")
                findings += found is not None
                if found is not None and findings <= SHOWN:
                    print(f"{name}, --only {name} --seed {line['seed']} --cases 1:\n{found}\n", flush=True)
            done += len(lines)
    return name, done, findings, time.monotonic() - start


def work(name: str, seed: int, seconds: float, cases: int | None, journal: Path) -> None:
    """Do cases, and write of each that it begins, and what came of it, over it."""
    start, done = time.monotonic(), 0
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with journal.open("w") as lines:

        def note(**content: Any) -> None:
            lines.write(json.dumps(content) + "\n")
            lines.flush()

        while (done < cases) if cases is not None else (done == 0 or time.monotonic() - start < seconds):
            place = lines.tell()
            note(seed=seed + done)
            # For what does not let Python take a signal: print where it is, and end.
            faulthandler.dump_traceback_later(2 * LIMIT, exit=True)
            found = attempt(name, seed + done)
            faulthandler.cancel_dump_traceback_later()
            lines.seek(place)
            lines.truncate()
            note(seed=seed + done, finding=found)
            done += 1


if __name__ == "__main__":
    sys.exit(main())
