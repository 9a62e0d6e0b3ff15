"""Disagreement: how far the density of a table flow depends on the order of its chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pushforward.tables.chain import check_generator, score_rows

if TYPE_CHECKING:
    from pushforward.tables.model import Model


class Disagreement(NamedTuple):
    """How far chains in random orders are from that in the order of the schema.

    Args:
        typical: Mean over rows and orders of the absolute difference of log-densities, in nats a row.
        largest: The largest of them.
        schema: Mean log-density in the order of the schema.
        orders: Mean log-density in each of the orders.
    """

    typical: float
    largest: float
    schema: float
    orders: tuple[float, ...]


def disagreement_of(model: Model, coded: Tensor, orders: int, generator: torch.Generator | None) -> Disagreement:
    """Return by how many nats random orders differ from that of the schema, at coded rows ``(n, columns)``."""
    count = len(model.variables)
    own = score_rows(model, coded, range(count)).logs.sum(1)
    check_generator(generator)
    drawn = [torch.randperm(count, generator=generator).tolist() for _ in range(orders)]
    others = torch.stack([score_rows(model, coded, order).logs.sum(1) for order in drawn])
    apart = (others - own).abs()
    return Disagreement(float(apart.mean()), float(apart.max()), float(own.mean()), tuple(others.mean(1).tolist()))
