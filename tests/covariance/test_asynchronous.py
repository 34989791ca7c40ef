"""Asynchronous closes: simulated with a known truth, then S&P 500 against Nikkei."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import ModelError, UsageError
from engine.covariance import asynchronous

RHO, F = 0.6, 0.25
LATER = (1260, 390)  # New York 21:00, Tokyo 06:30
BEM = "burns_engle_mezrich"
ALL = np.ones((2, 2), dtype=bool)


def simulate(rng, T, *, rho=RHO, f=F, vol=(0.01, 0.013), draws=1):
    """(draws, T, 2): the second market closes earlier and shares ``f`` of a day."""
    L = np.linalg.cholesky([[1.0, rho], [rho, 1.0]])
    early = np.sqrt(f) * rng.standard_normal((draws, T + 1, 2)) @ L.T
    late = np.sqrt(1 - f) * rng.standard_normal((draws, T + 1, 2)) @ L.T
    first = early[:, 1:, 0] + late[:, 1:, 0]
    second = late[:, :-1, 1] + early[:, 1:, 1]
    return np.stack([first, second], axis=2) * np.array(vol)


def correlation(S):
    S = np.asarray(S)
    return float(S[0, 1] / np.sqrt(S[0, 0] * S[1, 1]))


def one_step(rho, f):
    """Correlation that one regression on yesterday's returns tends to."""
    G0 = np.array([[1.0, rho * f], [rho * f, 1.0]])
    G1 = np.array([[0.0, 0.0], [rho * (1 - f), 0.0]])
    M = G1 @ np.linalg.inv(G0)
    E = G0 - M @ G1.T - G1 @ M.T + M @ G0 @ M.T
    return correlation((np.eye(2) + M) @ E @ (np.eye(2) + M).T)


CASES = [
    ("same date", None, RHO * F),
    ("overlapping 2", {"lags": 1}, RHO * (1 + F) / 2),
    ("overlapping 5", {}, RHO * (4 + F) / 5),
    ("overlapping 10", {"lags": 9}, RHO * (9 + F) / 10),
    ("newey_west 1", {"method": "newey_west", "lags": 1}, RHO * (1 - (1 - F) / 2)),
    ("newey_west 5", {"method": "newey_west"}, RHO * (1 - (1 - F) / 6)),
    ("lag_sum 1", {"method": "lag_sum"}, RHO),
    ("lag_sum 1, one-day", {"method": "lag_sum", "normalise": "one_day"}, RHO),
    ("bem, 1 iteration", {"method": BEM, "later": LATER}, one_step(RHO, F)),
    ("bem, 10", {"method": BEM, "later": LATER, "iterations": 10}, RHO),
    ("bem unrestricted, 10", {"method": BEM, "later": ALL, "iterations": 10}, RHO),
]


SPREAD = dict(
    zip(
        [name for name, _, _ in CASES],
        [0.034, 0.033, 0.042, 0.054, 0.033, 0.045, 0.044, 0.053, 0.030, 0.030, 0.042],
        strict=True,
    )
)
"""Standard deviation of the estimate over samples of 1,000 days, measured."""


@pytest.mark.parametrize(("name", "options", "expected"), CASES)
def test_bias_is_the_one_stated_and_the_error_is_known(name, options, expected):
    """Mean over draws within 2 standard errors of the limit in the docstring."""
    draws = 60 if options and "iterations" in options else 300
    samples = simulate(np.random.default_rng(11), 1000, draws=draws)
    estimate = (
        (lambda x: np.cov(x, rowvar=False))
        if options is None
        else (lambda x: asynchronous(x, **options))
    )
    got = np.array([correlation(estimate(x)) for x in samples])
    spread = got.std(ddof=1)
    assert abs(got.mean() - expected) <= 2 * spread / np.sqrt(draws)
    assert spread == pytest.approx(SPREAD[name], rel=0.15)


