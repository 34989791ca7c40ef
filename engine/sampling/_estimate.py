"""One estimate of a functional of a book's loss, with a standard error that holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from engine._base import Value
from engine.errors import ModelError, UsageError
from engine.model import ReturnModel
from engine.parallel import BLOCK_SIZE, BlockStream, map_ordered
from engine.sampling._book import Book, book_of
from engine.sampling._control import control_mass
from engine.sampling._draws import PILOT, REPLICATES, STRATA, Plan, evaluate
from engine.sampling._functional import Functional, upper_quantile
from engine.sampling._twist import quadratic, solve

METHODS = (
    "plain",
    "antithetic",
    "moment_matched",
    "sobol",
    "stratified",
    "neyman",
    "control",
    "importance",
    "importance_stratified",
)


@dataclass(frozen=True, slots=True, eq=False)
class Estimate(Value):
    """A value with its sampling error.

    Attributes
    ----------
    functional : Functional
    method : str
    value, standard_error : float
        Of the loss as a decimal (of a probability for a tail).
    interval : (float, float)
        Confidence interval at ``confidence``.
    n : int
        Scenarios drawn, pilots aside.
    variance_ratio : float
        Variance of a plain estimate from ``n`` scenarios over this one's.
    n_effective : float
        Scenarios a plain estimate would need for this error: ``n * variance_ratio``.
    confidence : float
    seed : int
    """

    functional: Functional
    method: str
    value: float
    standard_error: float
    interval: tuple[float, float]
    n: int
    variance_ratio: float
    n_effective: float
    confidence: float
    seed: int

    def __repr__(self) -> str:
        return (
            f"Estimate({self.functional!r} = {self.value:.6g} +- "
            f"{self.standard_error:.2g}, {self.method}, {self.n} scenarios worth "
            f"{self.n_effective:.3g} plain, seed {self.seed})"
        )


def estimate(
    model: ReturnModel,
    weights: Any,
    functional: Functional,
    *,
    method: str = "sobol",
    n: int = 16_384,
    horizon: int = 1,
    seed: int = 0,
    target: float | None = None,
    confidence: float = 0.95,
    n_jobs: int = 1,
) -> Estimate:
    """Estimate a functional of the loss of a book.

    Parameters
    ----------
    model : ReturnModel
        Gaussian or Student-t; log or simple returns; dense or factor covariance. The
        model's mean is used as it stands: `engine.simulate` rescales each asset to
        the cash rate under ``zero_excess``, which a Gaussian model meets already and
        which has no counterpart for a Student-t, whose ``E[e^x]`` is infinite.
    weights : Portfolio, mapping or array_like (N,) or (N + 1,) with cash last
        Fractions of wealth, no NaN.
    functional : Functional
        `mean_loss`, `tail_probability`, `value_at_risk`, `expected_shortfall` or
        `expectation`.
    method : str, default "sobol"
        plain; antithetic (pairs Z, -Z); moment_matched (batches with exact mean and
        covariance; biased by O(1/batch)); sobol (16 randomisations, n a power of two;
        SciPy's scramble is a random linear matrix and a digital shift, Matousek
        1998); stratified and neyman (along the loss direction, with proportional or
        optimal allocation); control (the delta loss, whose law is known); importance
        and importance_stratified (exponential twist of the delta-gamma loss,
        Glasserman, Heidelberger, Shahabuddin 2000, 2002). Strata follow the delta
        loss: where far tails come from curvature, importance sampling sees them and
        neyman's pilot may not.
    n : int, default 16384
        Scenarios.
    horizon : int, default 1
        Sessions, a whole number of the model's periods.
    seed : int
        Same seed, same answer, bit for bit, for any ``n_jobs``.
    target : float, optional
        Loss that importance sampling makes typical. Default: the threshold of a tail
        probability; for VaR and ES a VaR found by pilot runs.
    confidence : float, default 0.95
        Of the interval.
    n_jobs : int
        Threads; -1 for one per core.

    Returns
    -------
    Estimate

    Raises
    ------
    UsageError
        Unknown method, a level outside (0, 1), ``n`` that does not fit the method, or
        importance sampling of a Student-t over several periods.
    ModelError
        A target beyond what the book can lose, or too few scenarios for an interval.

    Notes
    -----
    Units that are independent carry the error: scenarios, pairs, strata, batches or
    randomisations (the last two with Student-t quantiles). The VaR interval inverts
    the estimated tail at its own error (Woodruff 1952), so no density is needed; its
    standard error is the interval's width over twice the quantile. The ES error
    neglects that of the VaR, which enters at second order only.
    """
    from scipy.special import ndtri, stdtrit

    if not isinstance(functional, Functional):
        raise UsageError(
            "functional must be one of engine.sampling",
            received=repr(functional),
            fix="Use value_at_risk(0.99), expectation(f) and so on.",
        )
    if isinstance(confidence, bool) or not 0.0 < confidence < 1.0:
        raise UsageError("confidence lies in (0, 1)", received=confidence)
    book = book_of(model, weights, horizon)
    plan = _plan(book, functional, method, n, seed, target, n_jobs)
    losses, weight, linear = _run(book, plan, n_jobs)
    mass = plan.mass()
    if weight is not None:
        mass = mass * weight
    if method == "control":
        mass = control_mass(book, functional, linear)
    threshold = functional.parameter
    tail = 1.0 - functional.parameter
    if functional.kind in ("var", "es"):
        threshold = _quantile(losses, mass, tail, functional)
    values = functional.values(losses, threshold)
    centre = float(mass @ values)
    error, dof = _error(plan, mass, values)
    # Where the method makes the answer exact, what is left is rounding.
    rounding = np.finfo(float).eps * np.sqrt(plan.n) * float(np.abs(mass) @ abs(values))
    error = max(error, rounding)
    z = 0.5 * (1.0 + confidence)
    z = float(ndtri(z) if np.isinf(dof) else stdtrit(dof, z))
    raw = max(float(mass @ values**2) - centre**2, 0.0)
    ratio = raw / plan.n / error**2 if error > 0 else 1.0
    value, low, high = centre, centre - z * error, centre + z * error
    if functional.kind == "es":
        value, low, high = (threshold + q for q in (value, low, high))
    if functional.kind == "var":
        value = threshold
        if tail <= z * error:
            raise ModelError(
                "too few scenarios for an interval at this level",
                received=f"{plan.n} by method {method!r}",
                fix="Draw more, or use method='importance'.",
            )
        low = _quantile(losses, mass, tail + z * error, functional)
        high = _quantile(losses, mass, tail - z * error, functional)
        # The quantile lies between two draws: take the upper one, else an exact tail
        # would give an interval of no width.
        high = float(np.min(losses[losses > high], initial=np.inf))
        if not np.isfinite(high):
            high = float(losses.max())
        error = (high - low) / (2.0 * z)
    return Estimate(
        functional=functional,
        method=method,
        value=value,
        standard_error=float(error),
        interval=(float(low), float(high)),
        n=plan.n,
        variance_ratio=float(ratio),
        n_effective=float(plan.n * ratio),
        confidence=float(confidence),
        seed=int(seed),
    )


def _quantile(losses, mass, tail, functional) -> float:
    value = upper_quantile(losses, mass, tail)
    if np.isnan(value):
        raise ModelError(
            f"the sample does not reach {functional!r}",
            fix="Draw more, or use an importance target nearer the quantile.",
        )
    return value


def _run(book: Book, plan: Plan, n_jobs: int):
    parts = map_ordered(
        partial(evaluate, book=book, plan=plan),
        plan.items(),
        executor="serial" if n_jobs == 1 else "threads",
        n_jobs=n_jobs,
    )
    losses, linear = np.empty(plan.n), np.empty(plan.n)
    weight = None if plan.twist is None else np.empty(plan.n)
    for (_, start, stop), part in zip(plan.items(), parts, strict=True):
        losses[start:stop], linear[start:stop] = part[0], part[2]
        if weight is not None:
            weight[start:stop] = part[1]
    return losses, weight, linear


def _error(plan: Plan, mass, values) -> tuple[float, float]:
    """Standard error of ``mass @ values`` and the degrees of freedom behind it."""
    if plan.method in ("sobol", "moment_matched"):
        means = values.reshape(-1, plan.size).mean(axis=1)
        return float(means.std(ddof=1) / np.sqrt(means.size)), means.size - 1.0
    if plan.method == "antithetic":
        pairs = values.reshape(-1, 2).mean(axis=1)
        return float(pairs.std(ddof=1) / np.sqrt(pairs.size)), np.inf
    terms = mass * values
    if plan.stratum is not None:
        count = np.bincount(plan.stratum)
        average = np.bincount(plan.stratum, terms) / count
        spread = (terms - average[plan.stratum]) ** 2
        within = np.bincount(plan.stratum, spread) * count / (count - 1.0)
        return float(np.sqrt(within.sum())), np.inf
    if plan.method == "control":
        # Residuals of the regression on a constant and the control in the mass.
        c = mass - mass.mean()
        free = values - values.mean()
        if c @ c > 0:
            free = free - c * (c @ free) / (c @ c)
        return float(np.sqrt(free @ free / (free.size - 2.0) / free.size)), np.inf
    return float(terms.std(ddof=1) * np.sqrt(terms.size)), np.inf


def _plan(book, functional, method, n, seed, target, n_jobs) -> Plan:
    seed = int(BlockStream(seed).seed)
    if method not in METHODS:
        raise UsageError(
            "unknown method", received=repr(method), expected=", ".join(METHODS)
        )
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 2:
        raise UsageError("n must be a whole number above one", received=repr(n))
    n = int(n)
    if target is not None and not method.startswith("importance"):
        raise UsageError("only importance sampling takes a target", received=method)
    if target is not None and not np.isfinite(target):
        raise UsageError("the target must be finite", received=target)
    plan = basic_plan(book, method, n, seed)
    if method == "neyman":
        return _neyman(book, functional, plan, n_jobs)
    if method.startswith("importance"):
        return replace(plan, twist=_twist(book, functional, plan, target, n_jobs))
    return plan


def basic_plan(book: Book, method: str, n: int, seed: int) -> Plan:
    """Plan of a method before it is tuned; checks ``n``."""
    size = BLOCK_SIZE
    if method == "sobol":
        if n & (n - 1) or n < 2 * REPLICATES:
            raise UsageError(
                "Sobol sampling needs a power of two, 32 or more",
                received=n,
                fix=f"Use {max(32, 1 << (n - 1).bit_length())}.",
            )
        size = n // REPLICATES
    if method == "antithetic" and n % 2:
        raise UsageError("antithetic sampling needs an even n", received=n)
    if method == "moment_matched":
        # Above four rows per normal the matching is stable; below, it is a rotation
        # of noise and the bias is no longer small.
        size = max(BLOCK_SIZE, 1 << (4 * book.width - 1).bit_length())
        if n % size or n < 8 * size:
            raise UsageError(
                f"moment matching needs a multiple of its batch of {size}, 8 or more",
                received=n,
                fix=f"Use {size * max(8, -(-n // size))}.",
            )
    if method not in ("stratified", "neyman", "importance_stratified"):
        return Plan(method, n, seed, size=size)
    if n % STRATA or n < 2 * STRATA:
        raise UsageError(
            f"stratified sampling needs a multiple of {STRATA}, {2 * STRATA} or more",
            received=n,
            fix=f"Use {STRATA * max(2, -(-n // STRATA))}.",
        )
    return Plan(
        method,
        n,
        seed,
        edges=np.linspace(1.0, 0.0, STRATA + 1),
        stratum=np.arange(n) % STRATA,
    )


def _neyman(book: Book, functional: Functional, plan: Plan, n_jobs: int) -> Plan:
    """Strata graded into the tail, counts in proportion to mass times spread.

    Two fifths of the draws follow the mass and a tenth is even, so that a stratum
    whose pilot showed no spread cannot hide what it holds, and the variance is
    at most about two and a half times that of proportional allocation.
    """
    if np.isfinite(book.dof) and book.periods > 1:
        # The pilot would not see a rare mixing variable, whichever stratum it is in.
        raise UsageError(
            "optimal allocation of a Student-t covers one period",
            received=f"{book.periods} periods",
            fix="Use 'stratified', whose allocation needs no pilot.",
        )
    wide = STRATA - 16
    last = 1.0 / wide
    edges = np.concatenate(
        [np.linspace(1.0, last, wide), last * 0.5 ** np.arange(1, 17), [0.0]]
    )
    pilot = replace(
        plan, n=64 * STRATA, shift=PILOT, edges=edges,
        stratum=np.arange(64 * STRATA) % STRATA,
    )  # fmt: skip
    losses, _, _ = _run(book, pilot, n_jobs)
    mass = pilot.mass()
    threshold = functional.parameter
    if functional.kind in ("var", "es"):
        threshold = _quantile(losses, mass, 1.0 - functional.parameter, functional)
    values = functional.values(losses, threshold).reshape(-1, STRATA)
    p = -np.diff(edges)
    spread = np.pad(values.std(axis=0, ddof=1), 1)
    # The larger of a stratum and its neighbours: beside the threshold an exceedance in
    # a hundred is often missed by the pilot, and would then carry the whole error.
    score = p * np.maximum(spread[1:-1], np.maximum(spread[:-2], spread[2:]))
    if not score.sum() > 0:
        score = p
    share = 0.4 * p + 0.1 / STRATA + 0.5 * score / score.sum()
    counts = 2 + np.floor(share * (plan.n - 2 * STRATA)).astype(np.int64)
    counts[int(np.argmax(counts))] += plan.n - int(counts.sum())
    return replace(plan, edges=edges, stratum=np.repeat(np.arange(STRATA), counts))


def _twist(book: Book, functional: Functional, plan: Plan, target, n_jobs: int):
    if np.isfinite(book.dof) and book.periods > 1:
        raise UsageError(
            "importance sampling of a Student-t covers one period",
            received=f"{book.periods} periods",
            fix="Fit the model at the horizon's own frequency, or use 'stratified'.",
        )
    if target is None and functional.kind in ("mean", "callable"):
        raise UsageError(
            "importance sampling of a mean needs a target loss",
            fix="Pass target=, or use method='sobol'.",
        )
    form = quadratic(book)
    if target is None and functional.kind == "tail":
        target = functional.parameter
    if target is not None:
        if target >= book.reach():
            raise ModelError(
                "the target loss is beyond the reach of the book",
                received=f"{target:.6g}",
                expected=f"below {book.reach():.6g}, the loss of everything",
            )
        return solve(form, book.dof, float(target))
    a0, b, curvature, _ = form
    sigma = float(np.sqrt(b @ b + 2.0 * curvature @ curvature))
    tail = 1.0 - functional.parameter
    # Chernoff's bound for a normal, then two pilots on streams of their own.
    x = a0 + sigma * np.sqrt(max(-2.0 * np.log(tail), 0.0)) * 0.9
    for step in (1, 2, 3):
        twist = solve(form, book.dof, min(x, 0.5 * (a0 + book.reach())))
        pilot = replace(
            plan, method="importance", n=4 * BLOCK_SIZE, shift=step * PILOT,
            twist=twist, edges=None, stratum=None,
        )  # fmt: skip
        losses, weight, _ = _run(book, pilot, n_jobs)
        x = upper_quantile(losses, pilot.mass() * weight, tail)
        if np.isnan(x):
            return twist
    return solve(form, book.dof, x)
