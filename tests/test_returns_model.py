"""Returns without invented prices, and the model fitted to them."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from engine.covariance import FactorCovariance, ledoit_wolf, sample
from engine.covariance._named import named, names
from engine.data.load import load_panel
from engine.data.universe import Universe
from engine.errors import DataError, ModelError, UsageError
from engine.model import ReturnModel, fit, fit_dof
from engine.montecarlo import simulate
from engine.returns import closes_together, compute, sessions_per_year

fit_all = partial(fit, window=None)
"""Every test but one brings less history than the default window of two years."""


def make_panel(logs, names=None, start="2000-01-03", venues=None, **options):
    """Panel of prices 100 exp(cumulated logs); NaN rows are closed sessions."""
    logs = np.asarray(logs, dtype=float)
    names = names or [f"A{i}" for i in range(logs.shape[1])]
    dates = pd.bdate_range(start, periods=len(logs))
    prices = 100 * np.exp(np.where(np.isnan(logs), 0.0, logs).cumsum(axis=0))
    prices[np.isnan(logs)] = np.nan
    universe = pd.DataFrame({"ticker": names, "quote_currency": "USD"})
    if venues:
        universe["venue"] = venues
    return load_panel(
        pd.DataFrame(prices, index=dates, columns=names),
        price_basis="total_return",
        universe=universe,
        **options,
    )


def normal(T, N, seed=0, sigma=0.01):
    return sigma * np.random.default_rng(seed).standard_normal((T, N))


def cash(panel, rate):
    return pd.DataFrame({"USD": rate}, index=pd.DatetimeIndex(panel.dates))


# --------------------------------------------------------------------------- returns


def test_daily_returns_are_the_log_steps():
    logs = normal(30, 3)
    panel = make_panel(logs)
    got = compute(panel)
    np.testing.assert_allclose(got.values, logs[1:], atol=1e-14)
    np.testing.assert_array_equal(got.dates, panel.dates[1:])
    assert (got.kind, got.sessions) == ("log", 1)
    simple = compute(panel, kind="simple")
    np.testing.assert_allclose(simple.values, np.expm1(logs[1:]), atol=1e-14)
    prices = panel.prices
    np.testing.assert_allclose(simple.values, prices[1:] / prices[:-1] - 1, atol=1e-14)


def test_a_holiday_gives_no_zero_return_and_loses_no_money():
    logs = normal(60, 2, sigma=0.02)
    shut = [7, 8, 30]
    logs[shut, 1] = np.nan
    panel = make_panel(logs)
    daily = compute(panel)
    assert (np.abs(daily.values) > 0).all()
    assert len(daily.values) == 59 - len(shut)
    assert not np.isin(panel.dates[shut], daily.dates).any()
    total = np.log(panel.prices[-1] / panel.prices[0])
    np.testing.assert_allclose(daily.values.sum(axis=0), total, atol=1e-13)


def test_weekly_returns_count_back_from_the_last_date():
    logs = normal(33, 2)
    panel = make_panel(logs)
    weekly = compute(panel, frequency="weekly")
    assert weekly.sessions == 5
    assert weekly.dates[-1] == panel.dates[-1]
    expected = [logs[i - 4 : i + 1].sum(axis=0) for i in (7, 12, 17, 22, 27, 32)]
    np.testing.assert_allclose(weekly.values, expected, atol=1e-13)
    last = compute(panel, frequency="weekly", window=3)
    np.testing.assert_allclose(last.values, expected[-3:], atol=1e-13)


def test_synchronised_returns_overlap_and_use_the_last_known_price():
    logs = normal(30, 2)
    logs[12, 1] = np.nan  # the price of row 11 stands at row 12
    panel = make_panel(logs)
    got = compute(panel, frequency="synchronised")
    filled = pd.DataFrame(panel.prices).ffill().to_numpy()
    np.testing.assert_allclose(got.values, np.log(filled[5:] / filled[:-5]), atol=1e-13)
    np.testing.assert_array_equal(got.dates, panel.dates[5:])


@pytest.mark.parametrize("frequency", ["daily", "weekly", "synchronised"])
@pytest.mark.parametrize("window", [1, 2, 6])
def test_window_is_the_number_of_returns(frequency, window):
    panel = make_panel(normal(60, 2))
    part = compute(panel, frequency=frequency, window=window)
    whole = compute(panel, frequency=frequency)
    assert part.values.shape == (window, 2)
    np.testing.assert_array_equal(part.values, whole.values[-window:])
    np.testing.assert_array_equal(part.dates, whole.dates[-window:])


@pytest.mark.parametrize("window", [0, -1, -3])
def test_a_window_of_nothing_is_refused(window):
    with pytest.raises(UsageError, match="window"):
        compute(make_panel(normal(20, 2)), window=window)


@pytest.mark.parametrize("frequency", ["daily", "weekly", "synchronised"])
def test_too_short_a_history_names_the_asset_and_its_first_price(frequency):
    logs = normal(60, 3)
    logs[:50, 1] = np.nan
    panel = make_panel(logs, ["OLD", "LATE", "OLD2"])
    with pytest.raises(DataError) as caught:
        compute(panel, frequency=frequency, window=40)
    text = str(caught.value)
    assert caught.value.asset == "LATE"
    assert str(panel.dates[50]) in text and "at least" in text


@pytest.mark.parametrize("frequency", ["daily", "weekly", "synchronised"])
def test_an_asset_that_never_had_a_price_is_named(frequency):
    logs = normal(60, 2)
    panel = make_panel(np.column_stack([logs, logs[:, 0]]), ["A", "B", "GHOST"])
    prices = panel.prices.copy()
    prices[:, 2] = np.nan
    ghost = replace(panel, prices=prices, content_hash="")
    with pytest.raises(DataError, match=r"GHOST.*never"):
        compute(ghost, frequency=frequency)


def test_unknown_options():
    panel = make_panel(normal(20, 2))
    with pytest.raises(UsageError, match="unknown frequency"):
        compute(panel, frequency="monthly")
    with pytest.raises(UsageError, match="unknown return kind"):
        compute(panel, kind="arithmetic")


def test_base_currency_return_is_local_times_exchange_rate():
    rng = np.random.default_rng(4)
    dates = pd.bdate_range("2020-01-01", periods=40)
    local = pd.DataFrame(
        {"SAP": 100 * np.exp(rng.normal(0, 0.01, 40).cumsum())}, index=dates
    )
    eur = pd.DataFrame({"EUR": 1.1 * np.exp(rng.normal(0, 0.005, 40).cumsum())}, dates)
    panel = load_panel(local, price_basis="total_return", currency="EUR", fx=eur)
    r = local["SAP"].pct_change().iloc[1:]
    x = eur["EUR"].pct_change().iloc[1:]
    got = compute(panel, kind="simple").values[:, 0]
    np.testing.assert_allclose(got, (1 + r) * (1 + x) - 1, rtol=1e-9)
    euro = compute(panel, extra_prices=panel.fx_rate("EUR")[:, None], kind="simple")
    np.testing.assert_allclose(euro.values[:, 1], x, rtol=1e-9)


def test_sessions_per_year():
    dates = pd.bdate_range("2015-01-01", "2024-12-31").to_numpy().astype("M8[D]")
    assert sessions_per_year(dates) == pytest.approx(5 * 365.25 / 7, rel=1e-3)
    weekly = dates[::5]
    assert sessions_per_year(weekly) == pytest.approx(52.18, rel=1e-3)
    with pytest.raises(DataError, match="too few dates"):
        sessions_per_year(dates[:1])


def test_which_markets_close_together():
    logs = normal(5, 2)
    assert closes_together(make_panel(logs, venues=["NYSE", "NASDAQ"]))
    assert not closes_together(make_panel(logs, venues=["NYSE", "TSE"]))
    assert not closes_together(make_panel(logs, venues=["NYSE", ""]))
    assert closes_together(make_panel(logs))


# -------------------------------------------------------------- asynchronous closes


def asynchronous(T, overlap, rho, seed=0, sigma=0.01):
    """Two markets: the second closes earlier, sharing ``overlap`` of each session.

    A session of the first is (a_t, b_t), of the second (b_{t-1}, a_t), where a is the
    shared stretch of length ``overlap``.
    """
    rng = np.random.default_rng(seed)
    L = np.linalg.cholesky([[1.0, rho], [rho, 1.0]])
    a = sigma * np.sqrt(overlap) * rng.standard_normal((T + 1, 2)) @ L.T
    b = sigma * np.sqrt(1 - overlap) * rng.standard_normal((T + 1, 2)) @ L.T
    return np.column_stack([a[1:, 0] + b[1:, 0], b[:-1, 1] + a[1:, 1]])


@pytest.mark.parametrize("overlap", [0.1, 0.3, 0.8])
def test_overlap_identity_of_asynchronous_closes(overlap):
    """Methods section 5: corr_k = rho (k - 1 + f) / k over k sessions."""
    rho, T = 0.8, 15_000
    panel = make_panel(
        asynchronous(T, overlap, rho), start="1950-01-02", venues=["NYSE", "TSE"]
    )
    options = {"window": None, "covariance": "sample", "tail": "gaussian"}
    daily = fit_all(panel, frequency="daily", **options).correlation()[0, 1]
    model = fit_all(panel, **options)  # venues differ: synchronised unasked
    assert model.frequency == "synchronised"
    for k, got in [(1, daily), (5, model.correlation()[0, 1])]:
        expected = rho * (k - 1 + overlap) / k
        # Overlapping returns: T / k independent windows count, times about 2/3.
        error = (1 - expected**2) / np.sqrt(T / k)
        assert abs(got - expected) < 4 * error
    np.testing.assert_allclose(model.volatility(), 0.01 * np.sqrt(260.9), rtol=0.03)


def test_synchronised_volatility_of_a_market_with_fewer_sessions():
    """Half of B's sessions closed: it moves as much in a year, in fewer steps."""
    rng = np.random.default_rng(3)
    logs = rng.normal(0, 0.01, (6000, 2))
    path = logs[:, 1].cumsum()
    shut = rng.random(6000) < 0.3
    shut[0] = False
    prices = 100 * np.exp(np.column_stack([logs[:, 0].cumsum(), path]))
    prices[shut, 1] = np.nan
    frame = pd.DataFrame(
        prices, index=pd.bdate_range("1980-01-01", periods=6000), columns=["A", "B"]
    )
    panel = load_panel(frame, price_basis="total_return", currency="USD")
    true = 0.01 * np.sqrt(260.9)
    for frequency in ("synchronised", "daily"):
        model = fit_all(panel, frequency=frequency, window=None, tail="gaussian")
        np.testing.assert_allclose(model.volatility(), true, rtol=4 / np.sqrt(2 * 4000))


