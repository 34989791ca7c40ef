"""Rolling forecasts against closed forms, the truth, and the future."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import engine
from backtests.cli.show import plain
from engine.errors import DataError, ModelError, UsageError
from engine.risk import MODELS, backtest, normal_expected_shortfall
from engine.risk import _backtest as implementation
from engine.risk._backtest_result import _dof_of, _holm
from engine.risk._forecasts import SkewedT, fit_skewed_t

LEVELS = (0.99, 0.975)
SHORT = {"window": 250, "refit": 40, "n_scenarios": 1000}


def panel_of(returns, start="2015-01-01", tickers=None):
    returns = np.asarray(returns).reshape(len(returns), -1)
    prices = 100 * np.vstack([np.ones(returns.shape[1]), np.cumprod(1 + returns, 0)])
    names = tickers or [f"A{i}" for i in range(returns.shape[1])]
    index = pd.bdate_range(start, periods=len(prices), name="date")
    frame = pd.DataFrame(prices, index=index, columns=names)
    return engine.load_panel(frame, price_basis="total_return", currency="USD")


def two_assets(T=320, seed=0):
    rng = np.random.default_rng(seed)
    return 0.01 * rng.standard_t(5, (T, 2)) @ np.array([[1.0, 0.4], [0.0, 0.8]])


BOOK = {"A0": 0.6, "A1": 0.3, "CASH:USD": 0.1}
W = np.array([0.6, 0.3])


@pytest.fixture(scope="module")
def everything():
    return backtest(panel_of(two_assets()), BOOK, **SHORT)


def test_normal_forecasts_are_the_closed_form_of_the_window(everything):
    own = pd.Series(two_assets() @ W)
    sigma = own.rolling(250).std().to_numpy()[249:-1]
    row = everything.models.index("normal")
    np.testing.assert_allclose(everything.var[row], 2.3263478740 * sigma, rtol=1e-8)
    es = sigma * normal_expected_shortfall(1.0, level=0.975)
    np.testing.assert_allclose(everything.es[row], es, rtol=1e-8)
    np.testing.assert_allclose(everything.losses, -own[250:], atol=1e-13)
    assert len(everything.dates) == 70


def test_the_named_covariance_is_that_of_the_assets():
    got = backtest(panel_of(two_assets()), BOOK, models=["normal", "normal:sample"], **{
        **SHORT, "refit": 1
    })  # fmt: skip
    np.testing.assert_allclose(got.var[1], got.var[0], rtol=1e-9)


def test_volatility_is_updated_every_session(everything):
    own = two_assets() @ W
    row = everything.models.index("normal_ewma")
    for k in (0, 39, 40, 69):  # either side of a refit
        origin = 250 + 40 * (k // 40)
        e2 = (own[origin - 250 : 250 + k] - own[origin - 250 : origin].mean()) ** 2
        v = e2[:250].mean()
        for x in e2:
            v = 0.94 * v + 0.06 * x
        assert everything.var[row, k] == pytest.approx(2.3263478740 * np.sqrt(v))


def test_historical_forecasts_are_order_statistics(everything):
    own = two_assets() @ W
    past = own[10:260] - own[10:260].mean()
    row = everything.models.index("historical")
    assert everything.var[row, 10] == pytest.approx(-np.sort(past)[2])  # 1% of 250
    tail = -np.sort(past)[:7]
    es = (tail[:6].sum() + 0.25 * tail[6]) / 6.25  # 2.5% of 250 is 6.25 returns
    assert everything.es[row, 10] == pytest.approx(es)


def test_filtered_forecasts_are_the_limit_of_the_generator():
    rng = np.random.default_rng(3)
    panel = panel_of(0.01 * rng.standard_t(5, 501))
    for kind, tolerance in (("ewma", 0.01), ("garch", 0.03)):
        got = backtest(panel, {"A0": 1.0}, models=f"filtered_{kind}", window=500)
        view = panel.as_of(panel.dates[-2])
        drawn = engine.montecarlo.filtered_historical(
            view, 200_000, horizon=1, volatility=kind, window=500
        )
        # Logs and simple returns, and the drawing error, differ by less.
        es = engine.risk.expected_shortfall(-drawn.returns[:, 0], level=0.975)
        assert got.es[0, -1] == pytest.approx(es, rel=tolerance)


def test_student_t_and_mixture_are_laws_of_their_own(everything):
    for name in ("student_t", "regime_switching", "skewed_t", "copula"):
        row = everything.models.index(name)
        assert (everything.es[row] > everything.es_var[row]).all()
        assert (everything.var[row] > everything.es_var[row]).all()
        ratio = everything.es[row] / everything.es[everything.models.index("normal")]
        assert 0.6 < ratio.min() and ratio.max() < 1.9


@pytest.mark.parametrize(("kappa", "dof"), [(0.0, 5.0), (-0.6, 4.0), (0.5, 12.0)])
def test_the_skewed_t_is_the_law_of_the_generator(kappa, dof):
    law = SkewedT(kappa, dof)

    def moment(k, top=np.inf):
        return integrate.quad(
            lambda x: x**k * float(np.exp(law.log_density(np.array([x])))[0]),
            -np.inf,
            top,
            limit=200,
        )[0]

    assert [moment(k) for k in (0, 1)] == pytest.approx([1.0, 0.0], abs=1e-6)
    assert moment(2) == pytest.approx(1.0, abs=1e-4)
    var, es_var, es = law.unit(LEVELS)
    assert moment(0, -var) == pytest.approx(0.01, rel=1e-5)
    assert moment(0, -es_var) == pytest.approx(0.025, rel=1e-5)
    assert -moment(1, -es_var) / 0.025 == pytest.approx(es, rel=1e-4)
    if not kappa:
        unit = np.sqrt((dof - 2) / dof)
        assert var == pytest.approx(unit * stats.t.ppf(0.99, dof), rel=1e-5)
        return
    # Drawn as the generator does, in its stochastic form.
    rng = np.random.default_rng(0)
    V = (dof - 2) / rng.chisquare(dof, 400_000)
    U = np.sqrt(V) * abs(rng.standard_normal(V.size))
    mean = law.constants()[2] / kappa
    s = np.sqrt(1 - kappa**2 * (1 - mean**2))
    x = kappa * (U - mean) + np.sqrt(V) * s * rng.standard_normal(V.size)
    assert np.quantile(-x, 0.99) == pytest.approx(var, rel=0.02)
    found = fit_skewed_t(x[:40_000])
    assert found.kappa == pytest.approx(kappa, abs=0.12)
    assert found.dof == pytest.approx(dof, rel=0.2)


def test_the_right_model_survives_at_the_nominal_rate_and_a_wrong_one_does_not():
    kept = wrong = 0
    options = {"models": "normal", "window": 1000}
    for seed in range(24):
        rng = np.random.default_rng(seed)
        # A window of 1000 leaves an error of the volatility of 2%.
        panel = panel_of(0.01 * rng.standard_normal(2000))
        kept += bool(backtest(panel, {"A0": 1.0}, **options).survivors())
        # Far out: beyond its 99.9% quantile a normal law of the same variance has a
        # sixth of the mass of a t with three degrees.
        panel = panel_of(0.005 * rng.standard_t(3, 2000))
        far = backtest(panel, {"A0": 1.0}, level=0.999, es_level=0.99, **options)
        wrong += bool(far.survivors())
    # 5% at most are rejected in truth: 20 of 24 or fewer kept has probability 0.03.
    assert kept >= 20
    assert wrong <= 8


def test_clustering_kills_the_constant_volatility_and_spares_the_filter():
    rng = np.random.default_rng(11)
    r, v = np.empty(3000), 1e-4
    for t in range(3000):
        r[t] = np.sqrt(v) * rng.standard_normal()
        v = 1e-6 + 0.10 * r[t] ** 2 + 0.89 * v
    found = backtest(
        panel_of(r), {"A0": 1.0}, models=["normal", "filtered_garch"], window=1000
    )
    table = found.table().set_index("model")
    assert not table.loc["normal", "survives"]
    assert table.loc["filtered_garch", "survives"]
    assert found.survivors() == ("filtered_garch",)
    assert table.index[0] == "filtered_garch" and table["difference"].iloc[1] > 0
    assert table.loc["normal", "dm_p"] < 0.05


def test_nothing_earlier_moves_when_the_future_is_corrupted(everything):
    returns = two_assets()
    cut = 295
    wrecked = returns.copy()
    wrecked[cut:] = np.random.default_rng(9).normal(0, 0.2, wrecked[cut:].shape)
    other = backtest(panel_of(wrecked), BOOK, **SHORT)
    seen = cut - 250 + 1  # the forecast for the first wrecked session is still clean
    for name in ("var", "es_var", "es"):
        before, after = getattr(everything, name), getattr(other, name)
        np.testing.assert_array_equal(before[:, :seen], after[:, :seen])
        later = before[:, seen:] != after[:, seen:]
        # The copula is fitted at refits: it learns of the wreck at the next one.
        held = [m == "copula" for m in everything.models]
        assert later[~np.array(held)].any(axis=1).all()


def test_nothing_earlier_moves_when_the_future_is_deleted(everything):
    panel = panel_of(two_assets())
    short = backtest(panel.between(None, panel.dates[300]), BOOK, **SHORT)
    ended = backtest(panel, BOOK, end=panel.dates[300], **SHORT)
    for name in ("var", "es_var", "es"):
        want = getattr(everything, name)[:, : len(short.dates)]
        np.testing.assert_array_equal(getattr(short, name), want)
        np.testing.assert_array_equal(getattr(ended, name), want)
    assert ended.dates[-1] == panel.dates[300] == short.dates[-1]


def test_workers_do_not_change_a_bit(everything):
    parallel = backtest(panel_of(two_assets()), BOOK, n_jobs=2, **SHORT)
    for name in ("var", "es_var", "es"):
        np.testing.assert_array_equal(
            getattr(everything, name), getattr(parallel, name)
        )


def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch):
    panel = panel_of(two_assets())
    chosen = ["historical", "normal", "student_t"]
    calls = []

    def stop(done, total, message):
        calls.append(message)
        if message == "risk: student_t":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backtest(panel, BOOK, models=chosen, store=tmp_path, progress=stop, **SHORT)
    assert len(list(tmp_path.glob("*.npz"))) == 2
    ran = []
    run = implementation._run
    monkeypatch.setattr(
        implementation, "_run", lambda n, f, b: ran.append(n) or run(n, f, b)
    )
    got = backtest(panel, BOOK, models=chosen, store=tmp_path, **SHORT)
    assert set(ran) == {"student_t"}
    fresh = backtest(panel, BOOK, models=chosen, **SHORT)
    np.testing.assert_array_equal(got.es, fresh.es)
    # Other settings and damaged files are not taken for results.
    ran.clear()
    backtest(panel, BOOK, models="normal", store=tmp_path, **(SHORT | {"refit": 41}))
    next(tmp_path.glob("historical*")).write_bytes(b"PK broken")
    backtest(panel, BOOK, models="historical", store=tmp_path, **SHORT)
    assert set(ran) == {"normal", "historical"}


def test_a_missing_price_is_refused_or_reported():
    panel = panel_of(two_assets())
    prices = panel.prices.copy()
    prices[280, 1] = np.nan
    gap = replace(panel, prices=prices, content_hash="")
    with pytest.raises(DataError, match="A1") as caught:
        backtest(gap, BOOK, models="normal", **SHORT)
    assert caught.value.date == str(panel.dates[280])
    got = backtest(gap, BOOK, models=["normal", "copula"], missing="exclude", **SHORT)
    assert got.excluded.tolist() == panel.dates[280:282].tolist()
    assert not np.isin(got.excluded, got.dates).any() and len(got.dates) == 68
    assert str(got.excluded[0]) in repr(got)
    # The window closes over the gap: no return of two sessions is in it.
    own = two_assets() @ W
    left = np.delete(own, [279, 280])
    assert got.var[0, -1] == pytest.approx(2.3263478740 * left[-251:-1].std(ddof=1))


@pytest.mark.parametrize(
    ("place", "model", "stand_in"),
    [
        ("engine.montecarlo._historical._garch", "filtered_garch", "filtered_ewma"),
        ("engine.montecarlo._regimes._fit_states", "regime_switching", "normal"),
        ("engine.montecarlo._copula._copula_dof", "copula", "historical"),
    ],
)
def test_a_failed_fit_is_replaced_and_counted(monkeypatch, place, model, stand_in):
    def fail(*_):
        raise ModelError("no such luck")

    monkeypatch.setattr(place, fail)
    got = backtest(panel_of(two_assets()), BOOK, models=[model, stand_in], **SHORT)
    np.testing.assert_array_equal(got.es[0], got.es[1])
    assert len(got.notes) == 1 and got.notes[0].startswith(f"{model}: ")
    assert got.notes[0].endswith("at 2 of 2 refits") and got.notes[0] in repr(got)


def test_the_mean_shifts_every_law():
    names = [m for m in MODELS if m != "copula"]
    panel = panel_of(two_assets() + 0.002)
    zero = backtest(panel, BOOK, models=names, **SHORT)
    sample = backtest(panel, BOOK, models=names, mean="sample", **SHORT)
    own = pd.Series((two_assets() + 0.002) @ W).rolling(250).mean().to_numpy()[249:-1]
    for name in ("var", "es_var", "es"):
        gap = getattr(zero, name) - getattr(sample, name)
        np.testing.assert_allclose(gap, np.tile(own, (len(names), 1)), atol=1e-12)


def test_weights_come_in_any_labelled_form():
    panel = panel_of(two_assets())
    options = {"models": "normal", **SHORT}
    one = backtest(panel, {"A1": 0.7, "A0": 0.3}, **options)
    for other in (pd.Series({"A0": 0.3, "A1": 0.7}), [0.3, 0.7]):
        got = backtest(panel, other, **options)
        np.testing.assert_allclose(got.var, one.var, rtol=1e-12)


def test_a_session_without_a_row_is_refused():
    frame = panel_of(two_assets()).to_frame()
    universe = pd.DataFrame(
        {"ticker": ["A0", "A1"], "venue": "NYSE", "quote_currency": "USD"}
    )
    sessions = engine.data.calendars.sessions("NYSE", "2015-01-02", "2017-01-01").dates
    frame = frame.iloc[:320].set_axis(pd.DatetimeIndex(sessions[:320]), axis=0)
    frame.index.name = "date"
    kept = frame.drop(frame.index[290])
    with pytest.raises(DataError, match="no row for a session") as caught:
        backtest(
            engine.load_panel(kept, universe=universe, price_basis="total_return"),
            BOOK,
            models="normal",
            **SHORT,
        )
    assert caught.value.date == str(frame.index[290].date())


def test_a_late_starter_is_named():
    panel = panel_of(two_assets())
    prices = panel.prices.copy()
    prices[:200, 1] = np.nan
    late = replace(panel, prices=prices, content_hash="")
    with pytest.raises(DataError, match=r"too short a history.*A1"):
        backtest(late, BOOK, models="normal", **SHORT)
    backtest(late, {"A0": 1.0}, models="normal", **SHORT)


@pytest.mark.parametrize(
    ("weights", "options", "error", "words"),
    [
        ({"A0": 0.5}, {}, DataError, "sum to one"),
        ({"A0": np.nan, "A1": 1}, {}, DataError, "A0"),
        ({"CASH:USD": 1.0}, {}, DataError, "no asset"),
        ({"ZZ": 1.0}, {}, DataError, "ZZ"),
        ([1.0], {}, DataError, "do not match"),
        (BOOK, {"models": "garch"}, UsageError, "filtered_garch"),
        (BOOK, {"models": "normal:oaks"}, UsageError, "oaks"),
        (BOOK, {"models": []}, UsageError, "no model"),
        (BOOK, {"models": ["normal", "normal"]}, UsageError, "twice"),
        (BOOK, {"window": 100}, UsageError, "window"),
        (BOOK, {"refit": 0}, UsageError, "refit"),
        (BOOK, {"level": 99}, UsageError, "level"),
        (BOOK, {"mean": "drift"}, UsageError, "mean"),
        (BOOK, {"missing": "skip"}, UsageError, "missing"),
        (BOOK, {"seed": -1}, UsageError, "seed"),
        (BOOK, {"start": "2015-02-02"}, DataError, "too short"),
        (BOOK, {"start": "2030-01-01"}, DataError, "too short"),
        (BOOK, {"start": "x"}, DataError, "not a date"),
    ],
)
def test_bad_input(weights, options, error, words):
    with pytest.raises(error, match=words):
        backtest(panel_of(two_assets()), weights, **({"window": 250} | options))


def test_a_book_without_risk_is_refused():
    with pytest.raises(DataError, match="no risk"):
        backtest(panel_of(np.zeros((300, 1))), {"A0": 1.0}, models="normal", window=250)


def test_the_result_shows_and_keeps_itself(everything):
    assert everything.models == tuple(MODELS)
    again = pickle.loads(pickle.dumps(everything))
    np.testing.assert_array_equal(again.es, everything.es)
    assert not again.es.flags.writeable
    table = everything.table()
    assert list(table["score"]) == sorted(table["score"])
    assert table["worst_zone"].isna().all()  # 70 sessions hold no year
    text = json.dumps(plain(everything.to_dict()), allow_nan=False)
    assert everything.data_hash in text and '"numpy"' in text
    assert "survivors" in everything._repr_html_()
    frame = everything.to_frame()
    assert len(frame) == 70 * len(MODELS)
    hits = frame[frame["model"] == "normal"]["exception"].sum()
    assert hits == everything.exceptions("normal").sum()
    with pytest.raises(UsageError, match="unknown model"):
        everything.scores("nobody")


def test_zones_and_desk_read_the_worst_year():
    T = 400
    losses = np.full(T, -0.01)
    losses[100:345:20] = 1.0  # 13 exceptions within 250 sessions
    base = backtest(panel_of(two_assets()), BOOK, models="normal", **SHORT)
    flat = np.full((1, T), 0.1)
    dates = np.datetime64("2015-01-01") + np.arange(T)
    told = replace(
        base, dates=dates, losses=losses, var=flat, es_var=flat, es=flat * 1.1
    )
    row = told.table().iloc[0]
    assert row["exceptions"] == 13
    assert row["worst_zone"] == "red" and not row["desk"]
    losses[340] = -0.01
    row = replace(told, losses=losses).table().iloc[0]
    assert row["desk"]


def test_pieces_of_the_verdict():
    assert _holm([0.04, 0.5, 0.02]) == pytest.approx(0.06)
    normal = normal_expected_shortfall(1.0, level=0.975) / stats.norm.ppf(0.975)
    assert _dof_of(normal, 0.975) == np.inf
    q = stats.t.ppf(0.975, 4)
    es = stats.t.expect(lambda x: x, (4,), lb=q) / 0.025
    assert _dof_of(es / q, 0.975) == pytest.approx(4.0, rel=1e-4)
    assert _dof_of(50.0, 0.975) == 2.1
