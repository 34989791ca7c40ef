"""The delta loss as a control variate: its law is a normal or a Student-t.

The regression estimator is written as weights (Hesterberg, Nelson 1998), so that
quantiles use it too: ``m_i = 1/n - (c_mean - E[c]) (c_i - c_mean) / sum (c - c_mean)^2``.
"""

from __future__ import annotations

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


def _control(book: Book, functional: Functional, linear: np.ndarray):
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
    sigma = float(np.linalg.norm(book.slope)) * np.sqrt(book.periods)
    if np.isinf(book.dof):
        law = stats.norm(a0, sigma)
    else:
        law = stats.t(book.dof, a0, sigma * np.sqrt((book.dof - 2.0) / book.dof))
    v = functional.parameter
    if functional.kind != "tail":
        v = float(law.ppf(functional.parameter))
    if functional.kind != "es":
        return (linear > v).astype(np.float64), float(law.sf(v))
    scale = law.kwds.get("scale", law.args[-1])
    q, f = (v - a0) / scale, scale * law.pdf(v)
    # E[(L - v)+] = scale (h(q) - q P(L > v)), h the partial mean beyond q.
    h = f if np.isinf(book.dof) else f * (book.dof + q * q) / (book.dof - 1.0)
    return np.maximum(linear - v, 0.0), float(scale * (h - q * law.sf(v)))