def test_synchronised_sample_mean_is_the_mean_not_zero():
    logs = normal(800, 2, 1) + np.array([0.001, -0.002])
    panel = make_panel(logs, venues=["NYSE", "TSE"])
    model = fit_all(panel, mean="sample", window=None)
    assert model.frequency == "synchronised"
    np.testing.assert_allclose(model.mean, logs[1:].mean(axis=0), rtol=1e-9)


def test_annual_sample_mean_of_a_market_with_fewer_sessions_is_its_annual_growth():
    logs = normal(1200, 2, 1) + 0.001
    shut = np.arange(2, 1200, 4)
    logs[shut, 1] = np.nan
    panel = make_panel(logs, venues=["NYSE", "TSE"])
    model = fit_all(panel, mean="sample")
    years = (panel.dates[-1] - panel.dates[0]) / np.timedelta64(1, "D") / 365.25
    growth = np.log(panel.prices[-1] / panel.prices[0]) / years
    np.testing.assert_allclose(model.mean * model.periods_per_year, growth, rtol=5e-3)


def test_a_given_matrix_is_not_rescaled_by_synchronisation():
    panel = make_panel(normal(300, 2), venues=["NYSE", "TSE"])
    given = np.array([[4e-4, 1e-4], [1e-4, 9e-4]])
    model = fit_all(panel, covariance=given)
    np.testing.assert_array_equal(model.covariance, given)
    assert not any("five-session" in n for n in model.notes)


