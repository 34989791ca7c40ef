"""Bootstrap, filtered simulation, copula and regimes from past cross-sections."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from engine import bootstrap, copula, filtered_historical, regime_switching
from engine.data.load import load_panel
from engine.errors import BallastError, ModelError, UsageError
from engine.kernels.paths import block_rows
from engine.montecarlo._copula import (
    _copula_dof,
    _margin,
    _tau_correlation,
    fit_pareto,
    quantile,
)
from engine.montecarlo._historical import _ewma, _garch
from engine.montecarlo._regimes import _fit_states, _states
from engine.returns import compute

GENERATORS = {
    "stationary": (bootstrap, {"method": "stationary", "block": 6}),
    "circular": (bootstrap, {"method": "circular", "block": 4}),
    "ewma": (filtered_historical, {"volatility": "ewma"}),
    "copula": (copula, {"dof": 5.0}),
    "regimes": (regime_switching, {}),
}


def switching(T, N, seed=0):
    """Calm and stressed spells of about 100 and 50 sessions, volatility 1% and 3%."""
    rng = np.random.default_rng(seed)
    state = np.zeros(T, dtype=bool)
    for t in range(1, T):
        leave = 0.02 if state[t - 1] else 0.01
        state[t] = state[t - 1] ^ (rng.random() < leave)
    sd = np.where(state, 0.03, 0.01)[:, None]
    common = rng.standard_normal((T, 1))
    return sd * (0.7 * common + 0.7 * rng.standard_normal((T, N))), state


def make_panel(logs, venues=None, start="2000-01-03"):
    names = [f"A{i}" for i in range(logs.shape[1])]
    dates = pd.bdate_range(start, periods=len(logs))
    universe = pd.DataFrame({"ticker": names, "quote_currency": "USD"})
    if venues:
        universe["venue"] = venues
    prices = 100 * np.exp(np.where(np.isnan(logs), 0, logs).cumsum(axis=0))
    prices[np.isnan(logs)] = np.nan
    return load_panel(
        pd.DataFrame(prices, index=dates, columns=names),
        price_basis="total_return",
        universe=universe,
    )


@pytest.fixture(scope="module")
def panel():
    return make_panel(switching(1300, 3)[0])


# -------------------------------------------------------------- shared by all


@pytest.mark.parametrize("name", sorted(GENERATORS))
@pytest.mark.parametrize("paths", [False, True])
def test_same_bits_for_any_workers_and_number_drawn(panel, name, paths):
    make, options = GENERATORS[name]
    options = options | {"horizon": 4, "seed": 3, "paths": paths}
    one = make(panel, 1500, **options)
    for executor, jobs in (("threads", 2), ("processes", 2)):
        other = make(panel, 1500, executor=executor, n_jobs=jobs, **options)
        np.testing.assert_array_equal(one.returns, other.returns)
    whole = make(panel, 1500, mean="sample", **options)
    part = make(panel, 700, mean="sample", **options)
    np.testing.assert_array_equal(part.returns, whole.returns[:700])
    assert not np.array_equal(
        make(panel, 700, mean="sample", **(options | {"seed": 4})).returns,
        part.returns,
    )


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_centred_at_cash_and_labelled(panel, name):
    make, options = GENERATORS[name]
    s = make(panel, 3000, horizon=5, paths=True, **options)
    np.testing.assert_allclose(s.p @ s.returns, 0.0, atol=1e-12)
    np.testing.assert_allclose(s.paths.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_array_equal(s.paths[:, -1], s.returns)
    assert s.assets == ("A0", "A1", "A2", "CASH:USD")
    assert (s.horizon, s.base_currency) == (5, "USD") and s.model is not None
    kept = make(panel, 10, horizon=5, mean="sample", **options)
    assert any("SAMPLE MEAN" in note for note in kept.notes)


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_a_view_hides_the_future(panel, name):
    make, options = GENERATORS[name]
    options = options | {"window": 900}
    cut = panel.dates[999]
    seen = make(panel.as_of(cut), 50, horizon=3, seed=1, **options)
    alone = make(make_panel(switching(1300, 3)[0][:1000]), 50, horizon=3, seed=1,
                 **options)  # fmt: skip
    np.testing.assert_array_equal(seen.returns, alone.returns)
    assert seen.model.as_of == cut


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_bad_input(panel, name):
    make, options = GENERATORS[name]
    for bad in (
        {"horizon": 0},
        {"horizon": 2.5},
        {"mean": "median"},
        {"frequency": "synchronised"},
        {"frequency": "weekly", "horizon": 21},
        {"seed": -1},
    ):
        with pytest.raises(UsageError):
            make(panel, 10, **(options | bad))
    with pytest.raises(UsageError, match="PricePanel"):
        make(np.ones((5, 2)), 10, **options)
    with pytest.raises(UsageError):
        make(panel, 0, **options)
    with pytest.raises(ModelError, match=r"GiB needed.*engine\.stream"):
        make(panel, 10**12, **options)
    with pytest.raises(BallastError):
        make(panel, 10, **(options | {"window": 30}))


def test_venues_that_close_apart_are_resampled_by_the_week():
    logs, _ = switching(1300, 2)
    panel = make_panel(logs, venues=["NYSE", "TSE"])
    with pytest.raises(UsageError, match="multiple of 5"):
        bootstrap(panel, 10, horizon=21)
    s = bootstrap(panel, 10, horizon=20, paths=True)
    assert s.paths.shape == (10, 4, 3) and s.horizon == 20


def test_a_holiday_leaves_no_zero():
    logs, _ = switching(400, 2)
    logs[200, 1] = np.nan
    s = bootstrap(make_panel(logs), 2000, horizon=1, window=300, mean="sample")
    X = compute(make_panel(logs), window=300).values
    drawn = np.log1p(s.returns[:, :-1])
    nearest = np.abs(drawn[:, None, :] - X[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-12  # whole cross-sections of complete dates
    assert (drawn != 0.0).all()


# ------------------------------------------------------------------ bootstrap


def rows_of(stationary, block, T=50, n=4000, H=30):
    u = np.random.default_rng(0).random((n, H, 2))
    out = np.empty((n, H), np.int64)
    block_rows(u, T, float(block), stationary, out)
    return out


def test_stationary_blocks_are_geometric_and_cover_evenly():
    rows = rows_of(True, 5)
    follows = (np.diff(rows, axis=1) % 50) == 1
    p = 1 - 1 / 5 + 1 / 5 / 50  # a fresh start may land on the next row
    assert abs(follows.mean() - p) < 4 * np.sqrt(p * (1 - p) / follows.size)
    counts = np.bincount(rows[:, -1], minlength=50)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_circular_blocks_are_whole():
    rows = rows_of(False, 7)
    steps = np.diff(rows, axis=1) % 50
    inside = np.arange(1, 30) % 7 != 0
    assert (steps[:, inside] == 1).all()
    assert abs((steps[:, ~inside] == 1).mean() - 1 / 50) < 0.006
    assert stats.chisquare(np.bincount(rows[:, 29], minlength=50)).pvalue > 1e-3


def test_block_one_is_the_plain_bootstrap_of_the_sum(panel):
    s = bootstrap(panel, 40_000, horizon=10, block=1, mean="sample", window=504)
    X = compute(panel, window=504).values
    x = np.log1p(s.returns[:, :-1])
    S = np.cov(X.T, bias=True) * 10
    parts = np.array([np.cov(b.T) for b in x.reshape(40, -1, 3)])
    error = parts.std(axis=0, ddof=1) / np.sqrt(40)
    assert (np.abs(parts.mean(axis=0) - S) < 4.5 * error).all()
    np.testing.assert_allclose(
        x.mean(axis=0), X.mean(axis=0) * 10, atol=4 * np.sqrt(S.max() / 40_000)
    )


def test_blocks_keep_serial_dependence():
    """AR(1) with 0.6: a block bootstrap keeps the variance of sums, singles do not."""
    rng = np.random.default_rng(0)
    x = np.zeros((1300, 1))
    for t in range(1, 1300):
        x[t] = 0.6 * x[t - 1] + 0.01 * rng.standard_normal(1)
    panel = make_panel(x)
    kinds = {b: bootstrap(panel, 8000, horizon=10, block=b, window=None)
             for b in (None, 1)}  # fmt: skip
    ratio = kinds[None].returns[:, 0].std() / kinds[1].returns[:, 0].std()
    assert 1.4 < ratio < 2.0  # the theoretical ratio at 10 sessions is 1.80
    length = float(kinds[None].distribution.split("block ")[1].split()[0])
    # (2 rho / (1 - rho^2))^(2/3) T^(1/3) = 16.6 for the circular (methods 6)
    assert 5 < length < 60


@pytest.mark.parametrize("block", [0, 0.5, -1, 1e6, float("nan"), True, "long"])
def test_bad_blocks(panel, block):
    with pytest.raises(UsageError, match="block"):
        bootstrap(panel, 10, block=block)


def test_unknown_choices(panel):
    for call in (
        lambda: bootstrap(panel, 10, method="moving"),
        lambda: filtered_historical(panel, 10, volatility="sv"),
        lambda: filtered_historical(panel, 10, decay=1.0),
        lambda: regime_switching(panel, 10, index="vix"),
        lambda: copula(panel, 10, tail=0.5),
        lambda: copula(panel, 10, dof=2.0),
    ):
        with pytest.raises(UsageError):
            call()


# --------------------------------------------------- filtered historical simulation


def test_ewma_starts_from_its_own_forecast_and_updates():
    rng = np.random.default_rng(1)
    x = 0.01 * rng.standard_normal((600, 1))
    x[-40:] *= 4  # a storm at the end
    panel = make_panel(x)
    s = filtered_historical(panel, 20_000, horizon=1, volatility="ewma", window=None)
    E = compute(panel).values
    state = _ewma(E - E.mean(axis=0), 0.94)
    assert np.log1p(s.returns[:, 0]).std() == pytest.approx(
        np.sqrt(state.variance[0]), rel=0.03
    )
    assert state.variance[0] > 9e-4
    calm = bootstrap(panel, 20_000, horizon=1, window=None, block=1)
    assert s.returns[:, 0].std() > 2 * calm.returns[:, 0].std()
    # An EWMA's expected variance never reverts: it grows with the horizon alone.
    far = filtered_historical(panel, 20_000, horizon=5, volatility="ewma", window=None)
    ratio = np.log1p(far.returns[:, 0]).var() / np.log1p(s.returns[:, 0]).var()
    assert ratio == pytest.approx(5.0, rel=0.15)


def test_garch_recovers_its_parameters_and_its_forecast():
    rng = np.random.default_rng(2)
    w, a, b, T = 2e-6, 0.08, 0.90, 6000
    v, x = w / (1 - a - b), np.empty(T)
    for t in range(T):
        x[t] = np.sqrt(v) * rng.standard_normal()
        v = w + a * x[t] ** 2 + b * v
    state = _garch((x - x.mean())[:, None], ["A0"])
    assert state.alpha[0] == pytest.approx(a, abs=0.03)
    assert state.beta[0] == pytest.approx(b, abs=0.04)
    assert state.variance[0] == pytest.approx(v, rel=0.1)
    np.testing.assert_allclose(state.Z.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(state.Z.std(axis=0), 1, atol=1e-12)
    panel = make_panel(x[:, None])
    s = filtered_historical(panel, 30_000, horizon=10, window=None)
    k, long = a + b, w / (1 - a - b)
    expected = 10 * long + (state.variance[0] - long) * (1 - k**10) / (1 - k)
    assert np.log1p(s.returns[:, 0]).var() == pytest.approx(expected, rel=0.12)


def test_a_garch_that_does_not_fit_names_the_asset():
    x = np.random.default_rng(0).standard_normal((400, 2)) * 0.01
    x[:, 1] *= np.exp(np.linspace(0, 6, 400))  # volatility explodes
    with pytest.raises(ModelError, match=r"GARCH.*A1.*ewma"):
        filtered_historical(make_panel(x), 10, window=None)


# ----------------------------------------------------------------------- copula


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.25, 0.5])
def test_pareto_fit_is_the_maximum_of_the_likelihood(shape):
    y = stats.genpareto.rvs(shape, scale=0.02, size=600, random_state=1)
    xi, scale = fit_pareto(y)
    error = (1 + shape) / np.sqrt(600)  # Smith (1987): asymptotic, of the shape
    assert abs(xi - shape) < 4 * error
    best = stats.genpareto.logpdf(y, xi, scale=scale).sum()
    for d_xi, d_scale in ((0.02, 1), (-0.02, 1), (0, 1.02), (0, 0.98)):
        other = stats.genpareto.logpdf(y, xi + d_xi, scale=scale * d_scale).sum()
        assert other < best + 1e-9
    again = fit_pareto(y * 7.0)
    np.testing.assert_allclose(again, (xi, 7 * scale), rtol=1e-5, atol=1e-7)


def test_margin_quantiles_are_continuous_increasing_and_fit_the_tail():
    x = stats.t.rvs(4, size=4000, random_state=3) * 0.01
    m = _margin(x, 0.1, "A0")
    u = np.linspace(1e-6, 1 - 1e-6, 200_001)
    q = quantile(m, u)
    assert (np.diff(q) >= 0).all()
    edges = np.array([0.1, 0.9])
    for e in edges:
        a, b = quantile(m, np.array([e - 1e-9, e + 1e-9]))
        assert abs(a - b) < 1e-6
    assert quantile(m, np.array([0.5]))[0] == pytest.approx(np.median(x), abs=1e-4)
    true = stats.t.ppf(0.001, 4) * 0.01
    assert quantile(m, np.array([0.001]))[0] == pytest.approx(true, rel=0.2)


def test_copula_recovers_dependence_and_dof():
    rng = np.random.default_rng(4)
    R = np.array([[1, 0.6, 0.2], [0.6, 1, 0.3], [0.2, 0.3, 1]])
    t = rng.standard_normal((3000, 3)) @ np.linalg.cholesky(R).T
    t *= np.sqrt(4 / rng.chisquare(4, (3000, 1)))
    X = np.sinh(t)  # other margins, same copula
    got = _tau_correlation(X)
    assert np.abs(got - R).max() < 0.06
    assert 3.0 < _copula_dof(X, got) < 5.5
    gaussian = rng.standard_normal((3000, 3)) @ np.linalg.cholesky(R).T
    assert _copula_dof(gaussian, R) > 20


def test_copula_scenarios_have_the_margins_and_the_rank_correlation():
    rng = np.random.default_rng(5)
    t = rng.standard_normal((1300, 2)) @ np.array([[1, 0], [0.6, 0.8]]).T
    X = t * np.sqrt(4 / rng.chisquare(4, (1300, 1))) * 0.005
    panel = make_panel(X)
    s = copula(panel, 20_000, horizon=1, window=None, mean="sample")
    x = np.log1p(s.returns[:, :-1])
    past = compute(panel).values
    for i in range(2):
        # Two samples: the past's own 1,299 draws set the width of the test.
        assert stats.ks_2samp(x[:, i], past[:, i]).pvalue > 1e-3
    tau = stats.kendalltau(*x[:4000].T).statistic
    assert tau == pytest.approx(stats.kendalltau(*past.T).statistic, abs=0.05)


def test_too_thin_a_tail_is_refused(panel):
    with pytest.raises(ModelError, match=r"too few returns in a tail.*A0"):
        copula(panel, 10, window=150)


# ----------------------------------------------------------------------- regimes


def test_states_are_found_and_persist():
    logs, state = switching(2500, 3, seed=7)
    transition, now, smoothed = _fit_states(logs.mean(axis=1))
    np.testing.assert_allclose(transition.sum(axis=1), 1.0)
    assert transition[0, 0] > 0.97 and transition[1, 1] > 0.94
    assert ((smoothed[:, 1] > 0.5) == state).mean() > 0.93
    assert (now[1] > 0.5) == state[-1]


def test_the_chain_follows_its_matrix():
    P = np.array([[0.9, 0.1], [0.3, 0.7]])
    u = np.random.default_rng(0).random((50_000, 40))
    bad = _states(u, np.array([0.8, 0.2]), P)
    assert abs(bad[:, 0].mean() - 0.2) < 4 * np.sqrt(0.16 / 50_000)
    assert abs(bad[:, -1].mean() - 0.25) < 4 * np.sqrt(0.1875 / 50_000)
    assert abs(bad[:, 1:][bad[:, :-1]].mean() - 0.7) < 0.005


@pytest.mark.parametrize("index", ["equal_weight", "principal_component"])
def test_stress_today_is_wider_than_calm_today(index):
    logs, state = switching(2500, 3, seed=7)
    stressed = int(np.flatnonzero(state)[-1]) + 1
    calm = int(np.flatnonzero(~state[:2400])[-1]) + 1
    sd = {}
    for name, stop in (("stress", stressed), ("calm", calm)):
        s = regime_switching(
            make_panel(logs[:stop]), 8000, horizon=1, window=None, index=index
        )
        sd[name] = s.returns[:, 0].std()
    assert sd["stress"] > 1.5 * sd["calm"]


def test_regime_horizon_is_the_sum_of_its_sessions(panel):
    a = regime_switching(panel, 20_000, horizon=6, seed=1)
    b = regime_switching(panel, 20_000, horizon=6, seed=2, paths=True)
    w = [0.4, 0.3, 0.3, 0.0]
    assert stats.ks_2samp(a.losses(w), b.losses(w)).pvalue > 1e-3


# --------------------------------------------------------------------- real prices


def test_every_generator_on_real_prices(real_data):
    names = ["NVDA", "VST", "ANET", "MSFT", "KO", "SPY"]
    market = load_panel(
        real_data / "prices_us_listed.parquet",
        names,
        end="2025-01-24",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
    )
    makers = {**GENERATORS, "garch": (filtered_historical, {"volatility": "garch"})}
    for make, options in makers.values():
        s = make(market, 4000, horizon=10, window=1000, **options)
        loss = s.losses(dict.fromkeys(names, 1 / 6))
        assert 0.01 < np.quantile(loss, 0.95) < 0.25
        assert s.returns[:, 0].std() > 1.5 * s.returns[:, 4].std()  # NVDA over KO
