"""Correlation themes: theta recovered, gradients, and stresses that hurt."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.covariance import theme_correlation
from engine.data.roles import role_of
from engine.data.universe import Universe
from engine.errors import DataError, ModelError, UsageError

ROLES = ["accelerator", "network", "memory", "accelerator", "software", "software"]
ROLES += ["none", "none", "unknown", "software"]
COUNTRIES = ["US", "US", "KR", "TW", "US", "US", "US", "KR", "TW", "TW"]
LABELS = {"role": ROLES, "country": COUNTRIES}


def simulate(T=1_500, N=30, seed=0, theta=(0.25, 0.30, 0.15)):
    """Returns whose correlations are tanh of what pairs share."""
    rng = np.random.default_rng(seed)
    theme = rng.integers(0, 3, N)
    country = rng.integers(0, 2, N)
    z = [
        np.ones((N, N)),
        theme[:, None] == theme[None, :],
        country[:, None] == country[None, :],
    ]
    R = np.tanh(sum(t * plane for t, plane in zip(theta, z, strict=True)))
    np.fill_diagonal(R, 1.0)
    assert np.linalg.eigvalsh(R)[0] > 0.0
    X = 0.01 * rng.normal(size=(T, N)) @ np.linalg.cholesky(R).T
    labels = {"theme": [f"T{k}" for k in theme], "country": [f"C{k}" for k in country]}
    return X, labels, R


def small(T=400, seed=1, **options):
    rng = np.random.default_rng(seed)
    ai = np.array([r in ("accelerator", "network", "memory") for r in ROLES])
    drift = np.linspace(0.3, 1.2, T)[:, None]
    X = 0.6 * rng.normal(size=(T, 1)) + drift * rng.normal(size=(T, 1)) * ai
    X = 0.01 * (X + rng.normal(size=(T, 10)))
    return theme_correlation(X, LABELS, window=100, step=20, **options), X


def test_theta_is_recovered():
    truth = (0.25, 0.30, 0.15)
    errors = []
    for T in (500, 8_000):
        X, labels, _ = simulate(T=T + 1)
        model = theme_correlation(X, labels, window=T, step=1)
        assert model.features == ("common", "theme", "country")
        errors.append(np.abs(model.theta - truth).max())
    # 1/sqrt(8,000) = 0.011 for one correlation; factors make pairs dependent.
    assert errors[1] < 0.03 and errors[1] < errors[0]


def test_fit_is_least_squares_on_fishers_transform():
    model, X = small()
    R = np.corrcoef(X[-100:].T)
    rows, y = [], []
    for i in range(10):
        for j in range(i):
            ai = {"accelerator", "network", "memory"}
            a, b = ROLES[i], ROLES[j]
            rows.append(
                [
                    1.0,
                    a == b and a not in ("none", "unknown"),
                    COUNTRIES[i] == COUNTRIES[j],
                    a in ai and b in ai,
                    (a in ai and b == "software") or (b in ai and a == "software"),
                ]
            )
            y.append(np.arctanh(R[i, j]))
    expected = np.linalg.lstsq(np.array(rows, float), np.array(y))[0]
    assert model.features == ("common", "role", "country", "ai", "ai_software")
    np.testing.assert_allclose(model.theta, expected, rtol=1e-9)
    np.testing.assert_allclose(model.correlation(), R, atol=1e-9)
    np.testing.assert_allclose(model.covariance(), np.cov(X[-100:].T), rtol=1e-8)


def test_theta_through_time_and_its_covariance():
    model, X = small()
    assert model.theta_path.shape == (16, 5)
    np.testing.assert_array_equal(model.dates, np.arange(99, 400, 20))
    np.testing.assert_array_equal(model.theta_path[-1], model.theta)
    np.testing.assert_allclose(model.theta_covariance, np.cov(model.theta_path.T))
    first = theme_correlation(X[:120], LABELS, window=100, step=20)
    np.testing.assert_allclose(first.theta_path, model.theta_path[:2], rtol=1e-12)
    ai = model.theta_path[:, model.features.index("ai")]
    assert ai[-1] > ai[0] + 0.2  # the AI factor of `small` grows


def test_later_returns_do_not_change_earlier_theta():
    model, X = small()
    changed = X.copy()
    changed[260:] = 0.5 * np.random.default_rng(9).normal(size=changed[260:].shape)
    other = theme_correlation(changed, LABELS, window=100, step=20)
    early = model.dates < 260
    np.testing.assert_array_equal(other.theta_path[early], model.theta_path[early])


@pytest.mark.parametrize("keep", [True, False])
def test_gradient_is_that_of_finite_differences(keep):
    model, _ = small(keep_residuals=keep)
    w = np.random.default_rng(3).normal(size=10)
    g = model.gradient(w)
    h = 1e-6
    for k, feature in enumerate(model.features):
        up = model.with_theta({feature: h}, relative=True)
        down = model.with_theta({feature: -h}, relative=True)
        risks = [np.sqrt(w @ m.covariance() @ w) for m in (up, down)]
        assert g[k] == pytest.approx((risks[0] - risks[1]) / (2 * h), rel=1e-5)


def test_small_stress_follows_the_formula():
    """theta + k S g / sqrt(g'S g), for k so small that g does not turn."""
    model, _ = small()
    w = np.full(10, 0.1)
    k = 1e-4
    stress = model.stressed(w, plausibility=k)
    g, S = model.gradient(w), model.theta_covariance
    np.testing.assert_allclose(
        stress.theta - model.theta, k * S @ g / np.sqrt(g @ S @ g), rtol=1e-3
    )
    rise = stress.risk_after - stress.risk_before
    assert rise == pytest.approx(k * np.sqrt(g @ S @ g), rel=1e-3)
    assert stress.plausibility == pytest.approx(k, rel=1e-6)


def test_no_theta_of_the_ellipsoid_is_worse():
    model, _ = small(keep_residuals=False)
    w = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.0, 0.0])
    stress = model.stressed(w, plausibility=1.5)
    rng = np.random.default_rng(4)
    L = np.linalg.cholesky(model.theta_covariance)
    for _ in range(300):
        u = rng.normal(size=5)
        theta = model.theta + 1.5 * L @ (u / np.linalg.norm(u))
        risk = np.sqrt(w @ model.with_theta(theta).covariance() @ w)
        assert risk <= stress.risk_after * (1 + 1e-3)  # the repair is not smooth


