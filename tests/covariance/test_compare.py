"""Scores of covariance forecasts against closed forms, peers and time."""

import pickle

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import engine.covariance as covariance
from engine.covariance import Comparison, compare, ewma, factor, ledoit_wolf, sample
from engine.covariance._compare import DEFAULTS
from engine.covariance._named import named, resolve
from engine.covariance._scores import SCORES, lags_for, score, standard_error
from engine.data.panel import PricePanel
from engine.data.universe import Universe
from engine.errors import DataError, ModelError, UsageError

NAMES = list(SCORES)


def returns(T=400, N=5, seed=0):
    rng = np.random.default_rng(seed)
    L = np.tril(rng.normal(size=(N, N))) + 2 * np.eye(N)
    return 0.01 * rng.normal(size=(T, N)) @ L.T


def identity(X):
    return np.eye(X.shape[1]) * X.var()


# ---------------------------------------------------------------- one forecast


def test_scores_by_hand():
    S, R = sample(returns(50, 4)), returns(7, 4, seed=1)
    values, distances = score(S, R, 6.0)
    got = dict(zip(NAMES, values, strict=True))
    law = stats.multivariate_normal(np.zeros(4), S)
    assert got["log_likelihood"] == pytest.approx(law.logpdf(R).mean())
    student = stats.multivariate_t(np.zeros(4), S * 4 / 6, df=6)
    assert got["t_log_likelihood"] == pytest.approx(student.logpdf(R).mean())
    C = R.T @ R / 7
    P = np.linalg.inv(S)
    stein = (np.linalg.slogdet(S)[1] + np.trace(P @ C)) / 4
    assert got["qlike"] == pytest.approx(stein)
    assert stein == pytest.approx(-2 * got["log_likelihood"] / 4 - np.log(2 * np.pi))
    variance = np.diag(S)
    assert got["variance_qlike"] == pytest.approx(
        np.mean(np.log(variance) + np.diag(C) / variance)
    )
    w = P.sum(axis=0) / P.sum()
    assert got["min_variance"] == pytest.approx(w @ C @ w)
    assert got["min_variance_bias"] == pytest.approx((w @ C @ w) / (w @ S @ w))
    d2 = np.einsum("ti,ij,tj->t", R, P, R)
    np.testing.assert_allclose(distances, d2 / 4)
    assert got["calibration"] == pytest.approx(d2.mean() / 4)
    limit = 4 * (4 / 6) * stats.f(4, 6).ppf(0.95)
    assert got["beyond_95"] == pytest.approx((d2 > limit).mean())
    plain, _ = score(S, R, None)
    gaussian = dict(zip(NAMES, plain, strict=True))
    assert np.isnan(gaussian["t_log_likelihood"])
    assert gaussian["beyond_95"] == (d2 > stats.chi2(4).ppf(0.95)).mean()


def test_a_right_forecast_is_calibrated():
    rng = np.random.default_rng(2)
    S = sample(returns(100, 10))
    n = 20_000
    R = rng.multivariate_normal(np.zeros(10), S, size=n)
    got = dict(zip(NAMES, score(S, R, None)[0], strict=True))
    assert got["calibration"] == pytest.approx(1.0, abs=4 * np.sqrt(2 / 10 / n))
    assert got["beyond_95"] == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / n))
    assert got["min_variance_bias"] == pytest.approx(1.0, abs=4 * np.sqrt(2 / n))
    T = stats.multivariate_t(np.zeros(10), S * 3 / 5, df=5, seed=3).rvs(n)
    heavy = dict(zip(NAMES, score(S, T, 5.0)[0], strict=True))
    assert heavy["beyond_95"] == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / n))
    assert heavy["t_log_likelihood"] > heavy["log_likelihood"]


@given(seed=st.integers(0, 10_000), N=st.integers(1, 6), size=st.floats(0.2, 5.0))
def test_proper_scores_favour_the_true_covariance(seed, N, size):
    """In expectation: the rows are 2 N points whose second moment is S itself."""
    rng = np.random.default_rng(seed)
    L = np.tril(rng.normal(size=(N, N))) + 2 * np.eye(N)
    R = np.sqrt(N) * np.vstack([L.T, -L.T])  # R'R / (2 N) = L L'
    M = np.tril(rng.normal(size=(N, N))) * size + np.eye(N)
    right = dict(zip(NAMES, score(L @ L.T, R, None)[0], strict=True))
    wrong = dict(zip(NAMES, score(M @ M.T, R, None)[0], strict=True))
    assert right["log_likelihood"] >= wrong["log_likelihood"] - 1e-9
    assert right["qlike"] <= wrong["qlike"] + 1e-9
    assert right["variance_qlike"] <= wrong["variance_qlike"] + 1e-9
    assert right["min_variance"] <= wrong["min_variance"] * (1 + 1e-9)
    assert right["calibration"] == pytest.approx(1.0)
    assert right["min_variance_bias"] == pytest.approx(1.0)


