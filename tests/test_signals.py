"""Signals and streams: a command that is ended from outside leaves whole files, one line and an exit code, and no handler behind."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward import startup
from pushforward.__main__ import main
from pushforward.data.reading import open_table
from pushforward.data.writing import write_table

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
FIT = ["fit", "t.csv", "-o", "m", "--epochs", "5", "--transforms", "1", "--widths", "8", "--bins", "4", "-q"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    with write_table(tmp_path / "t.csv", ["a", "b"]) as append:
        append(np.exp(np.random.default_rng(0).normal(size=(400, 2))))
    torch.manual_seed(0)
    model = pf.MAF(2, transforms=1, widths=(8,))
    model.columns = ("a", "b")
    model.save(tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def at_epoch(epoch, action, monkeypatch):
    """Do something after an epoch of the command's fit."""
    original = pf.fit

    def fit(*given, callback, **options):
        return original(*given, **options, callback=lambda h: (action() if len(h.train) == epoch else None) or callback(h))

    monkeypatch.setattr(pf, "fit", fit)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_a_fit_with_the_best_model(folder, monkeypatch, capsys, number):
    before = [signal.getsignal(one) for one in NUMBERS]
    at_epoch(4, lambda: os.kill(os.getpid(), number), monkeypatch)
    assert main(FIT) == 128 + number
    assert [signal.getsignal(one) for one in NUMBERS] == before
    assert names(folder) == ["m", "old", "t.csv"]
    assert pf.load("m").columns == ("a", "b")
    assert capsys.readouterr().err == "pushforward: error: interrupted\n"


def test_a_signal_whose_exception_is_lost_ends_a_fit_after_the_epoch(folder, monkeypatch, capsys):
    """C code takes any exception for a missing attribute here and there, and goes on."""

    def lost():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)

    at_epoch(4, lost, monkeypatch)
    assert main([*FIT, "--epochs", "100000", "--patience", "100000"]) == 143
    assert pf.load("m").columns == ("a", "b")
    assert capsys.readouterr().err == "pushforward: error: interrupted\n"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_before_the_first_epoch_leaves_no_model(folder, monkeypatch, capsys, number):
    monkeypatch.setattr(pf, "fit", lambda *_, **__: os.kill(os.getpid(), number))
    assert main(FIT) == 128 + number
    assert names(folder) == ["old", "t.csv"]
    assert capsys.readouterr().err == "pushforward: error: interrupted\n"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_while_the_model_is_written_lets_it_be_written(folder, monkeypatch, number):
    save = pf.Flow.save

    def slow(flow, path):
        os.kill(os.getpid(), number)
        save(flow, path)

    monkeypatch.setattr(pf.Flow, "save", slow)
    assert main(FIT) == 0
    assert pf.load("m").columns == ("a", "b")


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet", ".npy"])
def test_a_signal_while_a_table_is_written_leaves_the_old_one(folder, monkeypatch, ending):
    from pushforward.cli.commands import sample as sampling

    assert main(["sample", "old", "-n", "5", "-o", f"s{ending}"]) == 0
    before, draw, calls = (folder / f"s{ending}").read_bytes(), sampling.draws, iter(range(9))

    def signalled(*arguments):
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*arguments)

    monkeypatch.setattr(sampling, "draws", signalled)
    monkeypatch.setattr(sampling, "ROWS", 7)
    assert main(["sample", "old", "-n", "50", "-o", f"s{ending}"]) == 143
    assert (folder / f"s{ending}").read_bytes() == before
    assert names(folder) == ["old", f"s{ending}", "t.csv"]


def test_handlers_of_others_stay_theirs(folder, monkeypatch):
    seen = []
    before = [signal.signal(signal.SIGTERM, lambda *_: seen.append("mine")), signal.signal(signal.SIGHUP, signal.SIG_IGN)]
    try:
        at_epoch(2, lambda: [os.kill(os.getpid(), number) for number in (signal.SIGTERM, signal.SIGHUP)] and None, monkeypatch)
        assert main(FIT) == 0
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)
    assert seen == ["mine"]


