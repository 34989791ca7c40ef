"""The door to riskfolio-lib: same answers as ours, and every pitfall of its own."""

import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from engine.errors import DataError, ModelError, SolverError, UsageError
from engine.optimize import _riskfolio as door
from engine.optimize import hierarchical, minimum_variance, riskfolio_minimum
from engine.risk import (
    conditional_drawdown_at_risk,
    entropic_value_at_risk,
    expected_shortfall,
    maximum_drawdown,
)


def returns(T=120, N=5, seed=0):
    rng = np.random.default_rng(seed)
    X = 0.01 * (rng.standard_t(5, (T, 1)) + rng.standard_t(5, (T, N)))
    return pd.DataFrame(X * np.linspace(0.5, 1.5, N), columns=list("VWXYZ")[:N])


X = returns()


def test_least_variance_is_ours():
    w = riskfolio_minimum(X, measure="MV")
    np.testing.assert_allclose(w.weights, minimum_variance(X.cov()), atol=2e-4)
    assert w.measure == "standard deviation" and w.path == ("CLARABEL: optimal",)
    assert list(w.labelled().index) == list(X.columns)


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("CVaR", lambda x: expected_shortfall(-x, level=0.9)),
        ("EVaR", lambda x: entropic_value_at_risk(-x, level=0.9)),
        ("WR", lambda x: -x.min()),
        (
            "CDaR",
            lambda x: conditional_drawdown_at_risk(x, level=0.9, compounded=False),
        ),
        ("MDD", lambda x: maximum_drawdown(x, compounded=False)),
    ],
)
def test_exotic_minima_are_minima_of_our_own_measure(name, measure):
    """By our own code: no small move and no random book has less risk."""
    w = riskfolio_minimum(X, measure=name, level=0.9).weights
    x = X.to_numpy()
    least = measure(x @ w)
    rng = np.random.default_rng(1)
    for v in [*rng.dirichlet(np.ones(5), 60), *np.eye(5)]:
        for t in (0.01, 0.1, 1.0):
            other = measure(x @ ((1 - t) * w + t * v))
            assert other >= least * (1 - 1e-5)