def test_nikkei_and_sp500_same_date_and_synchronised(real_data):
    """Methods section 5: same date 0.19, five-session 0.63, ten-session 0.69."""
    levels = pd.read_csv(real_data / "index_levels.csv.gz", index_col=0)
    levels = levels[["SPX", "N225"]].dropna(how="all")
    levels.index = pd.to_datetime(levels.index)
    universe = pd.DataFrame(
        {
            "ticker": ["SPX", "N225"],
            "venue": ["NYSE", "TSE"],
            # Levels in local currency: the methods table leaves FX out as well.
            "quote_currency": ["USD", "USD"],
        }
    )
    panel = load_panel(levels, price_basis="raw", universe=universe)
    options = {"window": None, "covariance": "sample", "tail": "gaussian"}
    daily = fit_all(panel, frequency="daily", **options)
    both = fit_all(panel, **options)
    assert daily.correlation()[0, 1] == pytest.approx(0.19, abs=0.02)
    assert 0.60 < both.correlation()[0, 1] < 0.69
    np.testing.assert_allclose(daily.volatility(), both.volatility(), rtol=0.06)


# ------------------------------------------------------------------------------- fit


@pytest.mark.parametrize("name", sorted(names()))
def test_named_estimators_see_the_last_window(name):
    logs = normal(300, 4, 2)
    model = fit_all(make_panel(logs), covariance=name, window=100)
    expected = named(name)(logs[-100:])
    if isinstance(expected, FactorCovariance):
        assert isinstance(model.covariance, FactorCovariance)
        expected = expected.dense()
    np.testing.assert_allclose(
        model.dense_covariance(), expected, rtol=1e-6, atol=1e-16
    )
    assert model.estimator == name
    assert model.window[2] == 100