@pytest.mark.parametrize("lags", [0, 1, 5])
def test_standard_error_is_that_of_statsmodels(lags):
    x = np.cumsum(np.random.default_rng(4).normal(size=80)) * 0.1
    fit = sm.OLS(x, np.ones(80)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True}
    )
    assert standard_error(x, lags) == pytest.approx(fit.bse[0])


def test_lags_cover_the_returns_that_forecasts_share():
    assert lags_for(100, 21, 21) == 4
    assert lags_for(100, 21, 5) == 4
    assert lags_for(100, 21, 1) == 20
    assert lags_for(3, 21, 1) == 2


# ---------------------------------------------------------------- the walk forward


def test_each_forecast_sees_its_window_and_is_scored_on_what_follows():
    X = returns(100, 3)
    result = compare(X, {"s": sample}, window=40, horizon=10, step=15)
    np.testing.assert_array_equal(result.origins, [39, 54, 69, 84])
    for m, end in enumerate([40, 55, 70, 85]):
        expected, distances = score(sample(X[end - 40 : end]), X[end : end + 10], None)
        np.testing.assert_array_equal(
            result.values[m, 0], np.delete(expected, NAMES.index("t_log_likelihood"))
        )
        np.testing.assert_array_equal(result.distances[m, 0], distances)
    growing = compare(X, {"s": sample}, window=None, horizon=10)
    np.testing.assert_array_equal(growing.origins, [49, 59, 69, 79, 89])
    assert growing.values[1, 0, 0] == score(sample(X[:60]), X[60:70], None)[0][0]


def test_the_future_changes_no_earlier_score():
    X = returns(300, 4)
    seen = []

    def spy(Y):
        seen.append(Y.copy())
        return sample(Y)

    clean = compare(X, {"spy": spy, "e": ewma}, window=60, horizon=10)
    for Y, row in zip(seen, clean.origins, strict=True):
        np.testing.assert_array_equal(Y, X[row - 59 : row + 1])
    broken = X.copy()
    broken[150:] = 1e3 * np.random.default_rng(1).normal(size=(150, 4))
    other = compare(broken, {"spy": sample, "e": ewma}, window=60, horizon=10)
    whole = clean.origins + 10 < 150  # every scored row lies before the corruption
    assert whole.sum() == 9
    np.testing.assert_array_equal(clean.values[whole], other.values[whole])
    assert not np.allclose(clean.values[~whole], other.values[~whole])


def test_workers_give_the_same_bits():
    X = returns(200, 6)
    options = {"window": 60, "horizon": 20, "dof": 5.0}
    estimators = {"sample": "sample", "lambda": lambda Y: factor(Y, 1)}
    one = compare(X, estimators, n_jobs=1, **options)
    two = compare(X, estimators, n_jobs=2, **options)
    np.testing.assert_array_equal(one.values, two.values)
    np.testing.assert_array_equal(one.distances, two.distances)


def test_names_mean_what_they_mean_in_fit():
    X = returns(60, 4)
    for name, target in (
        ("ledoit_wolf", "constant_correlation"),
        ("ledoit_wolf_identity", "identity"),
        ("ledoit_wolf_single_index", "single_index"),
    ):
        np.testing.assert_array_equal(named(name)(X), ledoit_wolf(X, target))
    for name in DEFAULTS:
        named(name)


def test_any_public_estimator_of_observations_alone_is_a_name():
    found = resolve(["asynchronous", "combined", "factor", "regime_adjusted", sample])
    assert list(found)[-1] == "sample"
    assert found["factor"] is covariance.factor
    for name in ("split", "compare", "factor_model", "theme_correlation", "blend"):
        with pytest.raises(UsageError, match="unknown covariance estimator"):
            named(name)


def test_progress_is_told_after_each_forecast():
    told = []
    compare(returns(100, 2), "sample", window=40, horizon=20,
            progress=lambda *a: told.append(a))  # fmt: skip
    assert told == [(1, 3, "39"), (2, 3, "59"), (3, 3, "79")]


