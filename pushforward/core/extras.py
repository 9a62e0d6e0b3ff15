"""Optional packages: imported where they are used, with an error that says which extra brings them."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or raise ImportError with the command that installs it.

    >>> require("json", "table").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f'{package} is needed for this and not installed: pip install "pushforward[{extra}]"') from error