def test_default_is_two_years_of_constant_correlation():
    logs = normal(700, 3)
    model = fit(make_panel(logs))
    expected = ledoit_wolf(logs[-504:], "constant_correlation")
    np.testing.assert_allclose(model.covariance, expected, rtol=1e-9)
    assert (model.mean_kind, model.frequency) == ("zero_excess", "daily")
    assert model.periods_per_year == pytest.approx(260.9, rel=0.01)


@pytest.mark.parametrize("rate", [0.0, 0.05, -0.01])
def test_zero_excess_means_the_expected_simple_return_is_cash(rate):
    logs = normal(300, 3, sigma=0.03)
    panel = make_panel(logs, cash_rates=cash(make_panel(logs), rate))
    model = fit_all(panel)
    expected = np.exp(model.mean + np.diag(model.covariance) / 2)  # lognormal mean
    np.testing.assert_allclose(expected**model.periods_per_year, 1 + rate, rtol=1e-10)
    assert model.cash_rate == rate
    assert not any("SAMPLE" in n or "no cash rate" in n for n in model.notes)


def test_missing_cash_rate_is_said():
    assert any("no cash rate" in n for n in fit_all(make_panel(normal(50, 2))).notes)


def test_sample_mean_must_be_asked_for_and_is_stamped():
    logs = normal(300, 2) + 0.001
    model = fit_all(make_panel(logs), mean="sample", window=200)
    np.testing.assert_allclose(model.mean, logs[-200:].mean(axis=0), rtol=1e-10)
    assert model.mean_kind == "sample"
    assert any("SAMPLE MEAN" in n for n in model.notes)
    assert "mean sample" in repr(model)


def test_given_means_are_annual_and_follow_labels():
    panel = make_panel(normal(100, 2), ["X", "Y"])
    by_order = fit_all(panel, mean=[0.1, 0.2])
    per_year = by_order.periods_per_year
    np.testing.assert_allclose(by_order.mean * per_year, [0.1, 0.2])
    for labelled in ({"Y": 0.2, "X": 0.1}, pd.Series({"Y": 0.2, "X": 0.1})):
        model = fit_all(panel, mean=labelled)
        np.testing.assert_allclose(model.mean * per_year, [0.1, 0.2])
        assert model.mean_kind == "given"
    for bad in ({"X": 0.1}, pd.Series({"X": 0.1})):
        with pytest.raises(ModelError, match=r"no mean.*Y"):
            fit_all(panel, mean=bad)
    for wrong in ([0.1], [0.1, np.nan], [[0.1, 0.2]]):
        with pytest.raises(ModelError, match="means"):
            fit_all(panel, mean=wrong)


def test_given_covariance_follows_labels():
    panel = make_panel(normal(100, 2), ["X", "Y"])
    S = pd.DataFrame([[4e-4, 1e-4], [1e-4, 9e-4]], ["Y", "X"], ["Y", "X"])
    model = fit_all(panel, covariance=S)
    np.testing.assert_array_equal(model.covariance, [[9e-4, 1e-4], [1e-4, 4e-4]])
    np.testing.assert_array_equal(
        fit_all(panel, covariance=lambda X: sample(X, ddof=0)).covariance,
        sample(compute(panel).values, ddof=0),
    )
    for bad in (S.loc[["Y"], ["Y"]], S[["Y"]], S.loc[["Y"]]):
        with pytest.raises(ModelError, match=r"lacks an asset.*X"):
            fit_all(panel, covariance=bad)
    with pytest.raises(ModelError, match="wrong shape"):
        fit_all(panel, covariance=np.eye(3))
    with pytest.raises(ModelError, match="NaN"):
        fit_all(panel, covariance=np.full((2, 2), np.nan))
    with pytest.raises(ModelError, match="positive semi-definite"):
        fit_all(panel, covariance=np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ModelError, match="not symmetric"):
        fit_all(panel, covariance=np.array([[1.0, 0.2], [0.1, 1.0]]))
    with pytest.raises(ModelError, match="wrong shape"):
        fit_all(panel, covariance=FactorCovariance(np.ones((3, 1)), [[1.0]], [1] * 3))


