"""Several writers of one file, some of them killed: the file is always one of theirs, whole, and nobody else's file is touched."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from pushforward.core import atomic

SHORT = 6
SIZE = 300_000

# A writer in a process of its own, which takes the module alone: files of one byte each, in many small writes.
PROCESS = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("atomic", sys.argv[1])
atomic = importlib.util.module_from_spec(spec)
spec.loader.exec_module(atomic)
target, byte, count, size, pause = Path(sys.argv[2]), bytes([int(sys.argv[3])]), int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6])
print("ready", flush=True)
for _ in range(count):
    with atomic.replacing(target) as part, part.open("wb") as stream:
        for _ in range(100):
            stream.write(byte * (size // 100))
            stream.flush()
            time.sleep(pause)
"""


def case(random: random.Random, folder: Path) -> str | None:
    """Let threads and processes write, kill some at a random moment, and look at the file all the while."""
    target = folder / "target.bin"
    theirs = {
        name: random.randbytes(20) for name in random.sample(["target.bin.part", ".target.bin.part", "part", ".part", "other.bin"], 3)
    }
    for name, content in theirs.items():
        (folder / name).write_bytes(content)
    if linked := random.random() < 0.3:
        (folder / "far").mkdir()
        target.symlink_to(Path("far") / "real.bin")
    old = bytes([0]) * SIZE
    if random.random() < 0.7:
        target.write_bytes(old)
    first = target.exists()
    processes = []
    for index in range(random.randint(1, 2)):
        words = map(str, (atomic.__file__, target, index + 1, random.randint(1, 20), SIZE, random.choice([0, 0, 1e-4])))
        processes.append(subprocess.Popen([sys.executable, "-c", PROCESS, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
    threads = [threading.Thread(target=_write, args=(target, index + 10, random.randint(1, 20))) for index in range(random.randint(0, 2))]
    killed, problem = 0, None
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for thread in threads:
            thread.start()
        for process in processes:
            if random.random() < 0.6:
                time.sleep(random.uniform(0, 0.2))
                process.send_signal(random.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
                killed += 1
        while problem is None and (any(p.poll() is None for p in processes) or any(t.is_alive() for t in threads)):
            problem = _look(target, first)
            time.sleep(0.002)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        for thread in threads:
            thread.join()
    problem = problem or _look(target, first)
    left = [path.name for path in target.resolve().parent.iterdir() if path.name.endswith(".part") and path.name not in theirs]
    if problem is None and any((folder / name).read_bytes() != content for name, content in theirs.items()):
        problem = "a file of somebody else's was changed"
    if problem is None and linked and not target.is_symlink():
        problem = "a link was replaced by a file"
    # Only a process that had no chance to tidy up may leave its hidden file.
    if problem is None and len(left) > killed:
        problem = f"{killed} writers were killed, and {left} are left"
    return problem


def _write(target: Path, byte: int, count: int) -> None:
    for _ in range(count):
        with atomic.replacing(target) as part:
            part.write_bytes(bytes([byte]) * SIZE)


def _look(target: Path, first: bool) -> str | None:
    """Return what is wrong with the file as it is now."""
    try:
        content = target.read_bytes()
    except FileNotFoundError:
        return "the file is gone" if first else None
    return None if len(content) == SIZE and len(set(content)) == 1 else f"a file of {len(content)} bytes with {len(set(content))} writers"
