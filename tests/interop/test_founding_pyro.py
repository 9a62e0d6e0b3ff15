"""Pyro's tutorial on normalizing flows with its plots as they are: the real seaborn draws them."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "founding"))
from cells import run


@pytest.mark.filterwarnings("ignore::DeprecationWarning:seaborn.*")
@pytest.mark.filterwarnings("ignore::FutureWarning:seaborn.*")
def test_every_cell_draws_what_it_says(monkeypatch):
    drawn = []

    def show():
        figure = plt.gcf()
        figure.canvas.draw()
        drawn.append([len(axes.lines) + len(axes.collections) + len(axes.patches) for axes in figure.axes])
        plt.close("all")

    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", show)
    monkeypatch.setenv("CI", "1")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        namespace = {}
        run("pyro_tutorial.txt", namespace)
    # Two pairs of histograms of 50 bars; the data; then, for each flow, the joint sample and the marginals beside those of the data.
    assert drawn == [[50, 50], [50, 50], [1], [1, 1], *[[2], [2, 2]] * 3]
    assert namespace["X_flow"].shape == (1000, 2)
