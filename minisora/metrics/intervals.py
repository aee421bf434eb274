"""Figures with their 95 % intervals: shares, means, and figures of whole sets.

Sources: Wilson 1927 for shares; percentile bootstrap, Efron 1979, for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Z95 = 1.959964


def wilson(hits: int, total: int) -> tuple[float, float]:
    """95 % interval of a share, `hits` of `total`."""
    p = hits / total
    centre = (p + Z95**2 / (2 * total)) / (1 + Z95**2 / total)
    half = Z95 * math.sqrt(p * (1 - p) / total + Z95**2 / (4 * total * total))
    half /= 1 + Z95**2 / total
    return max(0.0, centre - half), min(1.0, centre + half)


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """A share with its interval and the number of cases; all None if there is no case."""
    if not len(hits):
        return {"value": None, "low": None, "high": None, "count": 0}
    low, high = wilson(sum(hits), len(hits))
    return {"value": sum(hits) / len(hits), "low": low, "high": high, "count": len(hits)}


def mean(values: Sequence[float], draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """A mean of the finite values, with its bootstrap interval and their number; all None if there is none."""
    data = np.asarray(values, dtype=np.float64)
    data = data[np.isfinite(data)]
    if not len(data):
        return {"value": None, "low": None, "high": None, "count": 0}
    rng = np.random.default_rng(seed)
    means = [data[rng.integers(len(data), size=len(data))].mean() for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"value": float(data.mean()), "low": float(low), "high": float(high), "count": len(data)}
