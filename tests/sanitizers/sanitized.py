"""A plugin of pytest: tests run with the library that is in a folder, more examples, and at the end the counts of what was tried."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings


def pytest_addoption(parser):
    parser.addoption("--library", help="folder of the compiled library to test")
    parser.addoption("--examples", type=int, default=1000, help="examples of each property")


def pytest_configure(config):
    settings.register_profile(
        "sanitized", max_examples=config.getoption("--examples"), deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    settings.load_profile("sanitized")
    from pushforward.native import library

    library.LIBRARY = library.load(Path(config.getoption("--library")))
    assert library.LIBRARY.handle is not None, library.LIBRARY.state


def pytest_terminal_summary(terminalreporter):
    try:
        from test_native_sizes import COUNTS
    except ImportError:
        return
    terminalreporter.section("what was tried")
    for name, count in sorted(COUNTS.items()):
        terminalreporter.write_line(f"{count:8,} {name}")
    terminalreporter.write_line(f"{sum(COUNTS.values()):8,} together")
