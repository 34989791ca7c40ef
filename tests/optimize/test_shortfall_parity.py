"""The same optimum as riskfolio-lib and skfolio, at a small size."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.shortfall_cases import _riskfolio, _skfolio, _textbook
from engine.optimize import ShortfallProblem, minimum_shortfall
from tests.optimize.shortfall_cases import market

R = market(250, 6, seed=11) + 3e-4
METHODS = ("auto", "dual_linear", "textbook")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("peer", ["riskfolio", "skfolio", "cvxpy"])
def test_least_shortfall_of_peers(method, peer):
    # Python lists of solvers and pandas copies in the peers warn; theirs to mend.
    if peer == "riskfolio":
        pytest.importorskip("riskfolio")
        w = _riskfolio(pd.DataFrame(R, columns=list("ABCDEF")))
    elif peer == "skfolio":
        pytest.importorskip("skfolio")
        w = _skfolio(R)
    else:
        w = _textbook(R)
    problem = ShortfallProblem(R)
    found = minimum_shortfall(problem, method=method)
    assert problem.violation(w) <= 1e-6
    assert found.expected_shortfall == pytest.approx(problem.shortfall(w), rel=1e-6)
    np.testing.assert_allclose(found.weights, w, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_required_mean_cap_and_probabilities_of_skfolio(method):
    """Bounds and a required mean, on rows repeated as often as their probability."""
    skfolio = pytest.importorskip("skfolio")
    from skfolio.optimization import MeanRisk

    counts = np.random.default_rng(2).integers(1, 4, size=len(R))
    repeated = np.repeat(R, counts, axis=0)
    mean = repeated.mean(axis=0)
    largest = np.sort(mean)[::-1][:3] @ [0.4, 0.4, 0.2]
    required = 0.2 * mean.mean() + 0.8 * largest
    theirs = MeanRisk(
        risk_measure=skfolio.RiskMeasure.CVAR,
        cvar_beta=0.9,
        max_weights=0.4,
        min_return=required,
    ).fit(repeated)
    problem = ShortfallProblem(
        R,
        p=counts / counts.sum(),
        level=0.9,
        upper=0.4,
        A_ub=-mean[None, :],
        b_ub=np.array([-required]),
        row_names=("required mean",),
    )
    found = minimum_shortfall(problem, method=method)
    assert found.prices["required mean"] > 0
    assert found.expected_shortfall == pytest.approx(
        problem.shortfall(theirs.weights_), rel=1e-6
    )


@pytest.mark.parametrize("method", METHODS)
def test_turnover_of_riskfolio(method):
    """riskfolio-lib bounds each absolute change: bounds around the current weights."""
    riskfolio = pytest.importorskip("riskfolio")
    names = list("ABCDEF")
    book = riskfolio.Portfolio(returns=pd.DataFrame(R, columns=names), alpha=0.05)
    book.assets_stats(method_mu="hist", method_cov="hist")
    current = np.full(6, 1 / 6)
    book.allowTO, book.turnover = True, 0.05
    book.benchweights = pd.DataFrame(current, index=names, columns=["weights"])
    w = book.optimization(model="Classic", rm="CVaR", obj="MinRisk", hist=True)
    w = w.to_numpy()[:, 0]
    problem = ShortfallProblem(R, lower=current - 0.05, upper=current + 0.05)
    found = minimum_shortfall(problem, method=method)
    assert problem.violation(w) <= 1e-6
    assert found.expected_shortfall == pytest.approx(problem.shortfall(w), rel=1e-6)
    assert (
        found.expected_shortfall
        > 1.01 * minimum_shortfall(ShortfallProblem(R)).expected_shortfall
    )