def test_a_frame_is_scored_by_date():
    X = returns(100, 3)
    dates = pd.date_range("2024-01-01", periods=100, freq="B")
    frame = pd.DataFrame(X, index=dates, columns=list("ABC"))
    got = compare(frame, ["sample", "ewma"], window=40, horizon=20)
    np.testing.assert_array_equal(
        got.values, compare(X, ["sample", "ewma"], window=40, horizon=20).values
    )
    assert got.assets == tuple("ABC")
    assert got.origins[0] == np.datetime64("2024-02-23")
    assert "2024-02-23" in repr(got)
    with pytest.raises(DataError, match=r"order of time.*date 2024-05-16"):
        compare(frame.iloc[::-1], "sample", window=40)


# ------------------------------------------------------------------------- panels


def panel(T=160, venues=("NYSE", "NYSE", "NYSE")):
    rng = np.random.default_rng(6)
    prices = 100 * np.exp(np.cumsum(0.01 * rng.normal(size=(T, 3)), axis=0))
    tickers = ("A", "B", "C")
    return PricePanel(
        dates=np.busday_offset("2024-01-02", np.arange(T)),
        prices=prices,
        universe=Universe(tickers, venue=venues, quote_currency=("USD",) * 3),
        base_currency="USD",
        price_basis="total_return",
    )


def test_panel_with_one_clock_is_scored_on_daily_log_returns():
    P = panel()
    X = np.diff(np.log(P.prices), axis=0)
    got = compare(P, "sample", window=60, horizon=20)
    np.testing.assert_array_equal(
        got.values, compare(X, "sample", window=60, horizon=20).values
    )
    assert got.origins[0] == P.dates[60] and got.span == 1
    assert got.note.startswith("daily log returns in USD")


def test_panel_with_several_clocks_never_scores_a_session_it_has_seen():
    P = panel(venues=("NYSE", "XTKS", "NYSE"))
    logs = np.log(P.prices)
    five = logs[5:] - logs[:-5]
    got = compare(P, "sample", window=60, horizon=4)
    assert got.span == 5 and got.step == 20
    expected, _ = score(sample(five[:60]), five[[64, 69, 74, 79]], None)
    assert got.values[0, 0, 0] == pytest.approx(expected[0])
    # The last session seen is the close of row 64; the first scored starts there.
    np.testing.assert_allclose(five[64], logs[69] - logs[64])
    assert got.origins[0] == P.dates[64]
    weekly = compare(P, "sample", window=10, horizon=4, frequency="weekly")
    assert weekly.span == 1


# --------------------------------------------------------------------- comparison


def toy(values, score="log_likelihood", **options):
    """A comparison with given values of one score, (M, E)."""
    values = np.asarray(values, float)
    M, E = values.shape
    scores = tuple(s for s in SCORES if s != "t_log_likelihood")
    table = np.full((M, E, len(scores)), np.nan)
    table[np.isfinite(values)] = 1.0
    table[:, :, scores.index(score)] = values
    options = {"rank_by": score, **options}
    failures = tuple((f"e{e}", str(m), "no") for m, e in np.argwhere(np.isnan(values)))
    return Comparison(
        estimators=tuple(f"e{e}" for e in range(E)),
        assets=("A", "B"),
        origins=np.arange(M),
        scores=scores,
        values=table,
        distances=np.ones((M, E, 1)),
        failures=failures,
        window=10,
        step=1,
        horizon=1,
        **options,
    )


def test_differences_are_paired():
    rng = np.random.default_rng(7)
    common = 10 * rng.normal(size=120)  # the market's own ups and downs
    a = common + rng.normal(size=120)
    b = a - 0.5 + 0.1 * rng.normal(size=120)
    result = toy(np.column_stack([a, b]))
    row = result.differences().iloc[1]
    fit = sm.OLS(b - a, np.ones(120)).fit(
        cov_type="HAC",
        cov_kwds={"maxlags": lags_for(120, 1, 1), "use_correction": True},
    )
    assert row["difference"] == pytest.approx(fit.params[0])
    assert row["t"] == pytest.approx(fit.tvalues[0])
    assert not row["tied"]
    # The scores themselves are far too noisy to tell.
    assert result.standard_errors("log_likelihood")[0] > 0.5
    frame = result.to_frame()
    assert list(frame["estimator"]) == ["e0", "e1"]
    assert frame["tied"].tolist() == [True, False]


def test_ranking_is_in_tiers_of_what_cannot_be_told_apart():
    rng = np.random.default_rng(8)
    values = rng.normal([1.0, 0.95, 0.0, 0.01], [0.1, 1.0, 0.1, 0.1], size=(100, 4))
    result = toy(values)
    assert result.ranking()[0] == ("e0", "e1")
    assert set(result.ranking()[1]) == {"e2", "e3"}
    low = toy(values, score="variance_qlike")
    assert set(low.ranking()[0]) == {"e2", "e3"}
    assert "e0 = e1 > " in repr(result)


