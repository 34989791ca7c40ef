"""Entropy pooling against closed forms, two other solvers and two peer libraries."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from engine import (
    CheapModelShock,
    Constraints,
    DataError,
    InfeasibleError,
    StressCap,
    Universe,
    UsageError,
    stress,
)
from engine.risk import expected_shortfall, value_at_risk
from engine.scenarios import ScenarioSet
from engine.shocks import Pooled, Views, entropy_pool
from engine.shocks._entropy import EQUAL, LOWER, TOLERANCE, UPPER, tilt

NAMES = ("NVDA", "ANET", "MSFT", "SMH", "KO")


def a_set(S=2000, seed=0, p=None, returns=None):
    rng = np.random.default_rng(seed)
    if returns is None:
        B = np.array([[0.06], [0.06], [0.03], [0.04], [0.005]])
        returns = np.expm1(
            rng.standard_t(6, (S, 1)) @ B.T + 0.03 * rng.standard_normal((S, 5))
        )
    p = np.full(S, 1.0 / S) if p is None else p
    return ScenarioSet(NAMES, returns, p, 21, Universe(NAMES), "USD", 252.0)


def moments(s):
    mean = s.p @ s.returns
    return mean, np.sqrt(s.p @ (s.returns - mean) ** 2)


TEN = [
    "mean(NVDA) == -0.02",
    "mean(ANET) <= -0.015",
    "mean(MSFT) - mean(KO) >= 0.002",
    "mean(SMH) >= mean(NVDA)",
    "prob(NVDA <= -0.1 and ANET <= -0.1) >= 0.08",
    "vol(NVDA) == 0.085",
    "variance(KO) <= 0.0009",
    "vol(SMH) >= 1.05 * prior(vol(SMH))",
    "corr(NVDA, ANET) >= 0.82",
    "corr(MSFT, KO) == 0.0",
]


# ----------------------------------------------------------------- closed forms


def test_gaussian_closed_form_of_meucci():
    """``mu~ = mu + K (m_Q - Q mu)``, ``S~ = S + K (S_Q - Q S Q') K'``."""
    S, rng = 400_000, np.random.default_rng(3)
    C = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.3], [0.2, 0.3, 1.0]]) * 0.05**2
    half = rng.multivariate_normal(np.zeros(3), C, S // 2)
    x = np.vstack([half, -half])  # exact means: one source of sampling error less
    names = NAMES[:3]
    s = ScenarioSet(names, x, np.full(S, 1 / S), 1, Universe(names), "USD", 252.0)
    q = entropy_pool(["mean(NVDA) == -0.03", "vol(NVDA) == 0.06"]).reweight(s).p
    K = C[:, :1] / C[0, 0]
    mean = (K @ [[-0.03]]).ravel()
    cov = C + K @ [[0.06**2 - C[0, 0]]] @ K.T
    got = q @ x
    # Four standard errors of a mean and of a covariance over the effective number.
    effective = np.exp(-(q @ np.log(q)))
    np.testing.assert_allclose(got, mean, atol=4 * 0.05 / np.sqrt(effective))
    d = x - got
    np.testing.assert_allclose(
        (d * q[:, None]).T @ d, cov, atol=4 * 1.5 * 0.06**2 / np.sqrt(effective)
    )


def test_one_event_scales_the_two_groups():
    """P(A) = v: the rows of A by v / P(A), the others by (1 - v) / (1 - P(A))."""
    s = a_set(p=np.random.default_rng(1).dirichlet(np.ones(2000)))
    inside = s.returns[:, 0] <= -0.05
    before = s.p[inside].sum()
    pooled = entropy_pool("prob(NVDA <= -0.05) == 0.4").pool(s)
    expected = s.p * np.where(inside, 0.4 / before, 0.6 / (1 - before))
    np.testing.assert_allclose(pooled.scenarios.p, expected, rtol=1e-9)
    kl = 0.4 * np.log(0.4 / before) + 0.6 * np.log(0.6 / (1 - before))
    assert pooled.relative_entropy == pytest.approx(kl, rel=1e-9)
    # The multiplier is the slope of the relative entropy in the view's value.
    slope = np.log(0.4 / before) - np.log(0.6 / (1 - before))
    assert pooled.views[0].multiplier == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize(
    "view", ["vol(NVDA) == {}", "mean(NVDA) == -{}", "2 * vol(NVDA) == {} + 0.08"]
)
def test_multipliers_are_slopes_of_the_relative_entropy(view):
    s = a_set()

    def kl(x):
        pooled = entropy_pool(view.format(f"{x:.9f}")).pool(s)
        return pooled.relative_entropy, pooled.views[0]

    slope = (kl(0.0801)[0] - kl(0.0799)[0]) / 0.0002
    if "mean" in view:
        slope = -slope
    assert kl(0.08)[1].multiplier == pytest.approx(slope, rel=1e-3)


# ------------------------------------------------------------ independent solvers


def reference_slsqp(A, b, kind, p):
    """Minimise the primal over q directly."""
    rules = [{"type": "eq", "fun": lambda q: q.sum() - 1}]
    for a, value, k in zip(A, b, kind, strict=True):
        sign = -1.0 if k == UPPER else 1.0
        fun = lambda q, a=a, v=value, s=sign: s * (a @ q - v)  # noqa: E731
        rules.append({"type": "eq" if k == EQUAL else "ineq", "fun": fun})
    found = minimize(
        lambda q: q @ np.log(np.maximum(q, 1e-300) / p),
        p,
        jac=lambda q: np.log(np.maximum(q, 1e-300) / p) + 1,
        bounds=[(1e-12, 1)] * p.size,
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    return found.x


def test_solver_agrees_with_slsqp_and_with_an_exponential_cone():
    import cvxpy as cp

    rng = np.random.default_rng(5)
    A, p = rng.standard_normal((4, 60)), rng.dirichlet(np.full(60, 5.0))
    b, kind = np.array([0.3, 0.2, -0.4, -0.5]), np.array([EQUAL, LOWER, UPPER, LOWER])
    found = tilt(A, b, kind, p)
    assert found.feasible and abs(A[0] @ found.p - 0.3) < 1e-10
    assert found.multipliers[3] == 0.0  # does not bind
    slow = reference_slsqp(A, b, kind, p)
    assert found.relative_entropy == pytest.approx(slow @ np.log(slow / p), rel=1e-7)
    np.testing.assert_allclose(found.p, slow, atol=2e-5)  # root of its tolerance
    q = cp.Variable(60, nonneg=True)
    limits = [cp.sum(q) == 1, A[0] @ q == b[0], A[1] @ q >= b[1]]
    limits += [A[2] @ q <= b[2], A[3] @ q >= b[3]]
    cp.Problem(cp.Minimize(cp.sum(cp.rel_entr(q, p))), limits).solve(
        "CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
    )
    np.testing.assert_allclose(found.p, q.value, atol=1e-6)


def test_sequential_pooling_is_skfolios():
    from skfolio.prior import EntropyPooling

    s = a_set(5000)
    views = [
        "mean(NVDA) == -0.02",
        "mean(ANET) <= -0.015",
        "variance(NVDA) == 0.0072",
        "variance(MSFT) >= 0.0026",
        "corr(NVDA, ANET) == 0.84",
    ]
    ours = entropy_pool(views).pool(s)
    peer = EntropyPooling(
        mean_views=["NVDA == -0.02", "ANET <= -0.015"],
        variance_views=["NVDA == 0.0072", "MSFT >= 0.0026"],
        correlation_views=["(NVDA, ANET) == 0.84"],
        solver_params={
            "maxfun": 20_000,
            "ftol": 1e-15,
            "xtol": 1e-10,
            "gtol": 1e-11,
            "stepmx": 1,
        },
    ).fit(pd.DataFrame(s.returns, columns=list(NAMES)))
    q = peer.return_distribution_.sample_weight
    np.testing.assert_allclose(ours.scenarios.p @ s.returns, q @ s.returns, atol=1e-6)
    assert ours.relative_entropy == pytest.approx(peer.relative_entropy_, abs=1e-6)
    np.testing.assert_allclose(ours.scenarios.p, q, atol=1e-6)


def test_pooling_is_riskfolios():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import riskfolio as rp

        s = a_set(800)
        Z = rp.entropy_pooling(
            pd.DataFrame(s.returns, columns=list(NAMES)),
            P_eq=s.returns[:, :1].T,
            Q_eq=np.array([[-0.02]]),
            P_in=-s.returns[:, 1:2].T,
            Q_in=np.array([[0.018]]),
        )[-1]
    ours = entropy_pool(["mean(NVDA) == -0.02", "mean(ANET) <= -0.018"]).pool(s)
    np.testing.assert_allclose(ours.scenarios.p, np.ravel(Z), atol=1e-6)


def test_shortfall_view_is_skfolios():
    from skfolio.prior import EntropyPooling

    s = a_set(4000)
    before = expected_shortfall(-s.returns[:, 0], level=0.95, p=s.p)
    for target in (1.2 * before, 0.85 * before):
        ours = entropy_pool(f"es(NVDA, 0.95) == {target!r}").pool(s)
        peer = EntropyPooling(cvar_views=[f"NVDA == {target!r}"]).fit(
            pd.DataFrame(s.returns, columns=list(NAMES))
        )
        after = expected_shortfall(-s.returns[:, 0], level=0.95, p=ours.scenarios.p)
        assert after == pytest.approx(target, rel=1e-7)
        # The peer stops at the fourth digit; ours must not be farther from the prior.
        assert ours.relative_entropy <= peer.relative_entropy_ + 1e-4
        assert ours.relative_entropy == pytest.approx(peer.relative_entropy_, rel=0.02)


def test_shortfall_by_scanning_the_value_at_risk():
    """The tail fixed at its k worst scenarios, the best k by trial (Meucci 2008)."""
    s = a_set(300, seed=4)
    losses = -s.returns[:, 0]
    target = 1.15 * expected_shortfall(losses, level=0.9, p=s.p)
    best = np.inf
    for t in np.sort(losses)[-80:]:
        row = t + np.maximum(losses - t, 0) / 0.1
        mass = (losses > t).astype(float)
        if row.max() <= target or mass.sum() == 0:
            continue
        at = (losses >= t).astype(float)
        A, b = np.array([row, mass, at]), np.array([target, 0.1, 0.1])
        found = tilt(A, b, np.array([EQUAL, UPPER, LOWER]), s.p)
        if found.feasible:
            best = min(best, found.relative_entropy)
    pooled = entropy_pool(f"es(NVDA, 0.9) == {target!r}").pool(s)
    assert pooled.relative_entropy == pytest.approx(best, rel=1e-6)


# --------------------------------------------------------------------- what holds


def test_ten_views_of_all_kinds_hold():
    s = a_set(20_000)
    pooled = entropy_pool(TEN).pool(s)
    q, x = pooled.scenarios.p, s.returns
    mean, vol = moments(pooled.scenarios)
    C = np.cov(x.T, aweights=q, ddof=0)
    R = C / np.sqrt(np.outer(np.diag(C), np.diag(C)))
    assert mean[0] == pytest.approx(-0.02, abs=1e-10)
    assert mean[1] <= -0.015 + 1e-10 and mean[2] - mean[4] >= 0.002 - 1e-10
    assert mean[3] >= mean[0] and vol[0] == pytest.approx(0.085, abs=1e-9)
    assert vol[4] <= 0.03 + 1e-9 and vol[3] >= 1.05 * moments(s)[1][3] - 1e-9
    assert q[(x[:, 0] <= -0.1) & (x[:, 1] <= -0.1)].sum() >= 0.08 - 1e-10
    assert R[0, 1] >= 0.82 - 1e-9 and R[2, 4] == pytest.approx(0.0, abs=1e-9)
    assert all(abs(v.residual) < 1e-9 for v in pooled.views)
    assert pooled.effective_number == pytest.approx(np.exp(-(q @ np.log(q))))
    assert pooled.effective_share == pytest.approx(np.exp(-(q @ np.log(q / s.p))))
    assert pooled.largest_weight == q.max()
    assert list(pooled.to_frame()["text"]) == TEN
    again = pickle.loads(pickle.dumps(pooled))
    assert isinstance(again, Pooled) and again.views == pooled.views


def test_sequential_costs_less_than_one_step():
    """Vorobets 2021: nuisance moments held at prior values cost relative entropy."""
    views = ["mean(NVDA) == -0.04", "corr(NVDA, MSFT) == 0.8"]
    s = a_set(5000)
    one = entropy_pool(views, method="one_step").pool(s)
    staged = entropy_pool(views).pool(s)
    assert staged.relative_entropy < one.relative_entropy
    for pooled in (one, staged):
        assert all(abs(v.residual) < 1e-9 for v in pooled.views)
    # In one step the mean and the variance of MSFT are those of the prior.
    at = [moments(one.scenarios)[k][2] for k in (0, 1)]
    np.testing.assert_allclose(at, [moments(s)[k][2] for k in (0, 1)], rtol=1e-8)


@pytest.mark.parametrize("operator", ["<=", ">=", "=="])
def test_value_at_risk_views_hold(operator):
    s = a_set()
    losses = -s.returns[:, 0]
    for target in (0.10, 0.20):
        q = entropy_pool(f"var(NVDA, 0.95) {operator} {target}").reweight(s).p
        after = value_at_risk(losses, level=0.95, p=q)
        if operator == "==":
            nearest = losses[np.argmin(np.abs(losses - target))]
            assert after == nearest
        else:
            assert after <= target if operator == "<=" else after >= target


def test_shape_views_hold():
    s = a_set(20_000)
    q = entropy_pool(["skew(NVDA) == -0.5", "kurtosis(KO) >= 5"]).reweight(s).p
    from scipy import stats

    x = np.random.default_rng(0).choice(s.returns[:, 0], 400_000, p=q)
    assert stats.skew(x) == pytest.approx(-0.5, abs=0.05)
    z = s.returns[:, 4] - q @ s.returns[:, 4]
    assert q @ z**4 / (q @ z**2) ** 2 >= 5 - 1e-8


@given(
    st.integers(0, 10**6),
    st.lists(st.floats(-0.8, 0.8), min_size=3, max_size=3),
    st.lists(st.sampled_from([LOWER, EQUAL, UPPER]), min_size=3, max_size=3),
)
def test_posterior_is_the_nearest_feasible(seed, shift, kinds):
    rng = np.random.default_rng(seed)
    A, p = rng.standard_normal((3, 200)), rng.dirichlet(np.ones(200))
    b, kind = A @ p + 0.5 * np.array(shift), np.array(kinds)
    found = tilt(A, b, kind, p)
    assert found.feasible
    q = found.p
    gap = A @ q - b
    # What the solver promises, in prior standard deviations: rounding may end it here.
    near = 100.0 * TOLERANCE * np.abs(A).max()
    assert (np.abs(gap[kind == EQUAL]) < near).all()
    assert (gap[kind == LOWER] > -near).all() and (gap[kind == UPPER] < near).all()
    assert q.sum() == pytest.approx(1.0) and (q >= 0).all()
    assert found.relative_entropy >= -1e-12
    assert (np.abs(found.multipliers * gap) < 1e-8).all()
    # Any feasible neighbour is farther: moves that keep all three means and the sum.
    rows = np.vstack([A, np.ones(200)])
    for _ in range(3):
        d = rng.standard_normal(200) * q
        d -= q * (rows.T @ np.linalg.solve((rows * q) @ rows.T, rows @ d))
        other = q + 0.3 * d / max(np.abs(d / q).max(), 1e-300)
        assert other @ np.log(other / p) >= found.relative_entropy - 1e-10


@given(st.integers(0, 10**6))
def test_views_that_hold_already_change_nothing(seed):
    s = a_set(100, seed=seed)
    mean, vol = moments(s)
    views = [f"mean(NVDA) <= {mean[0] + 0.01}", f"vol(KO) >= {vol[4] * 0.9}"]
    views += [f"es(SMH, 0.9) >= {-mean[3]}", f"mean(MSFT) == {float(mean[2])!r}"]
    pooled = entropy_pool(views).pool(s)
    np.testing.assert_allclose(pooled.scenarios.p, s.p, rtol=1e-9)
    assert pooled.relative_entropy == pytest.approx(0.0, abs=1e-12)


def test_scenarios_without_probability_keep_none():
    p = np.full(2000, 1.0)
    p[::3] = 0.0
    s = a_set(p=p / p.sum())
    q = entropy_pool("mean(NVDA) <= -0.05").reweight(s).p
    assert (q[::3] == 0).all() and q @ s.returns[:, 0] == pytest.approx(-0.05)


def test_views_that_repeat_each_other_are_one():
    s = a_set()
    once = entropy_pool("mean(NVDA) == -0.03").reweight(s).p
    twice = ["mean(NVDA) == -0.03", "2 * mean(NVDA) == -0.06", "mean(NVDA) <= -0.03"]
    np.testing.assert_allclose(entropy_pool(twice).reweight(s).p, once, rtol=1e-8)


# ------------------------------------------------------------------- as a shock


def test_a_reweighting_is_a_leg_and_a_stress():
    s = a_set(5000)
    shock = entropy_pool(["mean(NVDA) == -0.10"], name="bad month")
    shocked = s.apply(shock)
    assert shocked.legs == ("bad month",)
    np.testing.assert_array_equal(shocked.returns, s.returns)
    mixed = s.mix(shock, 0.25)
    assert mixed.legs == ("base", "bad month")
    assert mixed.p[mixed.rows("bad month")].sum() == pytest.approx(0.25)
    assert mixed.leg_mean("bad month")[0] == pytest.approx(-0.10)
    weights = {"NVDA": 0.5, "MSFT": 0.3, "KO": 0.2}
    result = stress(weights, s, shock)["bad month"]
    w = s.align(weights)
    posterior_loss = -shocked.p @ s.returns @ w
    assert result.loss == pytest.approx(posterior_loss, rel=1e-12)
    np.testing.assert_allclose(result.by_asset, -w * (shocked.p @ s.returns))
    pooled = shock.pool(s)
    assert result.effective_share == pytest.approx(pooled.effective_share)
    # The limit of an optimiser is set on the same loss.
    cap = StressCap(shock, 0.05, winner_credit=1.0)
    assert Constraints(stress_caps=(cap,)).stress_caps[0] is cap
    moves = cap.moves(s)
    base = s.leg_mean("base")
    cap_loss = -((1 + base) * (1 + cap.draws(moves)[0]) - 1) @ w
    assert cap_loss == pytest.approx(posterior_loss, rel=1e-10)
    with pytest.raises(UsageError, match="reweights"):
        s.apply(shock, severity=0.9)


def test_a_push_shock_rests_on_all_scenarios():
    tickers = ("NVDA", "MSFT")
    universe = Universe(
        tickers, role=("accelerator", "hyperscaler"), asset_class=("equity",) * 2
    )
    s = ScenarioSet(
        tickers, np.zeros((4, 2)), np.full(4, 0.25), 1, universe, "USD", 252
    )
    assert stress({"NVDA": 1.0}, s, CheapModelShock()).results[0].effective_share == 1.0


def test_few_effective_scenarios_warn():
    s = a_set()
    low = float(np.sort(s.returns[:, 0])[5])
    with pytest.warns(UserWarning, match="prior's effective scenarios"):
        entropy_pool(f"mean(NVDA) <= {low}").pool(s)


# -------------------------------------------------------------------- bad input


def test_an_asset_that_is_not_there_is_named():
    with pytest.raises(DataError, match=r"NVDX.*Did you mean NVDA"):
        entropy_pool("mean(NVDX) <= -0.1").pool(a_set())
    with pytest.raises(DataError, match="XX"):
        entropy_pool("prob(XX <= -0.1) >= 0.1").pool(a_set())


def test_a_view_beyond_the_scenarios_names_the_range():
    s = a_set()
    with pytest.raises(InfeasibleError, match="nearest") as caught:
        entropy_pool(["mean(KO) >= 0", "mean(NVDA) <= -0.99"]).pool(s)
    assert caught.value.conflict == ("mean(NVDA) <= -0.99",)
    assert f"{s.returns[:, 0].min():.6g}" in caught.value.relaxation[0]


def test_contradictions_name_the_views_and_the_nearest():
    s = a_set(500)
    views = ["mean(KO) >= 0", "mean(NVDA) <= -0.05", "mean(NVDA) >= 0.02"]
    with pytest.raises(InfeasibleError) as caught:
        entropy_pool(views).pool(s)
    error = caught.value
    assert set(error.conflict) == set(views[1:])
    assert len(error.relaxation) == 1  # one of the two gives
    view, _, value = error.relaxation[0].partition(": the nearest feasible value is ")
    other = {views[1]: 0.02, views[2]: -0.05}[view]
    assert float(value) == pytest.approx(other, abs=1e-6)
    assert pickle.loads(pickle.dumps(error)).conflict == error.conflict


def test_an_impossible_set_of_correlations_is_named():
    # rho13 >= rho12 rho23 - sqrt((1 - rho12^2)(1 - rho23^2)) for any three.
    views = ["corr(NVDA, ANET) == 0.8", "corr(ANET, MSFT) == 0.8"]
    views.append("corr(NVDA, MSFT) == 0.1")
    with pytest.raises(InfeasibleError) as caught:
        entropy_pool(views).pool(a_set(500))
    assert set(caught.value.conflict) == set(views)
    assert caught.value.relaxation


def test_views_chain_and_match_their_text():
    views = (
        Views()
        .mean("NVDA", "<=", -0.02)
        .volatility("KO", "<=", 0.03)
        .variance("SMH", ">=", 0.003)
        .correlation("NVDA", "ANET", ">=", 0.8)
        .value_at_risk("MSFT", "<=", 0.08)
        .expected_shortfall("ANET", ">=", 0.17)
        .probability("NVDA <= -0.1", ">=", 0.08)
        .rank("KO", "MSFT")
    )
    assert len(views) == 8
    s = a_set(3000)
    by_text = entropy_pool([str(v) for v in views]).reweight(s).p
    np.testing.assert_array_equal(entropy_pool(views).reweight(s).p, by_text)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_event_can_be_excluded_or_made_certain(value):
    s = a_set()
    inside = s.returns[:, 0] <= -0.05
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few effective scenarios
        q = entropy_pool(f"prob(NVDA <= -0.05) == {value}").reweight(s).p
    rest = inside if value else ~inside
    expected = np.where(rest, s.p, 0.0) / s.p[rest].sum()
    np.testing.assert_allclose(q, expected, atol=1e-12)


@given(st.integers(0, 10**6))
def test_mixed_views_hold_or_are_refused_with_their_names(seed):
    rng = np.random.default_rng(seed)
    s = a_set(int(rng.integers(50, 600)), seed, None)
    u, views = rng.uniform, []
    for _ in range(int(rng.integers(1, 6))):
        a, b = rng.choice(list(NAMES), 2, replace=False)
        op = rng.choice(["<=", ">=", "=="])
        some = (
            f"mean({a}) {op} {u(-0.05, 0.05):.4f}",
            f"vol({a}) {op} {u(0.03, 0.1):.4f}",
            f"corr({a}, {b}) {op} {u(-0.2, 0.95):.3f}",
            f"es({a}, 0.9) {op} {u(0.05, 0.2):.4f}",
            f"prob({a} <= {u(-0.1, 0.05):.3f} and {b} <= 0) {op} {u(0, 0.5):.3f}",
            f"vol({a}) {op} vol({b})",
        )
        views.append(some[int(rng.integers(len(some)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            pooled = entropy_pool(views).pool(s)
        except InfeasibleError as error:
            assert set(error.conflict) <= set(views) and error.conflict
            return
    assert all(abs(v.residual) < 1e-7 for v in pooled.views)
    assert pooled.relative_entropy >= 0
