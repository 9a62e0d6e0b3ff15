"""Tableaus: explicit Runge-Kutta methods as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tableau:
    r"""An explicit method, :math:`k_i = f(t + c_i h,\, z + h \sum_{j<i} a_{ij} k_j)` and :math:`z_1 = z + h \sum_i b_i k_i`.

    Args:
        c: Times of the stages.
        a: Rows of coefficients; that of the first stage is empty.
        b: Weights of the result.
        error: Weights of the difference from the result of the embedded method (empty: there is none).
        order: Of the result.
        source: Where it is from.
    """

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...]
    order: int
    source: str

    @property
    def adaptive(self) -> bool:
        """Whether it has an embedded method, which tells the error of each step."""
        return bool(self.error)

    @property
    def reuses(self) -> bool:
        """Whether the last stage is the first one of the next step."""
        return self.c[-1] == 1 and self.b[-1] == 0 and self.a[-1] == self.b[:-1]

    @property
    def evaluations(self) -> int:
        """Evaluations that a step takes beside its first stage's, where that is known from the step before."""
        return len(self.c) - self.reuses


_TSIT5 = (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774)
_DOPRI5 = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)

METHODS: dict[str, Tableau] = {
    "tsit5": Tableau(
        (0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
        (
            (),
            (0.161,),
            (-0.008480655492356989, 0.335480655492357),
            (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
            (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
            (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
            _TSIT5,
        ),
        (*_TSIT5, 0.0),
        (
            -0.00178001105222577714, -0.0008164344596567469, 0.007880878010261995, -0.1447110071732629, 0.5823571654525552,
            -0.45808210592918697, 1 / 66,
        ),
        5,
        "Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption (Tsitouras, 2011)",
    ),
    "dopri5": Tableau(
        (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            _DOPRI5,
        ),
        (*_DOPRI5, 0.0),
        (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
        5,
        "A family of embedded Runge-Kutta formulae (Dormand, Prince, 1980)",
    ),
    "rk4": Tableau(
        (0.0, 0.5, 0.5, 1.0),
        ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        (1 / 6, 1 / 3, 1 / 3, 1 / 6),
        (),
        4,
        "Beitrag zur näherungsweisen Integration totaler Differentialgleichungen (Kutta, 1901)",
    ),
    "heun": Tableau(
        (0.0, 1.0),
        ((), (1.0,)),
        (0.5, 0.5),
        (),
        2,
        "Neue Methoden zur approximativen Integration der Differentialgleichungen einer unabhängigen Veränderlichen (Heun, 1900)",
    ),
}  # fmt: skip
"""The methods by name. A new one is a new row."""