def test_an_estimator_that_fails_ranks_after_those_that_do_not():
    values = np.column_stack([np.arange(20.0), np.arange(20.0) + 5])
    values[3, 1] = np.nan
    result = toy(values)
    assert result.ranking() == (("e0",), ("e1",))
    assert result.to_frame()["failed"].tolist() == [0, 1]
    row = result.differences(against="e0").iloc[1]
    assert row["n"] == 19 and row["difference"] == pytest.approx(5.0)
    assert "e1 failed at 1 of 20" in repr(result)


def test_min_variance_is_a_volatility_with_its_own_error():
    rng = np.random.default_rng(9)
    variance = rng.chisquare(5, size=(400, 2)) * 1e-5 * [1.0, 4.0]
    result = toy(variance, score="min_variance")
    np.testing.assert_allclose(
        result.mean("min_variance"), np.sqrt(variance.mean(axis=0))
    )
    # Bootstrap of the volatility and of the difference of two.
    draws = rng.integers(0, 400, size=(4_000, 400))
    v = np.sqrt(variance[draws].mean(axis=1))
    np.testing.assert_allclose(
        result.standard_errors("min_variance"), v.std(axis=0), rtol=0.25
    )
    row = result.differences().iloc[1]
    gap = v[:, 1] - v[:, 0]
    assert row["difference"] == pytest.approx(gap.mean(), rel=0.05)
    assert row["standard_error"] == pytest.approx(gap.std(), rel=0.15)
    back = result.differences(against="e1").iloc[0]
    assert back["difference"] == pytest.approx(-row["difference"])
    assert back["standard_error"] == pytest.approx(row["standard_error"])


def test_baseline_and_too_few_origins_to_tell():
    result = toy([[1.0, 5.0], [1.1, 5.2]], baseline="e0")
    table = result.differences()
    assert table["difference"].tolist() == pytest.approx([0.0, 4.05])
    assert np.isnan(table["t"][1]) and table["tied"][1]
    assert result.ranking() == (("e1", "e0"),)
    with pytest.raises(UsageError, match="not proper"):
        result.ranking("calibration")
    with pytest.raises(UsageError, match="unknown score"):
        result.mean("beauty")
    with pytest.raises(UsageError, match="unknown estimator"):
        result.differences(against="e9")


def test_result_is_frozen_and_pickles():
    result = compare(returns(), ["sample", "ewma"], window=100)
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_array_equal(again.values, result.values)
    assert not again.values.flags.writeable and not again.origins.flags.writeable
    assert repr(again) == repr(result)
    assert "<table" in result._repr_html_()
    table = result.calibration()
    assert table["estimator"].tolist() == ["(right forecast)", "sample", "ewma"]
    assert table["mean"][1] == pytest.approx(result.mean("calibration")[0])
    x = result.distances[:, 0].ravel()
    peer = stats.kstest(5 * x, stats.chi2(5).cdf)
    assert table["ks"][1] == pytest.approx(peer.statistic)


# ---------------------------------------------------------------- failures and input


def test_a_failure_is_recorded_and_the_rest_goes_on():
    def breaks(X):
        raise RuntimeError("solver died")

    estimators = {
        "good": sample,
        "breaks": breaks,
        "nan": lambda X: np.full((5, 5), np.nan),
        "shape": lambda X: np.eye(4),
        "skew": lambda X: np.triu(np.ones((5, 5))) + np.eye(5),
        "singular": lambda X: np.ones((5, 5)),
        "negative": lambda X: -np.eye(5),
        "text": lambda X: "covariance",
        "writes": lambda X: X.fill(np.nan),
    }
    result = compare(returns(), estimators, window=100)
    reasons = {name: reason for name, _, reason in result.failures}
    assert reasons.keys() == set(estimators) - {"good"}
    assert reasons["breaks"] == "RuntimeError: solver died"
    assert "NaN" in reasons["nan"] and "shape" in reasons["shape"]
    assert "not symmetric" in reasons["skew"] and "singular" in reasons["singular"]
    assert "variance is not positive" in reasons["negative"]
    assert result.ranking() == (("good",),)
    np.testing.assert_array_equal(
        result.values[:, 0], compare(returns(), "sample", window=100).values[:, 0]
    )
    assert result.to_frame()["failed"].tolist()[0] == 0
    assert "breaks failed at 14 of 14" in repr(result)


def test_a_singular_sample_covariance_is_a_failure_not_a_likelihood():
    X = returns(100, 30)
    result = compare(X, ["sample", "ledoit_wolf_identity"], window=25, horizon=25)
    assert {name for name, _, _ in result.failures} == {"sample"}
    with pytest.raises(ModelError, match=r"every estimator failed.*singular"):
        compare(X, "sample", window=25, horizon=25)


