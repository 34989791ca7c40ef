"""Black-Litterman against the published example and its limiting cases."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import ReturnModel, Universe, UsageError, black_litterman, simulate

# He and Litterman (1999), tables 1 and 2: seven equity markets.
NAMES = ("AUL", "CAN", "FRA", "GER", "JAP", "UKG", "USA")
CORRELATION = np.array(
    [
        [1.000, 0.488, 0.478, 0.515, 0.439, 0.512, 0.491],
        [0.488, 1.000, 0.664, 0.655, 0.310, 0.608, 0.779],
        [0.478, 0.664, 1.000, 0.861, 0.355, 0.783, 0.668],
        [0.515, 0.655, 0.861, 1.000, 0.354, 0.777, 0.653],
        [0.439, 0.310, 0.355, 0.354, 1.000, 0.405, 0.306],
        [0.512, 0.608, 0.783, 0.777, 0.405, 1.000, 0.652],
        [0.491, 0.779, 0.668, 0.653, 0.306, 0.652, 1.000],
    ]
)
VOLATILITY = np.array([16.0, 20.3, 24.8, 27.1, 21.0, 20.0, 18.7]) / 100
MARKET = dict(
    zip(NAMES, (0.016, 0.022, 0.052, 0.055, 0.116, 0.124, 0.615), strict=True)
)
SIGMA = CORRELATION * np.outer(VOLATILITY, VOLATILITY)
GERMANY = ({"GER": 1.0, "FRA": -0.295, "UKG": -0.705}, 0.05)


def prior(kind="simple", cash=0.0):
    return ReturnModel(
        assets=NAMES,
        mean=np.zeros(7),
        covariance=SIGMA / 252,
        tail_dof=np.inf,
        return_kind=kind,
        periods_per_year=252.0,
        cash_rate=cash,
        mean_kind="zero_excess",
        universe=Universe(NAMES, quote_currency=("USD",) * 7),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )


def means(model):
    return model.mean * 252


def test_implied_means_of_the_published_example():
    got = black_litterman(prior(), market_weights=MARKET)
    published = [3.9, 6.9, 8.4, 9.0, 4.3, 6.8, 7.6]
    # Printed to a tenth of a per cent, from inputs rounded to as much.
    np.testing.assert_allclose(100 * means(got), published, atol=0.06)


def test_the_view_on_germany_of_the_published_example():
    got = black_litterman(prior(), [GERMANY], market_weights=MARKET)
    published = [4.3, 7.6, 9.3, 11.0, 4.5, 7.0, 8.1]
    np.testing.assert_allclose(100 * means(got), published, atol=0.06)
    w = np.linalg.solve(2.5 * got.covariance * 252, means(got))
    weights = [1.5, 2.1, -4.0, 35.4, 11.0, -9.5, 58.6]
    np.testing.assert_allclose(100 * w, weights, atol=0.15)


def test_the_posterior_is_that_of_generalised_least_squares():
    """Theil's mixed estimation: prior and views stacked as one regression."""
    views = [GERMANY, ({"USA": 1.0}, 0.10)]
    c = np.array([0.3, 0.8])
    got = black_litterman(prior(), views, c, market_weights=MARKET)
    P = np.zeros((2, 7))
    P[0, [3, 2, 5]] = 1.0, -0.295, -0.705
    P[1, 6] = 1.0
    Pi = 2.5 * SIGMA @ np.array(list(MARKET.values()))
    prior_precision = np.linalg.inv(0.05 * SIGMA)
    omega = (1 - c) / c * np.diagonal(0.05 * P @ SIGMA @ P.T)
    H = prior_precision + P.T @ (P / omega[:, None])
    mu = np.linalg.solve(H, prior_precision @ Pi + P.T @ ([0.05, 0.10] / omega))
    np.testing.assert_allclose(means(got), mu, rtol=1e-8)
    np.testing.assert_allclose(
        got.covariance * 252, SIGMA + np.linalg.inv(H), rtol=1e-8, atol=1e-12
    )