@given(
    seed=st.integers(0, 10_000),
    k=st.floats(0.0, 6.0),
    long_only=st.booleans(),
    keep=st.booleans(),
)
def test_stressed_risk_is_never_below_the_base(seed, k, long_only, keep):
    model, _ = small(seed=seed % 5, keep_residuals=keep)
    w = np.random.default_rng(seed).normal(size=10)
    w = np.abs(w) if long_only else w
    stress = model.stressed(w, plausibility=k)
    assert stress.risk_after >= stress.risk_before
    assert stress.plausibility <= k * (1 + 1e-6) + 1e-9
    R = stress.correlation()
    assert np.linalg.eigvalsh(R)[0] > -1e-9
    np.testing.assert_allclose(np.diag(R), 1.0)
    S = stress.covariance()
    assert np.sqrt(w @ S @ w) == pytest.approx(stress.risk_after)
    np.testing.assert_allclose(np.diag(S), model.volatility**2)
    if long_only and k > 0.1:
        assert stress.risk_after > stress.risk_before


def test_key_stress_raises_ai_and_lowers_software():
    model, _ = small()
    after = model.with_theta(ai=0.4, ai_software=-0.3, relative=True)
    before_R, R = model.correlation(), after.correlation()
    assert R[0, 1] > before_R[0, 1] + 0.1  # accelerator with network
    assert R[0, 4] < before_R[0, 4] - 0.1  # accelerator with software
    assert R[6, 7] == pytest.approx(before_R[6, 7], abs=0.05)  # not concerned
    assert model.plausibility(after.theta) > 0
    assert model.plausibility(model.theta) == 0.0
    assert after.with_theta(model.theta).theta == pytest.approx(model.theta)