@pytest.mark.parametrize(
    "options",
    [
        {"estimators": []},
        {"estimators": "oracle"},
        {"estimators": 3},
        {"estimators": [sample, sample]},
        {"estimators": {"a": 3}},
        {"estimators": {1: sample}},
        {"window": 0},
        {"horizon": 0},
        {"horizon": 2.5},
        {"step": -1},
        {"dof": 2.0},
        {"baseline": "ewma"},
        {"rank_by": "calibration"},
        {"rank_by": "t_log_likelihood"},
        {"n_jobs": 0},
        {"frequency": "daily"},
    ],
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError):
        compare(returns(), **{"estimators": "sample", "window": 100, **options})


def test_returns_that_cannot_be_are_named():
    X = returns()
    X[7, 2] = np.nan
    with pytest.raises(DataError, match="column 2, date row 7"):
        compare(X, "sample", window=100)
    with pytest.raises(ModelError, match=r"too few rows.*expected at least 421"):
        compare(returns(), "sample", window=400)


# ------------------------------------------------------------------------ real data


@pytest.fixture(scope="module")
def real_returns(real_data):
    """60 most traded S&P 500 members with every price 2018-2025, one share class."""
    prices = pd.read_parquet(real_data / "prices_us_listed.parquet").loc["2018":"2025"]
    volume = pd.read_parquet(real_data / "volume_us_sp500.parquet").reindex(
        prices.index
    )
    names = [
        c for c in prices
        if c in volume and c != "GOOG" and prices[c].notna().all()
    ]  # fmt: skip
    traded = (prices[names] * volume[names]).tail(252).median()
    chosen = traded.sort_values(ascending=False).index[:60]
    return np.log(prices[chosen]).diff().iloc[1:]


def test_on_real_returns_shrinkage_beats_the_sample_near_one_date_per_asset(
    real_returns,
):
    result = compare(
        real_returns,
        {
            **{n: n for n in ("sample", "ledoit_wolf", "ledoit_wolf_identity")},
            "ledoit_wolf_single_index": "ledoit_wolf_single_index",
            "factor": "factor",
            "equal volatility": identity,
        },
        window=66,
    )
    assert not result.failures
    table = result.differences(against="sample").set_index("estimator")
    shrunk = [n for n in result.estimators if n.startswith("ledoit_wolf")]
    assert (table.loc[shrunk, "t"] > 2.0).all()
    likelihood = dict(
        zip(result.estimators, result.mean("log_likelihood"), strict=True)
    )
    for name in ("min_variance", "variance_qlike"):
        against = result.differences(name, "ledoit_wolf").set_index("estimator")
        assert against.loc["equal volatility", "t"] > 2.0
    assert likelihood["ledoit_wolf"] > likelihood["equal volatility"]
    # Nearly singular: its optimiser believes in a risk far below what follows.
    bias = dict(zip(result.estimators, result.mean("min_variance_bias"), strict=True))
    assert bias["sample"] > 10 * bias["ledoit_wolf"] > 10


def test_on_real_returns_with_a_long_window(real_returns):
    result = compare(
        real_returns,
        ["sample", "ewma", "ledoit_wolf", "ledoit_wolf_single_index", "factor",
         "ewma_split", identity],
        window=504,
        dof=5.0,
    )  # fmt: skip
    assert not result.failures
    by_t = dict(zip(result.estimators, result.mean("t_log_likelihood"), strict=True))
    by_normal = dict(zip(result.estimators, result.mean("log_likelihood"), strict=True))
    assert all(by_t[n] > by_normal[n] for n in by_t)  # tails are fat
    against = result.differences(against="ledoit_wolf_single_index")
    worst = against.set_index("estimator")["t"]
    assert worst["identity"] < -2.0 and worst["ewma"] < -2.0
    # Forgetting in a month leaves 60 assets nearly singular: worse than no correlation.
    assert result.ranking()[-1] == ("ewma",) and result.ranking()[-2] == ("identity",)
    # Volatilities alone are another matter: there equal ones are the worst.
    assert "identity" in result.ranking("variance_qlike")[-1]
    assert "ewma" not in result.ranking("variance_qlike")[-1]


def test_ledoit_wolf_reference_is_not_the_default_of_the_function():
    """Names are those of `fit`; the function's own default is the identity."""
    X = returns(60, 4)
    np.testing.assert_array_equal(
        named("ledoit_wolf")(X), ledoit_wolf(X, "constant_correlation")
    )
