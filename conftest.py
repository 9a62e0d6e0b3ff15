"""Settings of all tests, and the names that examples in docstrings use without importing them."""

import gc
import os
import signal

import pytest
import torch
from hypothesis import settings

# Everyone searches for new examples; CI repeats the known ones, so that a change is judged by what it changed.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# What a shell runs in the background ignores Ctrl-C, and after nohup a lost terminal; so do its children, to which tests send both.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

# Whatever asks for equal bits of what torch computed fails on some processor; this one plays that processor.
if os.environ.get("PUSHFORWARD_TEST_BLAS"):
    from tests.other_processor import as_told

    as_told()


# Python looks for cycles every 700 objects, among all that it has: a tenth of the time of a test that torch's compiler takes part in.
gc.set_threshold(50_000, 20, 20)


def pytest_collection_finish():
    """Leave what the tests are made of out of every later search for cycles."""
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Leave out the tests of compiled code where the environment asks for none, and nowhere else."""
    if os.environ.get("PUSHFORWARD_NATIVE") == "0":
        for item in items:
            if item.get_closest_marker("compiled"):
                item.add_marker(pytest.mark.skip(reason="PUSHFORWARD_NATIVE=0 turns off what it tests"))


@pytest.fixture(autouse=True)
def _names(doctest_namespace):
    doctest_namespace["torch"] = torch
