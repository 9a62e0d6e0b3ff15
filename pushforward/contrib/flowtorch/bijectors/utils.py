"""FlowTorch's switches of what a call records. Nothing is recorded here, and value and log-determinant always come together."""

from __future__ import annotations

from contextlib import ContextDecorator
from types import TracebackType


class set_record_flow_graph(ContextDecorator):  # noqa: N801 (FlowTorch's name)
    """Change nothing, as a block or a decorator: no call records where its values came from.

    Args:
        value: Taken for FlowTorch's sake.
    """

    def __init__(self, value: bool = True) -> None:
        self.value = value

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


class set_requires_log_detJ(set_record_flow_graph):  # noqa: N801 (FlowTorch's name)
    """Change nothing: a call always computes value and log-determinant together."""


def is_record_flow_graph_enabled() -> bool:
    """Return False, whatever was set."""
    return False


def requires_log_detJ() -> bool:
    """Return True, whatever was set."""
    return True
