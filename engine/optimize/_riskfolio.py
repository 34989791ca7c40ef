"""The one door to riskfolio-lib: hierarchical portfolios, and measures we do not solve.

riskfolio-lib (Cajas) reads no solver status and rescales long-only weights by their
absolute sum after solving. Here every solve is recorded: its status, and how far the
raw answer violates its limits; what comes back is checked and never rescaled.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine._typing import Matrix, Vector
from engine.covariance._check import observations
from engine.errors import ModelError, SolverError, UsageError
from engine.optimize._inputs import read_covariance
from engine.optimize.solve import CONIC_ORDER
from engine.parallel import thread_limits
from engine.risk._measures import check_level

METHODS = ("HRP", "HERC", "HERC2", "NCO")
OBJECTIVES = {
    "MV": "standard deviation",
    "KT": "square root of the kurtosis",
    "EM": "root of an even moment",
    "MAD": "mean absolute deviation",
    "GMD": "Gini mean difference",
    "MSV": "semi standard deviation",
    "SKT": "square root of the semi kurtosis",
    "ESM": "root of an even semi moment",
    "FLPM": "first lower partial moment",
    "SLPM": "second lower partial moment",
    "CVaR": "expected shortfall",
    "TG": "tail Gini",
    "EVaR": "entropic value at risk",
    "RLVaR": "relativistic value at risk",
    "WR": "worst realisation",
    "RG": "range",
    "CVRG": "range of expected shortfall",
    "TGRG": "range of tail Gini",
    "EVRG": "range of entropic value at risk",
    "RVRG": "range of relativistic value at risk",
    "MDD": "maximum drawdown",
    "ADD": "average drawdown",
    "CDaR": "conditional drawdown at risk",
    "EDaR": "entropic drawdown at risk",
    "RLDaR": "relativistic drawdown at risk",
    "UCI": "ulcer index",
}
"""Measures that `riskfolio_minimum` can minimise; drawdowns of uncompounded returns."""
_NOT_FOR_TREES = ("GMD", "RG")
_ONLY_FOR_TREES = {
    "equal": "equal weights",
    "vol": "standard deviation",
    "VaR": "value at risk",
    "VRG": "range of value at risk",
    "DaR": "drawdown at risk",
    "MDD_Rel": "maximum drawdown, compounded",
    "ADD_Rel": "average drawdown, compounded",
    "DaR_Rel": "drawdown at risk, compounded",
    "CDaR_Rel": "conditional drawdown at risk, compounded",
    "EDaR_Rel": "entropic drawdown at risk, compounded",
    "RLDaR_Rel": "relativistic drawdown at risk, compounded",
    "UCI_Rel": "ulcer index, compounded",
}
TREE_MEASURES = {
    **{k: v for k, v in OBJECTIVES.items() if k not in _NOT_FOR_TREES},
    **_ONLY_FOR_TREES,
}
"""Measures that `hierarchical` can divide risk by."""
FROM_COVARIANCE = ("MV", "vol", "equal")
LINKAGES = ("single", "complete", "average", "weighted", "centroid", "median", "ward")
_DEPENDENCE = ("pearson", "spearman", "kendall", "distance")
_BUDGET = 1e-6
_RESIDUAL = 1e-4
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class RiskfolioResult(Value):
    """Weights from riskfolio-lib, as it gave them, after the checks.

    Attributes
    ----------
    weights : (N,) float64
        Within the bounds, sum one to 1e-6; not rescaled.
    labels : tuple of str
        Of a DataFrame; empty otherwise.
    method, measure : str
        ``minimum``, or a hierarchical method; the measure in words.
    level : float
        Confidence of the measures that have one.
    path : tuple of str
        Status of every solve that riskfolio-lib made.
    """

    weights: Vector
    labels: tuple[str, ...]
    method: str
    measure: str
    level: float
    path: tuple[str, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        w = frozen_array(self.weights, name="weights", ndim=1)
        object.__setattr__(self, "weights", w)

    def labelled(self) -> Any:
        """Weights as a Series where the input had labels, else the array."""
        if not self.labels:
            return self.weights
        import pandas as pd

        return pd.Series(self.weights, index=list(self.labels), name="weight")


def hierarchical(
    returns: Any = None,
    *,
    covariance: Any = None,
    method: str = "HRP",
    measure: str = "MV",
    linkage: str = "ward",
    dependence: str = "pearson",
    clusters: int | None = None,
    max_clusters: int = 10,
    level: float = 0.95,
    lower: float = 0.0,
    upper: float = 1.0,
) -> RiskfolioResult:
    """Hierarchical weights: HRP, HERC or NCO, from returns or from a covariance.

    Parameters
    ----------
    returns : (T, N) array_like or DataFrame, optional
        Simple returns per period, decimals; no NaN.
    covariance : (N, N) array_like, DataFrame or FactorCovariance, optional
        In place of returns, for a measure ``"MV"``, ``"vol"`` or ``"equal"``: clusters
        and risk are then those of a covariance estimated as the user likes.
    method : {"HRP", "HERC", "HERC2", "NCO"}
        Hierarchical risk parity (Lopez de Prado 2016), equal risk contribution over
        clusters (Raffinot 2018; HERC2 divides equally within them), nested clustered
        optimisation (Lopez de Prado 2019, least risk).
    measure : str, default "MV"
        A name of `TREE_MEASURES`; a misspelt one suggests what was meant.
    linkage, dependence : str
        Of the tree; ward and pearson by default.
    clusters, max_clusters : int
        Number for HERC and NCO; chosen up to the maximum by default.
    level : float, default 0.95
    lower, upper : float
        Bounds on each weight.

    Returns
    -------
    RiskfolioResult
        Weights, and what they were computed with.

    Raises
    ------
    UsageError
        An unknown method, measure or option.
    DataError, ModelError
        Malformed input, or an asset that never moves.
    SolverError
        An answer that is not finite, off its budget or out of its bounds, or a solve
        without an optimal status.
    """
    _known(method, METHODS, "method")
    _known(measure, TREE_MEASURES, "risk measure")
    _known(linkage, LINKAGES, "linkage")
    _known(dependence, _DEPENDENCE, "dependence")
    if method == "NCO":
        _known(measure, OBJECTIVES, "risk measure of NCO")
    if method == "HRP" and measure == "equal":
        raise UsageError("HRP divides by risk: equal weights belong to HERC")
    check_level(level)
    if (returns is None) == (covariance is None):
        raise UsageError("give returns or a covariance, one of the two")
    for name, k in (("clusters", clusters), ("max_clusters", max_clusters)):
        if k is not None and (isinstance(k, bool) or int(k) != k or k < 1):
            raise UsageError(f"{name} must be a whole number, 1 or more", received=k)
    with thread_limits(1):
        if covariance is None:
            frame, labels = _frame(returns)
            options: dict[str, Any] = {"codependence": dependence}
        else:
            frame, labels, options = _from_covariance(covariance, measure)
        n = frame.shape[1]
        _check_bounds(lower, upper, n)
        if n == 1:
            return _checked(
                np.ones(1), labels, method, measure, level, (), lower, upper
            )
        if n == 2 and method != "HRP":
            raise ModelError(
                "two assets have no clusters",
                received=method,
                expected="three assets or more",
                fix="Use HRP, or risk_budgeting.",
            )
        with _recorded() as (riskfolio, solves):
            made = riskfolio.HCPortfolio(
                returns=frame,
                alpha=1.0 - level,
                solvers=list(CONIC_ORDER),
                w_max=float(upper),
                w_min=float(lower),
            )
            weights = made.optimization(
                model=method,
                rm=measure,
                obj="MinRisk",
                linkage=linkage,
                k=None if clusters is None else min(int(clusters), n),
                max_k=min(int(max_clusters), n),
                leaf_order=True,
                **options,
            )
        return _checked(
            _ordered(weights, frame),
            labels,
            method,
            measure,
            level,
            _statuses(solves),
            lower,
            upper,
        )


def riskfolio_minimum(
    returns: Any,
    *,
    measure: str,
    level: float = 0.95,
    lower: float = 0.0,
    upper: float = 1.0,
) -> RiskfolioResult:
    """Long-only weights of the least risk by a measure of riskfolio-lib.

    Parameters
    ----------
    returns : (T, N) array_like or DataFrame
        Simple returns per period, decimals, oldest first; no NaN.
    measure : str
        A name of `OBJECTIVES`, such as ``"EVaR"``, ``"CDaR"`` or ``"MDD"``; a misspelt
        one suggests what was meant.
    level : float, default 0.95
    lower, upper : float, default 0 and 1
        Bounds on each weight, not negative.

    Returns
    -------
    RiskfolioResult
        Weights, and what they were computed with.

    Raises
    ------
    UsageError
        An unknown measure, or bounds that leave no room for the budget.
    DataError, ModelError
        Malformed returns, or an asset that never moves.
    SolverError
        No solver ended with an optimal status, or the answer is not finite, off its
        budget or out of its bounds. Nothing is rescaled to hide it.
    """
    _known(measure, OBJECTIVES, "risk measure")
    check_level(level)
    with thread_limits(1):
        frame, labels = _frame(returns)
        _check_bounds(lower, upper, frame.shape[1])
        with _recorded() as (riskfolio, solves):
            book = riskfolio.Portfolio(
                returns=frame,
                alpha=1.0 - level,
                upperlng=float(upper),
                lowerlng=float(lower),
            )
            book.solvers = list(CONIC_ORDER)
            kurtosis = "hist" if measure in ("KT", "SKT") else None
            book.assets_stats(method_mu="hist", method_cov="hist", method_kurt=kurtosis)
            weights = book.optimization(
                model="Classic", rm=measure, obj="MinRisk", hist=True
            )
        path = _statuses(solves)
        if weights is None:
            raise SolverError(
                f"no solver minimised {OBJECTIVES[measure]}", received="; ".join(path)
            )
        return _checked(
            _ordered(weights, frame),
            labels,
            "minimum",
            measure,
            level,
            path,
            lower,
            upper,
        )


def _known(name: Any, names: Any, what: str) -> None:
    if isinstance(name, str) and name in names:
        return
    lowered = {n.lower(): n for n in names}
    near = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)
    raise UsageError(
        f"unknown {what}",
        received=repr(name),
        expected=", ".join(names),
        fix=f"Did you mean {lowered[near[0]]!r}?" if near else None,
    )


def _frame(returns: Any) -> tuple[Any, tuple[str, ...]]:
    """Returns as a labelled table, with labels of ours where there were none."""
    import pandas as pd

    values, columns = observations(returns, minimum=3)
    labels = () if columns is None else tuple(str(c) for c in columns)
    names = list(labels) or [f"column {i}" for i in range(values.shape[1])]
    still = (values == values[0]).all(axis=0)
    if still.any():
        raise ModelError(
            "an asset never moves",
            asset=names[int(np.argmax(still))],
            fix="Leave it out, or hold it as cash.",
        )
    index = returns.index if columns is not None else None
    return pd.DataFrame(values.copy(), columns=names, index=index), labels


def _from_covariance(covariance: Any, measure: str) -> Any:
    import pandas as pd

    if measure not in FROM_COVARIANCE:
        raise UsageError(
            "this measure needs returns, not a covariance",
            received=measure,
            expected=", ".join(FROM_COVARIANCE),
        )
    risk = read_covariance(covariance, moving=True)
    labels = () if risk.labels is None else tuple(str(k) for k in risk.labels)
    names = list(labels) or [f"column {i}" for i in range(risk.n)]
    matrix = pd.DataFrame(risk.matrix(), index=names, columns=names)
    options = {
        "codependence": "custom_cov",
        "method_cov": "custom_cov",
        "custom_cov": matrix,
        "method_mu": "custom_mu",
        "custom_mu": pd.Series(0.0, index=names),
    }
    # Only labels are read from the returns where all else is given.
    return pd.DataFrame(np.zeros((2, risk.n)), columns=names), labels, options


def _check_bounds(lower: float, upper: float, n: int) -> None:
    if not (0.0 <= lower <= upper <= 1.0) or lower * n > 1.0 or upper * n < 1.0 - 1e-12:
        raise UsageError(
            "bounds leave no long-only portfolio",
            received=f"{lower} to {upper} for {n} assets",
            expected="0 <= lower <= 1/N <= upper <= 1",
        )


def _ordered(weights: Any, frame: Any) -> Vector:
    return weights["weights"].loc[frame.columns].to_numpy(dtype=np.float64)


@contextlib.contextmanager
def _recorded() -> Iterator[tuple[Any, list[tuple[str, str]]]]:
    """Give riskfolio-lib, and note how each of its solves ended.

    An answer without status "optimal", or whose raw weights break the problem's own
    limits, is refused where it is made, so that the next solver in the order is tried.
    What it prints goes nowhere: the standard output belongs to results.
    """
    solves: list[tuple[str, str]] = []
    with _lock, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # Its own and cvxpy's warnings: what they warn of is checked here.
        warnings.simplefilter("ignore")
        riskfolio = importlib.import_module("riskfolio")
        module: Any = sys.modules["riskfolio.src.Portfolio"]
        original = module.cp
        module.cp = _Recording(original, solves)
        try:
            yield riskfolio, solves
        except _FAILURES as error:
            raise SolverError(
                "riskfolio-lib failed",
                received=f"{type(error).__name__}: {error}",
                fix="Clusters need correlations that differ; or use HRP.",
            ) from error
        finally:
            module.cp = original


_FAILURES = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)


class _Recording:
    """The module cvxpy, except that every problem reports how it ended."""

    def __init__(self, cvxpy: Any, solves: list[tuple[str, str]]) -> None:
        class Problem(cvxpy.Problem):
            def solve(self, *args: Any, **kwargs: Any) -> Any:
                name = str(kwargs.get("solver"))
                try:
                    value = super().solve(*args, **kwargs)
                except (cvxpy.SolverError, ArithmeticError, ValueError) as error:
                    solves.append((name, "failed"))
                    raise cvxpy.SolverError(str(error)) from error
                status = self.status
                if status == cvxpy.OPTIMAL:
                    broken = _violation(self, cvxpy)
                    if broken <= _RESIDUAL:
                        solves.append((name, status))
                        return value
                    status = f"optimal, but its limits are off by {broken:.1e}"
                solves.append((name, status))
                for variable in self.variables():
                    variable.save_value(None)
                raise cvxpy.SolverError(status)

        self.Problem = Problem
        self._cvxpy = cvxpy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cvxpy, name)


def _violation(problem: Any, cvxpy: Any) -> float:
    """Largest violation of the linear limits, relative to what they compare."""
    plain = (cvxpy.constraints.Equality, cvxpy.constraints.Inequality)
    worst = 0.0
    for limit in problem.constraints:
        if isinstance(limit, plain) and all(a.is_affine() for a in limit.args):
            sizes = [float(np.abs(a.value).max(initial=0.0)) for a in limit.args]
            off = float(np.max(limit.violation()))
            worst = max(worst, off / max(1.0, *sizes))
    return worst


def _statuses(solves: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{solver}: {status}" for solver, status in solves)


def _checked(
    weights: Matrix,
    labels: tuple[str, ...],
    method: str,
    measure: str,
    level: float,
    path: tuple[str, ...],
    lower: float,
    upper: float,
) -> RiskfolioResult:
    """Refuse what is not finite, not on budget or out of bounds; rescale nothing."""
    w = np.array(weights, dtype=np.float64)
    words = {**TREE_MEASURES, **OBJECTIVES}[measure]
    problems = []
    if not np.isfinite(w).all():
        problems.append("a weight is not a number")
    else:
        if abs(w.sum() - 1.0) > _BUDGET:
            problems.append(f"weights sum to {w.sum():.6f}")
        if w.min() < lower - _BUDGET or w.max() > upper + _BUDGET:
            problems.append(f"weights from {w.min():.6f} to {w.max():.6f}")
    if problems:
        raise SolverError(
            f"riskfolio-lib's {method} by {words} fails its checks",
            received="; ".join([*problems, *path]),
            expected=f"weights from {lower} to {upper} that sum to one",
        )
    return RiskfolioResult(w, labels, method, words, float(level), path)