def test_a_stress_of_some_features_leaves_the_rest():
    model, _ = small(keep_residuals=False)
    w = np.array([0.4, 0.3, 0.2, 0.1, *[0.0] * 6])
    stress = model.stressed(w, plausibility=1.0, features=["ai", "ai_software"])
    moved = stress.theta != model.theta
    assert moved.tolist() == [False, False, False, True, True]
    assert stress.plausibility == pytest.approx(1.0, rel=1e-6)
    assert stress.risk_before < stress.risk_after
    assert stress.risk_after < model.stressed(w, plausibility=1.0).risk_after
    # On the slice of the ellipsoid no other pair of values is worse.
    P = np.linalg.inv(model.theta_covariance)[3:, 3:]
    L = np.linalg.inv(np.linalg.cholesky(P)).T
    for angle in np.linspace(0, 2 * np.pi, 40):
        move = L @ [np.cos(angle), np.sin(angle)]
        theta = model.theta + np.append(np.zeros(3), move)
        risk = np.sqrt(w @ model.with_theta(theta).covariance() @ w)
        assert risk <= stress.risk_after * (1 + 1e-3)
    with pytest.raises(UsageError, match="gold"):
        model.stressed(w, features="gold")
    with pytest.raises(UsageError, match="none at all"):
        model.stressed(w, features=[])


def test_on_real_returns_ai_names_came_to_move_together(real_data):
    prices = pd.read_parquet(real_data / "prices_us_listed.parquet").loc["2018":"2025"]
    about = pd.read_csv(real_data / "metadata.csv", keep_default_na=False)
    about = about[about["panel"] == "prices_us_listed"].set_index("ticker")
    names = [
        t for t in prices
        if about.asset_class.get(t) in ("equity", "adr") and prices[t].notna().all()
    ]  # fmt: skip
    labels = pd.DataFrame(
        {
            "role": [role_of(about.ai_theme[t], "equity", t) for t in names],
            "country": about.country[names],
            "sector": about.sector[names],
        },
        index=names,
    )
    model = theme_correlation(np.log(prices[names]).diff().iloc[1:], labels)
    path = dict(zip(model.features, model.theta_path.T, strict=True))
    assert (path["common"] > 0).all() and (path["sector"] > 0).all()
    # The pandemic of March 2020 is the height of correlation of everything.
    peak = model.dates[np.argmax(path["common"])]
    assert np.datetime64("2020-03-01") < peak < np.datetime64("2021-04-01")
    assert path["ai"][model.dates < np.datetime64("2020-01-01")].max() < 0.05
    assert path["ai"][model.dates > np.datetime64("2025-06-01")].min() > 0.15
    book = {t: 0.2 for t in ("NVDA", "AVGO", "ANET", "VRT", "ORCL") if t in names}
    stress = model.stressed(book, plausibility=2.0, features=["ai", "role"])
    assert stress.risk_after > stress.risk_before * 1.005
    assert np.linalg.eigvalsh(stress.correlation())[0] > -1e-9


def test_plausibility_is_mahalanobis_and_infinite_off_the_history():
    model, _ = small()
    move = np.array([0.1, 0.0, -0.05, 0.2, 0.0])
    expected = np.sqrt(move @ np.linalg.solve(model.theta_covariance, move))
    assert model.plausibility(model.theta + move) == pytest.approx(expected, rel=1e-6)
    X = small()[1]
    two = theme_correlation(X, LABELS, window=100, step=300)  # two windows, one line
    along = two.theta_path[1] - two.theta_path[0]
    # Two points at +-1/2: sample variance 1/2 of the gap squared.
    assert two.plausibility(two.theta + along) == pytest.approx(np.sqrt(2.0))
    across = np.zeros(5)
    across[0], across[1] = along[1], -along[0]
    assert two.plausibility(two.theta + across) == np.inf


def test_labels_by_name_and_universe():
    _, X = small()
    names = [f"A{i}" for i in range(10)]
    dates = pd.date_range("2024-01-01", periods=400, freq="B")
    frame = pd.DataFrame(X, index=dates, columns=names)
    table = pd.DataFrame(LABELS, index=names)
    got = theme_correlation(frame, table.iloc[::-1], window=100, step=20)
    np.testing.assert_allclose(got.theta, small()[0].theta)
    assert got.dates[-1] == np.datetime64(dates[-1])
    assert list(got.correlation().columns) == names
    universe = Universe(
        tuple(names), country=tuple(COUNTRIES), role=tuple(ROLES),
        sector=("Technology",) * 10,
    )  # fmt: skip
    same = theme_correlation(frame, universe, window=100, step=20)
    assert same.features == got.features  # a sector all share tells nothing
    np.testing.assert_allclose(same.theta, got.theta)
    weights = pd.Series({"A0": 0.6, "A4": 0.4})
    w = np.zeros(10)
    w[0], w[4] = 0.6, 0.4
    assert got.stressed(weights).risk_after == got.stressed(w).risk_after
    again = pickle.loads(pickle.dumps(got))
    np.testing.assert_array_equal(again.theta, got.theta)
    assert not again.indicators.flags.writeable
    assert "10 assets" in repr(got)
    assert list(got.to_frame()["feature"]) == list(got.features)
    assert list(got.stressed(w).to_frame()["move"] != 0)
    assert "standard deviations" in repr(got.stressed(w))


