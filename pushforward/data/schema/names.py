"""Names of columns that say what their numbers are: angles and other circles, shares and percentages."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from pushforward.data.values import Values

Array = np.ndarray[Any, np.dtype[Any]]
_TURN = 2 * np.pi
_ANGLES = "dir|direction|angle|heading|bearing|azimuth|orientation|aspect|hue|theta|phi|phase|rotation"
_CIRCLES = (
    (_ANGLES, ((0, 360), (-180, 180), (0, _TURN), (-np.pi, np.pi))),
    ("lon|long|longitude|lng", ((-180, 180), (0, 360))),
    ("hour|hr|hod", ((0, 24),)),
    ("minute|second", ((0, 60),)),
    ("month|mon", ((1, 13), (0, 12))),
    ("weekday|dow|dayofweek", ((0, 7), (1, 8))),
    ("doy|dayofyear|yday", ((1, 367), (0, 366))),
)
"""By words of a name: the bounds of each circle that it may mean."""
_SHARES = "percent|percentage|pct|perc|hum|humid|humidity|share|fraction|frac|prob|probability|proportion|prop|rate|ratio"


def circle_of(name: str, low: float, high: float) -> tuple[float, float] | None:
    """Return the bounds of the circle that a name may mean, where values from ``low`` to ``high`` fill most of it."""
    words = _words(name)
    for pattern, circles in _CIRCLES:
        if any(re.fullmatch(pattern, word) for word in words):
            for start, stop in circles:
                # Most of the circle is seen, and nothing beyond it.
                if start <= low and high <= stop and high - low >= 0.75 * (stop - start):
                    return float(start), float(stop)
    return None


def bounds_of(values: Values, finite: Array, low: float, high: float, count: bool) -> tuple[float, str] | None:
    """Return the upper bound of a share or a percentage, and why it is one."""
    top = next((top for top in (1.0, 100.0) if high <= top and not (values.unit == "%" and top == 1.0)), None)
    if low < 0 or top is None:
        return None
    if values.unit == "%":
        return top, "a percent sign"
    if high > 0.5 * top and any(re.fullmatch(_SHARES, word) for word in _words(values.name)):
        return top, "its name"
    if not count and len(finite) >= 50 and low <= 0.02 * top and high >= 0.98 * top:
        return top, f"values that reach both 0 and {top:g}"
    return None


def _words(name: str) -> list[str]:
    """Return the words of a name such as wind_dir, windDir or "Wind dir (deg)", in small letters, pairs of them together too."""
    parts = [part.lower() for part in re.findall(r"[A-Z]?[a-zµ]+|[A-Z]+(?![a-z])", name)]
    return parts + ["".join(pair) for pair in zip(parts, parts[1:], strict=False)] + ["".join(parts)]