def test_a_fit_in_a_program_touches_no_handler():
    before = [signal.getsignal(one) for one in NUMBERS]
    during = []
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    pf.fit(pf.MAF(2), x, epochs=1, progress=False, callback=lambda _: during.append([signal.getsignal(one) for one in NUMBERS]))
    assert during == [before]


# The start: importing takes seconds


@pytest.mark.parametrize(
    ("argv", "original", "expected"),
    [
        (["/usr/bin/pushforward", "fit"], ["python", "/usr/bin/pushforward", "fit"], True),
        (["C:\\pushforward.exe"[3:]], ["python"], True),
        (["-m", "fit"], ["python", "-X", "dev", "-m", "pushforward", "fit"], True),
        (["-m"], ["python", "-m", "pytest", "pushforward"], False),
        (["-c"], ["python", "-c", "import pushforward"], False),
        (["train.py"], ["python", "train.py", "-m", "pushforward"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_only_the_command_is_the_command(monkeypatch, argv, original, expected):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", original)
    assert startup.is_command() is expected


WHILE_IMPORTING = """
    import importlib.abc, os, signal, sys
    sys.argv = [NAME]

    class Interrupting(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == MODULE:
                os.kill(os.getpid(), signal.SIGINT)

    sys.meta_path.insert(0, Interrupting())
    try:
        import pushforward
        from pushforward.__main__ import main
        main(["--version"])
    except KeyboardInterrupt:
        print("the program's own")
"""


@pytest.mark.parametrize("module", ["numpy.linalg", "torch.nn", "pushforward.train.fit", "pushforward.cli", "typer"])
def test_ctrl_c_while_the_command_starts_is_one_line(module):
    code = textwrap.dedent(WHILE_IMPORTING).replace("NAME", repr("bin/pushforward")).replace("MODULE", repr(module))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "pushforward: error: interrupted\n")


def test_ctrl_c_while_a_program_imports_is_the_programs():
    code = textwrap.dedent(WHILE_IMPORTING).replace("NAME", repr("train.py")).replace("MODULE", repr("pushforward.train.fit"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the program's own\n", "")


# Streams that are closed, or that nobody reads


def closed(folder, streams, *argv):
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "pushforward", *argv]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("streams", ["2>&-", ">&- 2>&- <&-"])
def test_a_fit_needs_no_streams(folder, streams):
    done = closed(folder, streams, *FIT[:-1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert pf.load(folder / "m").columns == ("a", "b")
    assert names(folder) == ["m", "old", "t.csv"]


def test_a_table_needs_no_standard_output_where_it_has_a_file(folder):
    done = closed(folder, ">&- 2>&-", "sample", "old", "-n", "5", "-o", "s.csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert open_table(folder / "s.csv").read().shape == (5, 2)


@pytest.mark.parametrize("argv", [["sample", "old", "-n", "3"], ["score", "old", "t.csv"], ["describe", "old"]])
def test_without_standard_output_data_goes_nowhere_in_one_line(folder, monkeypatch, capsys, argv):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(argv) == 2
    monkeypatch.undo()
    err = capsys.readouterr().err
    assert err.startswith("pushforward: error: Invalid value: standard output is closed")
    assert err.count("\n") == 1


def test_without_standard_error_data_goes_to_standard_output(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["score", "old", "t.csv"]) == 0
    assert main(["score", "old", "none.csv"]) == 1
    assert main(["--nonsense"]) == 2
    monkeypatch.undo()
    assert len(capsys.readouterr().out.splitlines()) == 401


def test_messages_that_nobody_reads_cost_no_work(folder, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(FIT[:-1]) == 0
        monkeypatch.undo()
    assert pf.load(folder / "m").columns == ("a", "b")
