"""Other people's own tests, run on the faces: how many pass, and each that does not with the reason why.

Their code is not here. Give the folder that holds their ``tests``, such as a clone of their repository::

    python tests/interop/suites.py pyro ../pyro
    python tests/interop/suites.py pyro ../pyro --dtype float32
    python tests/interop/suites.py flowtorch ../flowtorch
    python tests/interop/suites.py zuko ../zuko

It fails where a test does that has no reason here, or one that has a reason passes. The packages themselves need not be installed.
"""

from __future__ import annotations

import argparse
import importlib
import random
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

SHAPES = "forward_shape says what a call gives: with a batch of one context, or with parameters of D places, an event has that batch"
MEMORY = "a result does not remember where it came from: the inverse maps back, and gives an equal value, not the same object"

# Of each suite: the files, the modules that stand for others, the seed, and what differs, with the reason.
SUITES = {
    "pyro": (
        ["tests/distributions/test_transforms.py"],
        {"pyro.distributions": "pushforward.distributions", "pyro.distributions.transforms": "pushforward.transforms"},
        123,
        {
            r"test_conditional_(?!compose|generalized)\w+$|test_(batchnorm|spline)$": SHAPES,
            r"test_simplex_to_ordered$": "it is bijective, as torch's StickBreakingTransform is; the test takes what is for square",
        },
    ),
    "flowtorch": (
        ["tests"],
        {f"flowtorch{name}": f"pushforward.contrib.flowtorch{name}" for name in ("", ".bijectors", ".bijectors.utils", ".parameters")}
        | {f"flowtorch.{name}": f"pushforward.contrib.flowtorch.{name}" for name in ("distributions", "utils")},
        42,
        {
            r"test_bijectivetensor.py": MEMORY,
            r"test_invert$": "a log-determinant is that of the values it is given, so there is nothing to warn of",
            r"\[Power\]": "a flow of a normal base through a power is refused: the power takes positive values alone",
            r"test_compose$": "networks start with zero outputs, so in the first step the layers before the last have no gradient",
        },
    ),
    "zuko": (
        ["tests/test_flows.py"],
        {"zuko.flows": "pushforward.flows"},
        0,
        {
            r"test_flows\[None\]": "continuous flows are not here yet",
            r"adjacency|triangular": "layers are plans here; tests/test_structures.py has the same questions",
        },
    ),
}
# What differs in float32 beside that.
SINGLE = {"pyro": {r"test_ordered_transform$": "gaps are differences of sums that float32 has rounded; the test allows 1e-6"}}


class Told:
    """A plugin of pytest: seeds each test, and keeps what became of it."""

    def __init__(self, seed: int) -> None:
        self.seed, self.found, self.errors = seed, {}, {}

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "init(rng_seed): the seed, which is the same for all")

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        torch.manual_seed(self.seed)
        np.random.seed(self.seed)  # noqa: NPY002 (what their tests draw from)
        random.seed(self.seed)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        passed = self.found.get(report.nodeid, True)
        self.found[report.nodeid] = passed and report.passed
        if report.failed:
            self.errors[report.nodeid] = str(report.longrepr).strip().splitlines()[-1]


def by_autograd(self, input_dim, transform):
    """Stand for Pyro's test of a log-determinant, whose finite differences are too coarse for float32: the same, by autograd."""
    x = torch.randn(input_dim)
    ladj = transform.log_abs_det_jacobian(x, transform(x)).sum()
    exact = torch.linalg.slogdet(torch.autograd.functional.jacobian(transform, x)).logabsdet
    assert (ladj - exact).abs() < self.epsilon


def stand_in(names: dict[str, str]) -> None:
    """Let modules of this library stand for others."""
    for theirs, ours in names.items():
        package, _, name = theirs.rpartition(".")
        sys.modules[theirs] = importlib.import_module(ours)
        if package:
            setattr(sys.modules.setdefault(package, types.ModuleType(package)), name, sys.modules[theirs])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("folder", type=Path, help="the folder that holds their tests")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="torch's default precision (theirs, if left out)")
    options = parser.parse_args(arguments)
    files, names, seed, differs = SUITES[options.suite]
    missing = [file for file in files if not (options.folder / file).exists()]
    if missing:
        parser.error(f"expected {missing[0]} in {options.folder}")
    torch.set_default_dtype(getattr(torch, options.dtype or ("float64" if options.suite == "pyro" else "float32")))
    sys.path.insert(0, str(options.folder.resolve()))
    stand_in(names)
    if options.suite == "zuko":  # whose list of flows has a name more
        flows, sys.modules["zuko.flows"] = sys.modules["zuko.flows"], types.ModuleType("zuko.flows")
        vars(sys.modules["zuko.flows"]).update({name: getattr(flows, name) for name in flows.__all__}, CNF=None)
    single = torch.get_default_dtype() == torch.float32
    if options.suite == "pyro" and single:  # their tests are made for float64
        module = importlib.import_module("tests.distributions.test_transforms")
        module.TransformTests._test_jacobian, module.assert_close = by_autograd, torch.testing.assert_close
    differs = differs | (SINGLE.get(options.suite, {}) if single else {})
    told = Told(seed)
    paths = [str(options.folder / file) for file in files]
    quiet = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:warnings", "--noconftest", "-c", "/dev/null"]
    pytest.main([*quiet, "--rootdir", str(options.folder), *paths], plugins=[told])
    failed = [test for test, passed in told.found.items() if not passed]
    print(f"\n{options.suite}, {torch.get_default_dtype()}: {len(told.found) - len(failed)} of {len(told.found)} pass")
    reasons = {test: next((why for pattern, why in differs.items() if re.search(pattern, test)), None) for test in told.found}
    for test in failed:
        print(f"  {test.rpartition('/')[2]}: {reasons[test] or 'NO REASON: ' + told.errors[test]}")
    stale = [test for test, why in reasons.items() if why and test not in failed]
    for test in stale:
        print(f"  {test.rpartition('/')[2]}: passes, though there is a reason why it should not: {reasons[test]}")
    return int(not told.found or bool(stale) or any(reasons[test] is None for test in failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
