"""Fit the density of a table of flights, ask it about columns given others, fill gaps, sample and draw it: a part of ``make demo``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

import pushforward as pf
from pushforward.data import Schema

HERE = Path(__file__).parent
KINDS = {"dep_delay": "real", "arr_delay": "real", "air_time": "count"}


def main(out: Path = HERE.parent / "out", rows: int | None = None, seconds: float | None = 60.0, epochs: int = 200) -> dict[str, float]:
    """Run the example and return the mean log-density of the held-out rows, in nats."""
    flights = pd.read_csv(HERE / "data" / "flights.csv.gz", parse_dates=["date"]).astype(dict.fromkeys(KINDS, "Int64"))[:rows]
    schema = Schema.find(flights, KINDS)
    print(f"{len(flights):,} flights from New York; a flight that was cancelled has neither delay nor time in the air.\n\n{schema}\n")

    flights = flights.sample(frac=1, random_state=0)
    held, train = flights[: len(flights) // 10], flights[len(flights) // 10 :]
    torch.manual_seed(0)
    model = pf.TableFlow(schema)
    model.measure(train)
    nats = {"independent columns": float(model.log_prob(held).mean())}
    history = pf.fit(model, train, seconds=seconds, epochs=epochs)
    nats["TableFlow"] = float(model.log_prob(held).mean())
    print(f"\n{history}\n\n{'held-out nats a row':24}" + "".join(f"\n  {name:22}{value:9.2f}" for name, value in nats.items()))
    parts = model.log_prob(held, by="column")
    print("of these, by column: " + ", ".join(f"{name} {float(value.mean()):.2f}" for name, value in parts.items()))

    print("\nAny columns given any others, such as an evening's flight:")
    for carrier in ("B6", "EV", "UA"):
        view = model.condition({"origin": "EWR", "carrier": carrier, "hour": 19})
        cancelled = view.probabilities("dep_delay")[None]
        middle, most = view.quantile("arr_delay", 0.5), view.quantile("arr_delay", 0.9)
        late = f"half are at most {middle:.0f} minutes late, nine of ten {most:.0f}"
        print(f"  {carrier}: cancelled {100 * cancelled:.1f} %; of the others {late}")
    there = model.condition({"origin": "JFK", "dest": "LAX", "dep_delay": 0})
    low, high = there.interval("air_time", 0.9)
    print(f"  JFK to LAX: {there.mean('air_time'):.0f} minutes in the air, nine of ten between {low:.0f} and {high:.0f}")

    gaps = held.assign(carrier=held["carrier"].where(held.index % 2 == 0))
    (filled,) = model.impute(gaps, 1, generator=torch.Generator().manual_seed(0))
    hidden = gaps["carrier"].isna()
    share = (filled["carrier"] == held["carrier"])[hidden].mean()
    print(f"\nOf {int(hidden.sum())} airlines that were taken out, {100 * share:.0f} % are drawn again as they were.")

    out.mkdir(exist_ok=True)
    model.save(out / "flights.safetensors")
    drawn = model.sample(10_000, generator=torch.Generator().manual_seed(1))
    drawn.to_csv(out / "flights.csv", index=False)
    columns = ["hour", "origin", "carrier", "dep_delay", "arr_delay", "air_time"]
    pictures = [pd.DataFrame({name: _numbers(frame[name], schema[name]) for name in columns}) for frame in (flights, drawn)]
    names = {name: [str(one) for one in schema[name].categories] for name in columns if schema[name].categories}
    pf.plots.pairs(*pictures, columns=columns, written=names).savefig(out / "flights.png")
    print(f"\nwritten to {out}: flights.safetensors, flights.csv and flights.png\n")
    return nats


def _numbers(column: pd.Series, of: pf.data.schema.Column) -> pd.Series:
    """Return a column as numbers to draw: categories by their place."""
    return (column.map({name: place for place, name in enumerate(of.categories)}) if of.categories else column).astype(float)


if __name__ == "__main__":
    main()
