"""Pictures of data, samples, fits and maps; each function returns a matplotlib Figure and touches no global state.

matplotlib is the optional extra ``plots``. The figures belong to no pyplot window: a notebook shows one that is the value of a
cell, and ``figure.savefig("name.pdf")`` writes it.
"""

from pushforward.plots.curves import curve
from pushforward.plots.densities import density
from pushforward.plots.grids import grid
from pushforward.plots.learning import learning_curve
from pushforward.plots.nats import nats
from pushforward.plots.samples import MOST_COLUMNS, compare, pairs

__all__ = ["MOST_COLUMNS", "compare", "curve", "density", "grid", "learning_curve", "nats", "pairs"]
