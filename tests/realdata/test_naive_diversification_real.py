"""DeMiguel, Garlappi, Uppal (2009), table 3: the dataset MKT, SMB, HML.

Monthly excess returns, July 1963 to November 2004; a window of 120 months and so 377
months out of sample; Sharpe ratios per month. All four figures reproduce to the four
decimals printed. Their industry dataset is not here; the French library has since been
revised, and reproduces it to about 0.001 only.
"""

import numpy as np
import pandas as pd
import pytest

from backtests import metrics, simulate_weights
from engine import covariance, optimize

WINDOW = 120
FREE = {"lower": -np.inf, "upper": np.inf}


@pytest.fixture(scope="module")
def factors(real_data):
    path = real_data / "reference_inputs" / "ff_factors_monthly_196307_200411.csv"
    if not path.exists():
        pytest.skip(f"real data not found at {path}")
    return pd.read_csv(path)[["MKT_RF", "SMB", "HML"]].to_numpy()


def equal(X):
    return np.full(3, 1 / 3)


def market(X):
    return np.array([1.0, 0.0, 0.0])


def minimum_variance(X):
    return optimize.minimum_variance(covariance.sample(X), **FREE)


def mean_variance(X):
    """Sample-based, unconstrained, weights scaled to one (their equation 4)."""
    w = np.linalg.solve(covariance.sample(X), X.mean(axis=0))
    return w / abs(w.sum())


@pytest.mark.parametrize(
    ("rule", "published"),
    [
        (equal, 0.2240),
        (market, 0.1138),
        (minimum_variance, 0.2493),
        (mean_variance, 0.2186),
    ],
)
def test_sharpe_ratios_out_of_sample(factors, rule, published):
    T = len(factors)
    prices = np.vstack([np.ones(3), np.cumprod(1.0 + factors, axis=0)])
    # Row t is the end of month t: the weights of the month that follows it.
    targets = np.array([rule(factors[t - WINDOW : t]) for t in range(WINDOW, T)])
    last = np.full((1, 3), np.nan)
    book = simulate_weights(prices[WINDOW:], np.vstack([targets, last]))
    m = metrics.moments(book.value[1:] / book.value[:-1] - 1.0)
    assert m.n == 377
    assert m.sharpe == pytest.approx(published, abs=5.1e-5)
