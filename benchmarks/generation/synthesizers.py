"""SDV's generators, each in so many seconds of CPU time: the normal copula, CTGAN and TVAE.

Source: Modeling Tabular Data using Conditional GAN (Xu et al., 2019); The Synthetic Data Vault (Patki et al., 2016).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import torch

from pushforward.data import Schema

KINDS = {"categorical": "categorical", "ordered": "categorical", "binary": "categorical", "datetime": "datetime"}
"""What the packages call a kind of ours, which is a number where it is not here."""


def metadata_of(schema: Schema) -> dict[str, dict[str, Any]]:
    """Return the columns as SDMetrics takes them."""
    return {"columns": {column.name: {"sdtype": KINDS.get(column.kind, "numerical")} for column in schema}}


def until(seconds: float) -> Any:
    """Return what stands for the progress bar of a package, and ends its epochs after so many seconds, 10 of them at least."""

    def epochs(them: Iterable[int], **_: Any) -> Iterator[int]:
        began = time.process_time()
        for at in them:
            if at >= 10 and time.process_time() - began > seconds:
                return
            yield at

    return epochs


def fitted(name: str, train: pd.DataFrame, schema: Schema, seconds: float, seed: int) -> Any:
    """Fit one of the generators to a table of plain types."""
    from sdv import single_table
    from sdv.metadata import Metadata

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metadata = Metadata.load_from_dict({"tables": {"table": metadata_of(schema)}, "relationships": [], "METADATA_SPEC_VERSION": "V1"})
        made = getattr(single_table, f"{name}Synthesizer")
        if name == "GaussianCopula":
            model = made(metadata)
        else:
            importlib.import_module(f"ctgan.synthesizers.{name.lower()}").tqdm = until(seconds)  # type: ignore[attr-defined]
            model = made(metadata, epochs=10**6, enable_gpu=False)
        model.fit({"table": train})
    return model


def drawn(model: Any, n: int) -> pd.DataFrame:
    """Return rows that one of them draws."""
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        tables = model.sample(n)
    found: pd.DataFrame = tables["table"] if isinstance(tables, dict) else tables
    return found
