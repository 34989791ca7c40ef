"""The standard error of an estimate, from the units of its design that are independent.

Scenarios for plain and importance sampling, pairs for antithetic, strata, batches for
moment matching, randomisations for Sobol; residuals for a control variate.
"""

from __future__ import annotations

import numpy as np

from engine.sampling._draws import Plan


def standard_error(
    plan: Plan, mass: np.ndarray, values: np.ndarray
) -> tuple[float, float]:
    """Standard error of ``mass @ values`` and the degrees of freedom behind it.

    Parameters
    ----------
    plan : Plan
    mass : (n,) float64
        Design weights times likelihood ratios.
    values : (n,) float64
        One value per scenario, no NaN.

    Returns
    -------
    (float, float)
        The degrees are infinite where the units are many.
    """
    error, dof = _from_units(plan, mass, values)
    # Where the method makes the answer exact, what is left is rounding.
    size = float(np.abs(mass) @ np.abs(values))
    return max(error, float(np.finfo(float).eps * np.sqrt(plan.n) * size)), dof


def _from_units(
    plan: Plan, mass: np.ndarray, values: np.ndarray
) -> tuple[float, float]:
    if plan.method in ("sobol", "moment_matched"):
        means = values.reshape(-1, plan.size).mean(axis=1)
        return float(means.std(ddof=1) / np.sqrt(means.size)), means.size - 1.0
    if plan.method == "antithetic":
        pairs = values.reshape(-1, 2).mean(axis=1)
        return float(pairs.std(ddof=1) / np.sqrt(pairs.size)), np.inf
    terms = mass * values
    if plan.stratum is not None:
        count = np.bincount(plan.stratum)
        average = np.bincount(plan.stratum, terms) / count
        spread = (terms - average[plan.stratum]) ** 2
        within = np.bincount(plan.stratum, spread) * count / (count - 1.0)
        return float(np.sqrt(within.sum())), np.inf
    if plan.method == "control":
        # Residuals of the regression on a constant and the control in the mass.
        c = mass - mass.mean()
        free = values - values.mean()
        if c @ c > 0:
            free = free - c * (c @ free) / (c @ c)
        return float(np.sqrt(free @ free / (free.size - 2.0) / free.size)), np.inf
    return float(terms.std(ddof=1) * np.sqrt(terms.size)), np.inf