def test_a_factor_form_stays_one_and_is_simulated_as_its_dense_equal():
    panel = make_panel(normal(300, 6, 5))
    model = fit_all(panel, covariance="factor")
    assert isinstance(model.covariance, FactorCovariance)
    dense = fit_all(panel, covariance=model.dense_covariance())
    np.testing.assert_allclose(model.mean, dense.mean, rtol=1e-12)
    spread = [simulate(m, 60_000, seed=3).returns.std(axis=0) for m in (model, dense)]
    np.testing.assert_allclose(spread[0][:6], spread[1][:6], rtol=0.02)


@pytest.mark.parametrize(
    "options",
    [{"mean": "momentum"}, {"covariance": "gerbera"}, {"tail": "cauchy"}],
)
def test_unknown_names_are_usage_errors(options):
    with pytest.raises(UsageError, match="unknown"):
        fit_all(make_panel(normal(50, 2)), **options)


def test_a_price_that_never_moves_is_named():
    logs = normal(50, 2)
    logs[:, 1] = 0.0
    with pytest.raises(ModelError, match=r"never moved.*FLAT"):
        fit_all(make_panel(logs, ["A", "FLAT"]))


def test_tickers_are_taken_in_the_order_asked():
    logs = normal(100, 3)
    model = fit_all(make_panel(logs, ["A", "B", "C"]), tickers=["C", "A"])
    assert model.assets == ("C", "A")
    whole = fit_all(make_panel(logs, ["A", "B", "C"]), covariance="sample")
    part = fit_all(
        make_panel(logs, ["A", "B", "C"]), covariance="sample", tickers=["C"]
    )
    assert part.covariance[0, 0] == pytest.approx(whole.covariance[2, 2])
    with pytest.raises(DataError, match="no prices for this ticker"):
        fit_all(make_panel(logs), tickers=["ZZZ"])


def test_foreign_cash_is_modelled_by_its_exchange_rate():
    rng = np.random.default_rng(8)
    dates = pd.bdate_range("2020-01-01", periods=200)
    frame = pd.DataFrame({"A": 100 * np.exp(rng.normal(0, 0.01, 200).cumsum())}, dates)
    eur = pd.DataFrame({"EUR": 1.1 * np.exp(rng.normal(0, 0.005, 200).cumsum())}, dates)
    panel = load_panel(frame, price_basis="total_return", currency="USD", fx=eur)
    model = fit_all(panel, cash_currencies=["EUR", "USD"], covariance="sample")
    assert model.assets == ("A", "CASH:EUR")
    expected = np.log(eur["EUR"]).diff().iloc[1:].var()
    assert model.covariance[1, 1] == pytest.approx(expected, rel=1e-6)


def test_a_view_fits_what_its_panel_shows_and_nothing_later():
    logs = normal(400, 3, 5)
    panel = make_panel(logs, venues=["NYSE"] * 3)
    t = panel.dates[299]
    early = fit_all(panel.as_of(t))
    logs[300:] = 0.5  # corrupt the future
    np.testing.assert_array_equal(
        fit_all(make_panel(logs, venues=["NYSE"] * 3).as_of(t)).covariance,
        early.covariance,
    )
    alone = fit_all(make_panel(logs[:300], venues=["NYSE"] * 3))
    np.testing.assert_array_equal(alone.covariance, early.covariance)
    np.testing.assert_array_equal(alone.mean, early.mean)
    assert early.as_of == t


def test_deterministic():
    panel = make_panel(normal(300, 5))
    a, b = fit_all(panel), fit_all(panel)
    np.testing.assert_array_equal(a.covariance, b.covariance)
    assert a.tail_dof == b.tail_dof


# ------------------------------------------------------------------------------ tail