def test_a_certain_view_holds_exactly_and_a_weak_one_does_nothing():
    sure = black_litterman(prior(), [GERMANY], 1.0, market_weights=MARKET)
    mu = dict(zip(NAMES, means(sure), strict=True))
    spread = mu["GER"] - 0.295 * mu["FRA"] - 0.705 * mu["UKG"]
    assert spread == pytest.approx(0.05, abs=1e-12)
    weak = black_litterman(prior(), [GERMANY], 1e-9, market_weights=MARKET)
    none = black_litterman(prior(), market_weights=MARKET)
    np.testing.assert_allclose(means(weak), means(none), atol=1e-9)


@given(c=st.floats(0.05, 0.95), q=st.floats(-0.2, 0.2))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_single_view_is_met_in_proportion_to_its_confidence(c, q):
    """P mu = P Pi + c (Q - P Pi): what confidence means (Walters 2014)."""
    none = means(black_litterman(prior(), market_weights=MARKET))
    got = means(black_litterman(prior(), {"JAP": q}, c, market_weights=MARKET))
    assert got[4] == pytest.approx(none[4] + c * (q - none[4]), abs=1e-10)


def test_log_returns_have_the_same_arithmetic_means():
    simple = black_litterman(prior(cash=0.04), [GERMANY], market_weights=MARKET)
    log = black_litterman(prior("log", cash=0.04), [GERMANY], market_weights=MARKET)
    variance = np.diagonal(log.dense_covariance()) * 252
    np.testing.assert_allclose(
        np.expm1(log.mean * 252 + 0.5 * variance), means(simple), rtol=1e-10
    )
    assert log.mean_kind == "given"
    drawn = simulate(log, 40_000, horizon=252, seed=0)
    found = drawn.returns[:, :7].mean(axis=0)
    error = drawn.returns[:, :7].std(axis=0) / np.sqrt(40_000)
    assert (np.abs(found - means(simple)) < 4 * error).all()


def test_a_peer_agrees():
    """skfolio starts from a mean of its own: market weights that imply it match."""
    skfolio = pytest.importorskip("skfolio.prior")
    X = np.random.default_rng(0).multivariate_normal(np.zeros(7), SIGMA / 252, 2000)
    columns = [f"a{i}" for i in range(7)]
    peer = skfolio.BlackLitterman(
        views=["a3 - 0.295*a2 - 0.705*a5 == 0.0002"],
        prior_estimator=skfolio.EmpiricalPrior(),
        tau=0.05,
    ).fit(pd.DataFrame(X, columns=columns))
    theirs = peer.return_distribution_
    start = skfolio.EmpiricalPrior().fit(X).return_distribution_
    implied = np.linalg.solve(2.5 * start.covariance, start.mu)
    mine = black_litterman(
        replace(prior(), covariance=start.covariance),
        [(GERMANY[0], 0.0002 * 252)],
        market_weights=dict(zip(NAMES, implied, strict=True)),
    )
    np.testing.assert_allclose(mine.mean, theirs.mu, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mine.covariance, theirs.covariance, rtol=1e-6)


@pytest.mark.parametrize(
    ("views", "confidences", "options", "words"),
    [
        ({"XXX": 0.1}, 0.5, {}, "a view names an asset that the model does not have"),
        ({"USA": float("nan")}, 0.5, {}, "a view is not a number"),
        ({"USA": 0.1}, 0.0, {}, r"a confidence lies in \(0, 1\]"),
        ({"USA": 0.1}, [0.5, 0.5], {}, "one confidence for each view"),
        ({"USA": 0.1}, 0.5, {"tau": 0.0}, "tau must be positive"),
        ({"USA": 0.1}, 0.5, {"market_weights": {"XXX": 1.0}}, "market_weights names"),
        ([({"USA": 0.0}, 0.1)], 0.5, {}, "a view holds no finite weight"),
        ({"USA": -20.0}, 1.0, {}, "a posterior mean loses everything"),
    ],
)
def test_bad_input(views, confidences, options, words):
    with pytest.raises(UsageError, match=words):
        black_litterman(
            prior("log"), views, confidences, **({"market_weights": MARKET} | options)
        )