@given(rho=st.floats(-0.9, 0.9), f=st.floats(0.0, 1.0))
def test_one_iteration_is_too_low_by_no_more_than_stated(rho, f):
    got = one_step(rho, f)
    assert abs(got) <= abs(rho) + 1e-12
    share = 0.975 if abs(rho) <= 0.7 else 0.958 if abs(rho) <= 0.8 else 0.92
    assert abs(got) >= share * abs(rho)


def test_same_date_correlation_is_what_is_wrong():
    (X,) = simulate(np.random.default_rng(3), 2500)
    assert correlation(np.cov(X, rowvar=False)) < 0.25
    assert correlation(asynchronous(X)) > 0.4


# Identities -------------------------------------------------------------------


def test_daily_volatilities_are_kept_whatever_the_method():
    (X,) = simulate(np.random.default_rng(4), 400)
    daily = X.var(axis=0, ddof=1)
    for _, options, _ in CASES[1:]:
        np.testing.assert_allclose(np.diagonal(asynchronous(X, **options)), daily)
    long_run = asynchronous(X, volatility="long_run")
    windows = np.lib.stride_tricks.sliding_window_view(X, 5, axis=0).sum(-1)
    np.testing.assert_allclose(long_run, np.cov(windows, rowvar=False) / 5)


def test_overlapping_is_newey_west_but_for_the_edges():
    (X,) = simulate(np.random.default_rng(5), 5000)
    for k in (2, 5, 10):
        a = correlation(asynchronous(X, lags=k - 1))
        b = correlation(asynchronous(X, method="newey_west", lags=k - 1))
        assert a == pytest.approx(b, abs=0.004)


def test_newey_west_and_lag_sum_match_the_obvious_loop():
    (X,) = simulate(np.random.default_rng(6), 300)
    Y = X - X.mean(axis=0)
    for method, m in (("newey_west", 3), ("lag_sum", 2)):
        V = np.zeros((2, 2))
        for t in range(300):
            V += np.outer(Y[t], Y[t])
            for j in range(1, m + 1):
                if t >= j:
                    w = 1 - j / (m + 1) if method == "newey_west" else 1.0
                    G = np.outer(Y[t], Y[t - j])
                    V += w * (G + G.T)
        got = asynchronous(X, method=method, lags=m, volatility="long_run")
        np.testing.assert_allclose(got, V / 300)


def test_the_true_moving_average_is_the_lag_sum():
    """``(I + M) E (I + M)' = G0 + G1 + G1'``: why the own entry cannot be dropped."""
    (X,) = simulate(np.random.default_rng(7), 40_000)
    bem = asynchronous(X, method=BEM, later=LATER, iterations=10)
    lag_sum = asynchronous(X, method="lag_sum")
    assert correlation(bem) == pytest.approx(correlation(lag_sum), abs=0.015)


def test_later_as_times_as_numbers_and_as_a_table():
    (X,) = simulate(np.random.default_rng(8), 300)
    table = np.array([[False, False], [True, False]])
    times = np.array(["2025-01-27T21:00", "2025-01-27T06:30"], "datetime64[m]")
    want = asynchronous(X, method=BEM, later=LATER)
    for later in (table, times, np.array(LATER, float)):
        np.testing.assert_array_equal(asynchronous(X, method=BEM, later=later), want)


def test_markets_that_close_together_are_left_alone():
    (X,) = simulate(np.random.default_rng(9), 300)
    got = asynchronous(X, method=BEM, later=(1260, 1260))
    np.testing.assert_allclose(
        correlation(got), correlation(np.cov(X[1:], rowvar=False))
    )