def test_none_and_unknown_are_shared_with_nobody():
    model, _ = small()
    role = model.indicators[model.features.index("role")]
    assert role[0, 3] == 1 and role[4, 5] == 1
    assert role[6, 7] == 0 and role[8].sum() == 0
    assert (np.diagonal(model.indicators, axis1=1, axis2=2) == 0).all()


def test_own_pairs_replace_the_default_ones():
    _, X = small()
    model = theme_correlation(
        X, LABELS, window=100, step=20, pairs={"korea_us": ("country", "KR", {"US"})}
    )
    assert model.features == ("common", "role", "country", "korea_us")
    assert model.indicators[3].sum() == 2 * COUNTRIES.count("KR") * COUNTRIES.count(
        "US"
    )
    assert theme_correlation(X, LABELS, window=100, pairs={}).features[-1] == "country"


def test_bad_input_is_named():
    model, X = small()
    fit = {"window": 100, "step": 20}
    broken = {**LABELS, "country": ["US", None, *COUNTRIES[2:]]}
    with pytest.raises(DataError, match=r"country is missing.*column 1"):
        theme_correlation(X, broken, **fit)
    with pytest.raises(DataError, match="do not match"):
        theme_correlation(X, {"role": ROLES[:-1]}, **fit)
    with pytest.raises(UsageError, match="at least one column"):
        theme_correlation(X, {}, **fit)
    with pytest.raises(UsageError, match="DataFrame"):
        theme_correlation(X, ROLES, **fit)
    names = [f"A{i}" for i in range(10)]
    frame = pd.DataFrame(X, columns=names)
    with pytest.raises(DataError, match=r"no labels.*A9"):
        theme_correlation(frame, pd.DataFrame(LABELS, index=names).iloc[:9], **fit)
    with pytest.raises(DataError, match=r"lacks an asset.*A9"):
        theme_correlation(frame, Universe(tuple(names[:9])), **fit)
    with pytest.raises(ModelError, match="two windows"):
        theme_correlation(X, LABELS, window=390, step=20)
    with pytest.raises(ModelError, match="feature same repeats"):
        theme_correlation(X, {"same": ["x"] * 10}, **fit)
    with pytest.raises(ModelError, match="no pair of assets has the feature lone"):
        theme_correlation(X, {"lone": [str(i) for i in range(10)]}, **fit)
    with pytest.raises(ModelError, match="too few pairs"):
        theme_correlation(X[:, :3], {"a": list("xxy"), "b": list("xyy")}, **fit)
    with pytest.raises(UsageError, match="names a column"):
        theme_correlation(X, LABELS, pairs={"p": ("venue", "A", "B")}, **fit)
    with pytest.raises(UsageError, match="not understood"):
        theme_correlation(X, LABELS, pairs={"p": "role"}, **fit)
    with pytest.raises(UsageError, match="share a name"):
        theme_correlation(X, LABELS, pairs={"role": ("role", "none", "none")}, **fit)
    with pytest.raises(UsageError, match="window"):
        theme_correlation(X, LABELS, window=3)
    still = X.copy()
    still[300:, 4] = 0.0
    with pytest.raises(ModelError, match=r"never moves.*column 4"):
        theme_correlation(still, LABELS, **fit)
    with pytest.raises(UsageError, match=r"unknown feature.*gold"):
        model.with_theta(gold=1.0)
    with pytest.raises(UsageError, match="one value per feature"):
        model.with_theta([0.1, 0.2])
    with pytest.raises(UsageError, match="finite"):
        model.with_theta(ai=np.nan)
    with pytest.raises(UsageError, match="plausibility"):
        model.stressed(np.ones(10), plausibility=-1)
    with pytest.raises(DataError, match=r"not modelled.*GOLD"):
        model.stressed({"GOLD": 1.0})
    with pytest.raises(DataError, match="holds none"):
        model.stressed(np.zeros(10))
    with pytest.raises(DataError, match="wrong shape"):
        model.stressed(np.ones(9))
