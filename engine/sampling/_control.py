"""The delta loss as a control variate: its law is a normal or a Student-t.

The regression estimator is written as weights (Hesterberg, Nelson 1998), so that
quantiles use it too: ``m_i = 1/n - (c_mean - E[c]) (c_i - c_mean)/sum (c - c_mean)^2``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import UsageError
from engine.sampling._book import Book
from engine.sampling._functional import Functional


def control_mass(book: Book, functional: Functional, linear: np.ndarray) -> np.ndarray:
    """(n,) weights, sum one, under which the control has its true mean.

    The control is the delta loss itself for means and functions, its indicator for
    tails and VaR, its excess for ES; thresholds come from its own law.
    """
    c, expected = _control(book, functional, linear)
    n = c.size
    gap = c - c.mean()
    square = float(gap @ gap)
    if not square > 0.0:
        return np.full(n, 1.0 / n)
    return 1.0 / n - (c.mean() - expected) * gap / square


def _control(
    book: Book, functional: Functional, linear: np.ndarray
) -> tuple[np.ndarray, float]:
    """``(c, E[c])``: the control (n,) and its mean."""
    from scipy import stats

    a0 = book.centre()
    if functional.kind in ("mean", "callable"):
        return linear, a0
    if np.isfinite(book.dof) and book.periods > 1:
        raise UsageError(
            "the delta loss of a Student-t over several periods has no closed form",
            received=f"{book.periods} periods",
            fix="Use 'antithetic', 'stratified' or 'sobol'.",
        )
    sigma = float(np.linalg.norm(book.slope)) * book.periods**0.5
    if not sigma > 0.0:
        return linear, a0
    scale = sigma
    law: Any = stats.norm
    if not np.isinf(book.dof):
        scale = sigma * float(np.sqrt((book.dof - 2.0) / book.dof))
        law = stats.t(book.dof)
    q = (functional.parameter - a0) / scale
    if functional.kind != "tail":
        q = float(law.ppf(functional.parameter))
    v = a0 + scale * q
    if functional.kind != "es":
        return (linear > v).astype(np.float64), float(law.sf(q))
    # E[(L - v)+] = scale (h(q) - q P(L > v)), h the partial mean beyond q.
    h = float(law.pdf(q))
    if not np.isinf(book.dof):
        h *= (book.dof + q * q) / (book.dof - 1.0)
    return np.maximum(linear - v, 0.0), scale * (h - q * float(law.sf(q)))
