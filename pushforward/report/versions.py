"""show_config: which version runs, and which of its two ways of computing."""

from __future__ import annotations

import importlib.metadata
import platform

import torch

from pushforward.native.library import LIBRARY


def show_config() -> None:
    """Print the versions, whether the compiled kernels are in use (and if not, why), and with how many threads.

    >>> show_config()
    pushforward ...
    """
    lines = {
        "pushforward": importlib.metadata.version("pushforward"),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "kernels": LIBRARY.state,
        "threads": f"{torch.get_num_threads()}, {LIBRARY.threads}",
    }
    for name, value in lines.items():
        print(f"{name:<12} {value}")  # noqa: T201 (what it is for)