def test_recursive_bisection_by_hand():
    """Lopez de Prado (2016): halve the sorted list, split by inverse cluster risk."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    C = X.cov().to_numpy()
    s = np.sqrt(np.diagonal(C))
    D = np.sqrt(np.clip((1 - C / np.outer(s, s)) / 2, 0, 1))
    np.fill_diagonal(D, 0.0)
    tree = linkage(squareform(D, checks=False), "single", optimal_ordering=True)
    w = np.ones(5)

    def risk(items):
        q = C[np.ix_(items, items)]
        v = 1 / np.diagonal(q)
        v /= v.sum()
        return v @ q @ v

    def split(items):
        if len(items) == 1:
            return
        a, b = items[: len(items) // 2], items[len(items) // 2 :]
        share = 1 - risk(a) / (risk(a) + risk(b))
        w[a] *= share
        w[b] *= 1 - share
        split(a), split(b)

    split(list(leaves_list(tree)))
    made = hierarchical(X, method="HRP", linkage="single")
    np.testing.assert_allclose(made.weights, w, rtol=1e-9)


@pytest.mark.parametrize("method", door.METHODS)
def test_a_covariance_gives_what_its_returns_give(method):
    a = hierarchical(X, method=method)
    b = hierarchical(covariance=X.cov(), method=method)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-12)
    assert a.labels == b.labels == tuple(X.columns)
    assert a.weights.sum() == pytest.approx(1.0, abs=1e-9) and a.weights.min() >= 0
    plain = hierarchical(X.to_numpy(), method=method, upper=0.4)
    assert plain.labels == () and plain.weights.max() <= 0.4 + 1e-9
    assert method == plain.method


def test_one_and_two_assets():
    assert hierarchical(X[["V"]]).weights.tolist() == [1.0]
    v = X[["V", "W"]].var().to_numpy()
    np.testing.assert_allclose(
        hierarchical(X[["V", "W"]]).weights, (1 / v) / (1 / v).sum(), rtol=1e-9
    )
    with pytest.raises(ModelError, match="no clusters"):
        hierarchical(X[["V", "W"]], method="HERC")


# Pitfalls of the library, each refused here.


@pytest.mark.parametrize(
    ("wrong", "meant"), [("Evar", "EVaR"), ("CVarr", "CVaR"), ("mdd", "MDD")]
)
def test_a_misspelt_measure_suggests_what_was_meant(wrong, meant):
    """The library: UnboundLocalError."""
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        riskfolio_minimum(X, measure=wrong)
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        hierarchical(X, measure=wrong)


def solver_that(monkeypatch, change):
    """Let every solve of the library end in another way."""
    with door._recorded() as (riskfolio, _):
        assert riskfolio
    import cvxpy

    solve = cvxpy.Problem.solve

    def changed(self, *args, **kwargs):
        value = solve(self, *args, **kwargs)
        change(self)
        return value

    monkeypatch.setattr(cvxpy.Problem, "solve", changed)


def test_a_status_that_is_not_optimal_is_refused(monkeypatch):
    """The library never reads it."""

    def inaccurate(problem):
        problem._status = "optimal_inaccurate"

    solver_that(monkeypatch, inaccurate)
    with pytest.raises(SolverError, match="CLARABEL: optimal_inaccurate; SCS"):
        riskfolio_minimum(X, measure="MAD")


def test_weights_off_their_budget_are_refused_not_rescaled(monkeypatch):
    """The library divides them by their absolute sum."""

    def doubled(problem):
        for v in problem.variables():
            if v.shape == (5, 1):
                v.save_value(2.0 * v.value)

    solver_that(monkeypatch, doubled)
    with pytest.raises(SolverError, match="its limits are off by"):
        riskfolio_minimum(X, measure="MV")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.6, 0.0], "sum to 1.1"),
        ([1.2, -0.2, 0.0], "weights from -0.2"),
        ([np.nan, 0.5, 0.5], "not a number"),
    ],
)
def test_answers_are_checked_and_never_rescaled(weights, message):
    arguments = ((), "HRP", "MV", 0.95, (), 0.0, 1.0)
    with pytest.raises(SolverError, match=message):
        door._checked(np.array(weights), *arguments)
    kept = np.array([0.5, 0.5 + 5e-7, 0.0])
    assert door._checked(kept, *arguments).weights.tolist() == kept.tolist()


def test_its_module_is_left_as_it_was_and_prints_nothing(capsys):
    import cvxpy

    with pytest.raises(SolverError, match="riskfolio-lib failed"):
        with door._recorded():
            print("noise")
            raise KeyError("inside")
    module = sys.modules["riskfolio.src.Portfolio"]
    assert module.cp is cvxpy
    assert capsys.readouterr().out == ""


def test_the_library_rescales_what_it_returns():
    """Why the check is on the raw answer: the rescaled one always looks right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import riskfolio

        book = riskfolio.Portfolio(returns=X)
        book.assets_stats(method_mu="hist", method_cov="hist")
        w = book.optimization(model="Classic", rm="MV", obj="MinRisk", hist=True)
    assert w is not None
    assert w["weights"].sum() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: hierarchical(X, method="HPR"), UsageError, "Did you mean 'HRP'"),
        (lambda: hierarchical(X, linkage="word"), UsageError, "Did you mean 'ward'"),
        (lambda: hierarchical(), UsageError, "one of the two"),
        (lambda: hierarchical(X, covariance=X.cov()), UsageError, "one of the two"),
        (lambda: hierarchical(X, upper=0.1), UsageError, "no long-only portfolio"),
        (lambda: hierarchical(X, clusters=0), UsageError, "whole number"),
        (lambda: hierarchical(X, measure="equal"), UsageError, "belong to HERC"),
        (
            lambda: hierarchical(covariance=X.cov(), measure="CVaR"),
            UsageError,
            "needs returns",
        ),
        (
            lambda: hierarchical(X, method="NCO", measure="DaR"),
            UsageError,
            "risk measure of NCO",
        ),
        (
            lambda: riskfolio_minimum(X.mask(X > X.max() * 0.99), measure="MV"),
            DataError,
            "missing",
        ),
        (
            lambda: riskfolio_minimum(X.assign(W=0.0), measure="MV"),
            ModelError,
            "never moves; at asset W",
        ),
        (
            lambda: riskfolio_minimum(X, measure="MV", level=5.0),
            UsageError,
            "level",
        ),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