@pytest.mark.parametrize("nu", [3.0, 5.0, 10.0])
def test_fit_dof_recovers_the_truth(nu):
    rng = np.random.default_rng(int(nu))
    T, N = 6000, 4
    z = rng.standard_normal((T, N)) @ np.linalg.cholesky(0.5 + 0.5 * np.eye(N)).T
    X = z * np.sqrt(nu / rng.chisquare(nu, T))[:, None] * [0.01, 0.02, 1.0, 5.0]
    assert fit_dof(X) == pytest.approx(nu, rel=0.15)
    assert fit_dof(X * 100 + 7) == pytest.approx(fit_dof(X), rel=1e-3)


def test_gaussian_data_have_infinite_dof():
    X = np.random.default_rng(1).standard_normal((20_000, 4))
    assert fit_dof(X) > 30  # one seed may fall below the edge of 60, at which it is inf
    assert fit_dof(np.sign(X) + 0.1 * X) == np.inf  # thinner than normal


def test_tail_options():
    panel = make_panel(normal(300, 2))
    assert fit_all(panel, tail="gaussian").tail_dof == np.inf
    assert fit_all(panel, tail=7).tail_dof == 7.0
    for bad in (2.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ModelError, match="degrees of freedom"):
            fit_all(panel, tail=bad)


# ------------------------------------------------------------------------- the value


def a_model(**changes):
    fields = dict(
        assets=("A", "B"),
        mean=[0.0, 0.0],
        covariance=[[4e-4, 1e-4], [1e-4, 9e-4]],
        tail_dof=5.0,
        return_kind="log",
        periods_per_year=252.0,
        cash_rate=0.0,
        mean_kind="given",
        universe=Universe(("A", "B")),
        base_currency="USD",
        as_of=np.datetime64("2025-01-24"),
    )
    return ReturnModel(**(fields | changes))


def test_pickling_keeps_arrays_read_only():
    model = a_model()
    copy = pickle.loads(pickle.dumps(model))
    for m in (model, copy):
        for array in (m.mean, m.covariance):
            assert not array.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1.0
    np.testing.assert_array_equal(copy.covariance, model.covariance)
    assert copy.assets == model.assets and copy.tail_dof == model.tail_dof
    factor = a_model(
        covariance=FactorCovariance([[0.01], [0.02]], [[1.0]], [1e-4, 1e-4])
    )
    loadings = pickle.loads(pickle.dumps(factor)).covariance.loadings
    assert not loadings.flags.writeable


def test_the_callers_arrays_are_copied():
    S = np.array([[4e-4, 1e-4], [1e-4, 9e-4]])
    model = a_model(covariance=S)
    S[:] = 0.0
    assert model.covariance[0, 0] == 4e-4
    assert S.flags.writeable


def test_annual_figures():
    model = a_model()
    np.testing.assert_allclose(model.volatility(), np.sqrt([4e-4, 9e-4]) * 252**0.5)
    assert model.correlation()[0, 1] == pytest.approx(1e-4 / 6e-4)
    factor = FactorCovariance([[0.01], [0.02]], [[1.0]], [3e-4, 5e-4])
    np.testing.assert_allclose(
        a_model(covariance=factor).dense_covariance()[0, 1], 2e-4
    )
    np.testing.assert_allclose(
        a_model(covariance=factor).volatility(), a_model().volatility()
    )
    assert list(model.to_frame()["asset"]) == ["A", "B"]
    assert "t dof 5.0" in repr(model)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"mean": [0.0]}, DataError, "mean has the wrong shape"),
        ({"mean": [0.0, np.nan]}, DataError, "mean holds a non-finite"),
        ({"assets": ("A", "A")}, DataError, "duplicate asset"),
        ({"covariance": np.eye(3)}, DataError, "covariance has the wrong shape"),
        ({"covariance": [[1, 2], [2, 1]]}, ModelError, "positive semi-definite"),
        ({"covariance": [[1, 0.5], [0.4, 1]]}, ModelError, "not symmetric"),
        ({"tail_dof": 2.0}, ModelError, "degrees of freedom"),
        ({"return_kind": "excess"}, UsageError, "return kind"),
        ({"universe": Universe(("B", "A"))}, DataError, "different assets"),
        (
            {"covariance": FactorCovariance(np.ones((3, 1)), [[1.0]], np.ones(3))},
            ModelError,
            "does not match",
        ),
    ],
)
def test_a_model_that_cannot_be(changes, error, match):
    with pytest.raises(error, match=match):
        a_model(**changes)