def test_the_latest_market_keeps_its_own_autocorrelation():
    """Unrestricted, the fit would absorb it."""
    rng = np.random.default_rng(10)
    (X,) = simulate(rng, 3000)
    Y = X.copy()
    Y[1:, 0] -= 0.3 * X[:-1, 0]
    restricted = asynchronous(Y, method=BEM, later=LATER, volatility="long_run")
    free = asynchronous(Y, method=BEM, later=ALL, volatility="long_run")
    assert restricted[0, 0] == pytest.approx(Y[:, 0].var(), rel=0.01)
    assert free[0, 0] < 0.8 * Y[:, 0].var()


@given(seed=st.integers(0, 50), scale=st.sampled_from([1e-6, 3.0, 1e4]))
def test_scale_permutation_symmetry_and_semi_definiteness(seed, scale):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((60, 6)) @ rng.standard_normal((6, 6))
    closes = rng.integers(0, 3, 6)
    order = rng.permutation(6)
    for options in (
        {},
        {"method": "newey_west"},
        {"method": "lag_sum", "normalise": "one_day"},
        {"method": BEM, "later": closes},
    ):
        S = asynchronous(X, **options)
        np.testing.assert_array_equal(S, S.T)
        top = np.linalg.eigvalsh(S)[-1]
        assert np.linalg.eigvalsh(S)[0] >= -1e-9 * top
        scaled = asynchronous(scale * X, **options)
        np.testing.assert_allclose(scaled, scale**2 * S, rtol=1e-6, atol=0)
        if "later" in options:
            options = options | {"later": closes[order]}
        mixed = asynchronous(X[:, order], **options)
        np.testing.assert_allclose(
            mixed, S[np.ix_(order, order)], rtol=1e-5, atol=1e-7 * top
        )


def test_an_indefinite_lag_sum_is_repaired_and_keeps_its_volatilities():
    rng = np.random.default_rng(12)
    common = rng.standard_normal(80)
    X = np.column_stack([np.roll(common, k) for k in (0, 1, 2)])
    X += 0.3 * rng.standard_normal(X.shape)
    S = asynchronous(X, method="lag_sum", normalise="one_day")
    assert np.linalg.eigvalsh(S)[0] > 0
    np.testing.assert_allclose(np.diagonal(S), X.var(axis=0, ddof=1))


def test_more_assets_than_dates_and_a_constant_column():
    rng = np.random.default_rng(13)
    X = rng.standard_normal((40, 60))
    X[:, 7] = 0.0
    S = asynchronous(X)
    assert np.linalg.eigvalsh(S)[0] >= -1e-12
    assert not S[7].any()


def test_a_table_in_a_table_out():
    (X,) = simulate(np.random.default_rng(14), 100)
    frame = pd.DataFrame(X, columns=["SPX", "N225"])
    got = asynchronous(frame)
    assert list(got) == list(got.index) == ["SPX", "N225"]
    np.testing.assert_array_equal(got, asynchronous(X))


# Refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "daily"}, "unknown method"),
        ({"normalise": "none"}, "unknown normalise"),
        ({"volatility": "weekly"}, "unknown volatility"),
        ({"normalise": "one_day"}, "belongs to method='lag_sum'"),
        ({"method": BEM}, "which market closes later"),
        ({"later": LATER}, "belong to burns_engle_mezrich"),
        ({"iterations": 2}, "belong to burns_engle_mezrich"),
        ({"lags": 0}, "lags must be at least 1"),
        ({"lags": True}, "lags must be at least 1"),
        ({"lags": 1.5}, "lags must be at least 1"),
        ({"method": BEM, "later": LATER, "lags": 2}, "one lag"),
        ({"method": BEM, "later": LATER, "iterations": 0}, "iterations must be"),
        ({"method": BEM, "later": ("21:00", "06:30")}, "must be numbers or times"),
        ({"method": BEM, "later": (1.0, np.nan)}, "must be numbers or times"),
        ({"method": BEM, "later": (1, 2, 3)}, "a closing time per asset"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    (X,) = simulate(np.random.default_rng(15), 60)
    with pytest.raises(UsageError, match=words):
        asynchronous(X, **options)


def test_what_cannot_be_estimated_is_refused():
    (X,) = simulate(np.random.default_rng(16), 60)
    with pytest.raises(ModelError, match="too few observations"):
        asynchronous(X[:10])
    wide = np.random.default_rng(17).standard_normal((30, 20))
    with pytest.raises(ModelError, match="Synchronise on market indices"):
        asynchronous(wide, method=BEM, later=np.arange(20))
    swing = np.resize([1.0, -1.0], 60)[:, None] + 0.01 * X
    with pytest.raises(ModelError, match="lag_sum variance is not positive"):
        asynchronous(swing, method="lag_sum")
    explosive = np.cumsum(np.cumsum(X, axis=0), axis=0)
    with pytest.raises(ModelError, match="cannot be inverted"):
        asynchronous(explosive, method=BEM, later=ALL, iterations=10)


# Real data --------------------------------------------------------------------


def log_returns(real_data, ticker):
    table = pd.read_csv(real_data / "index_levels.csv.gz", index_col="date")
    return np.log(table[["SPX", ticker]].dropna()).diff().dropna().to_numpy()


@pytest.fixture(scope="module")
def levels(real_data):
    return log_returns(real_data, "N225")


MEASURED = [
    ("overlapping 2", {"lags": 1}, 0.48),
    ("overlapping 5", {}, 0.63),
    ("overlapping 10", {"lags": 9}, 0.69),
    ("newey_west 1", {"method": "newey_west", "lags": 1}, 0.48),
    ("newey_west 2", {"method": "newey_west", "lags": 2}, 0.55),
    ("newey_west 5", {"method": "newey_west"}, 0.65),
    ("lag sum, one-day", {"method": "lag_sum", "normalise": "one_day"}, 0.67),
    ("lag sum, consistent", {"method": "lag_sum"}, 0.86),
    ("bem, restricted", {"method": BEM, "later": LATER}, 0.67),
    ("bem, unrestricted", {"method": BEM, "later": ALL}, 0.74),
    ("bem, 10 iterations", {"method": BEM, "later": LATER, "iterations": 10}, 0.71),
]


def test_the_s_and_p_and_the_nikkei_on_one_date_and_one_day_apart(levels):
    same = np.corrcoef(levels, rowvar=False)[0, 1]
    lagged = np.corrcoef(levels[:-1, 0], levels[1:, 1])[0, 1]
    assert [round(float(v), 2) for v in (same, lagged)] == [0.19, 0.41]


@pytest.mark.parametrize(("name", "options", "expected"), MEASURED)
def test_the_s_and_p_and_the_nikkei_by_every_method(levels, name, options, expected):
    """Methods section 5, 2016-2025, log returns on common dates."""
    got = correlation(asynchronous(levels, **options))
    assert round(got, 2) == expected, name


@pytest.mark.parametrize("ticker", ["N225", "TWII", "HSI", "DAX"])
def test_the_default_agrees_with_non_overlapping_weeks(real_data, ticker):
    """Within 2 standard errors of the difference, from a block bootstrap.

    The same test rejects the same-date join, so it has the power to.
    """
    from arch.bootstrap import StationaryBootstrap

    def weekly(x):
        n = len(x) // 5
        sums = x[len(x) - 5 * n :].reshape(n, 5, 2).sum(axis=1)
        return np.corrcoef(sums, rowvar=False)[0, 1]

    def differences(x):
        same = np.corrcoef(x, rowvar=False)[0, 1]
        return np.array([correlation(asynchronous(x)), same]) - weekly(x)

    returns = log_returns(real_data, ticker)
    bootstrap = StationaryBootstrap(40, returns, seed=1)
    draws = [differences(data[0]) for data, _ in bootstrap.bootstrap(60)]
    error = np.std(draws, axis=0, ddof=1)
    default, same = np.abs(differences(returns)) / error
    assert default < 2.0 < 4.0 < same
