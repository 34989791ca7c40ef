"""Reverse stress: what would have to be true for a book to lose that much.

For a model, the most plausible scenario (`engine.shocks._worst_case`). For the
structural shock, the parameters nearest to its own in the coordinates of their
severity law, z of unit variance with its copula correlations R:

    min  z' R^-1 z   subject to   loss(parameters(z)) >= L
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value
from engine._typing import Matrix, Vector
from engine.data.portfolio import cash_label
from engine.errors import InfeasibleError, UsageError
from engine.scenarios import align_weights
from engine.shocks import severity as law
from engine.shocks._structural import CheapModelShock
from engine.shocks._worst_case import PlausibleShock, most_plausible, positive_loss
from engine.shocks.assembly import central_moves
from engine.shocks.chain import DEFAULTS

BOX = 4.0
"""Parameters are searched within this many deviations of each coordinate."""
_STEP = 1e-5
"""Of the central differences: truncation about 1e-10, rounding about 1e-11."""
_WORDS = {
    "cost_ratio": "cost ratio {:.3g}",
    "credibility": "credibility {:.2f}",
    "priced_in_trend": "priced-in trend {:.3g} a year",
    "trend_years": "{:.2f} years of trend elapsed",
    "training_share": "training share {:.2f}",
    "elasticity_training": "training elasticity {:.2f}",
    "elasticity_inference": "inference elasticity {:.2f}",
    "gap_years": "a gap opening over {:.1f} years",
}


@dataclass(frozen=True, slots=True, eq=False)
class ReverseParameters(Value):
    """The most plausible parameters at which a book loses at least an amount.

    Attributes
    ----------
    shock : CheapModelShock
        At those parameters.
    distance : float
        Mahalanobis distance from the parameters of the shock given.
    loss, target : float
        The book's loss under ``shock`` (excluding expected return), and that asked.
    implied : dict
        Value of each parameter searched.
    sentence : str
    """

    shock: CheapModelShock
    distance: float
    loss: float
    target: float
    implied: dict[str, float]
    sentence: str

    def __repr__(self) -> str:
        return f"ReverseParameters({self.sentence} Distance {self.distance:.2f})"


def reverse(
    model: Any,
    weights: Any,
    loss: float,
    *,
    shock: CheapModelShock | None = None,
    **options: Any,
) -> PlausibleShock | ReverseParameters:
    """Most plausible scenario, or parameters of a shock, that lose at least ``loss``.

    Parameters
    ----------
    model : ReturnModel
    weights : Portfolio, mapping or (N + 1,) array_like
        Fractions of net assets; base-currency cash last where an array.
    loss : float
        Positive, decimals of net assets.
    shock : CheapModelShock, optional
        Search its parameters (`reverse_parameters`), not the model's scenarios.
    **options
        Without a shock ``approximation``, ``gamma``, ``distribution``, ``dof``,
        ``systematic``, ``horizon`` and ``name``, the others as in `worst_case`; with
        one those of `reverse_parameters`. ``approximation`` is "exact" (default: the
        book repriced at the scenario loses ``loss``), or "linear" or "quadratic" in
        the model's returns, which are closed forms and of log returns fall short:
        20% to first order is 17.9% repriced.

    Returns
    -------
    PlausibleShock or ReverseParameters
        The second with ``shock``.

    Raises
    ------
    InfeasibleError
        Nothing loses that much; the largest loss within reach is named.
    UsageError
        A loss that is not positive; options that do not exist.
    """
    known = (
        {
            "approximation",
            "gamma",
            "distribution",
            "dof",
            "systematic",
            "horizon",
            "name",
        }
        if shock is None
        else {"parameters", "box"}
    )
    for option in options:
        if option not in known:
            raise UsageError(
                "unknown option of reverse",
                received=repr(option),
                expected=", ".join(sorted(known)),
            )
    if shock is None:
        return most_plausible(model, weights, loss, **options)
    return reverse_parameters(shock, model, weights, loss, **options)


def parameters_at(centre: dict[str, float], z: dict[str, Any]) -> dict[str, Any]:
    """Parameters at copula coordinates, by the law of `severity.draw_parameters`.

    Parameters
    ----------
    centre : mapping
        Parameters of the shock: the law's centre.
    z : mapping of name to float or array
        Standard normal coordinate of each parameter, correlations already in.
    """
    from scipy.special import betaincinv, ndtr

    out: dict[str, Any] = dict(centre)
    for name, value in z.items():
        low, high = law.RANGES[name]
        middle, default = centre[name], DEFAULTS[name]
        if name in law._SHARES:
            a, b = law._beta_shape(low, high)
            mean = a / (a + b) + middle - default
            if 0.0 < mean < 1.0:
                size = a + b
                out[name] = betaincinv(mean * size, (1 - mean) * size, ndtr(value))
            continue
        if name in law._LOG_SCALE:
            low, high, middle, default = np.log([low, high, middle, default])
        side = np.where(np.asarray(value) < 0, default - low, high - default)
        moved = middle + side / law._Z95 * value
        if name in law._LOG_SCALE:
            moved = np.maximum(1.0, np.exp(moved))
        out[name] = np.maximum(moved, law._FLOORS.get(name, -np.inf))
    return out


def copula_correlation(names: Sequence[str]) -> Matrix:
    """(P, P) correlation of the coordinates of some parameters."""
    R = np.eye(len(names))
    for a, b, rho in (
        ("cost_ratio", "credibility", law._COST_CREDIBILITY),
        ("elasticity_training", "elasticity_inference", law._ELASTICITIES),
    ):
        if a in names and b in names:
            i, j = names.index(a), names.index(b)
            R[i, j] = R[j, i] = rho
    return R


def reverse_parameters(
    shock: CheapModelShock,
    model: Any,
    weights: Any,
    loss: float,
    *,
    parameters: Sequence[str] | None = None,
    box: float = BOX,
) -> ReverseParameters:
    """Parameters nearest to a shock's own at which a book loses at least ``loss``.

    Parameters
    ----------
    shock : CheapModelShock
        Its parameters are the centre of the law, and distance zero.
    model : ReturnModel
    weights : Portfolio, mapping or (N + 1,) array_like
    loss : float
        Positive; of the central move, expected return excluded.
    parameters : sequence of str, optional
        Searched; default all of `severity.RANGES`. The others stay at the centre.
    box : float, default 4
        Largest size of a coordinate of the severity law, in deviations.

    Returns
    -------
    ReverseParameters

    Raises
    ------
    InfeasibleError
        The loss is beyond the box; the largest loss found in it is named.

    Notes
    -----
    Sequential quadratic programming from several starts: the centre's steepest
    direction, the corner of the box that loses most, and seeded points. The answer is
    checked on the shock itself. The mean of tau and c, not their median, is the
    shock's value, so z = 0 need not give the shock's own parameters: distances are
    from the medians, and a book that already loses the amount there has distance 0.
    """
    from scipy import optimize

    minimize: Any = optimize.minimize

    L = positive_loss(loss)
    names = list(law.RANGES) if parameters is None else list(parameters)
    for name in names:
        if name not in law.RANGES:
            raise UsageError(
                "not a parameter with a severity law",
                received=repr(name),
                expected=", ".join(law.RANGES),
            )
    if not names or len(set(names)) < len(names):
        raise UsageError("give each parameter once, and at least one", received=names)
    if not 0.0 < box <= 8.0:
        raise UsageError("box lies in (0, 8]", received=box)
    lose = _BookLoss(shock, model, weights, names)
    R = copula_correlation(names)
    P = np.linalg.inv(R)
    zero = np.zeros(len(names))
    if lose(zero) >= L:
        return _found(shock, names, zero, lose(zero), L, P)
    bounds = [(-box, box)] * len(names)
    rng = np.random.default_rng(0)
    starts = [_uphill(lose, zero, 0.5), *rng.uniform(-1.5, 1.5, (2, len(names)))]

    def most(start: Vector):
        return minimize(
            lambda z: -lose(z), start, jac=lambda z: -lose.slope(z), bounds=bounds
        )

    tops = sorted((most(s) for s in starts[:2]), key=lambda r: r.fun)
    top = tops[0].x
    if lose(top) < L:
        raise InfeasibleError(
            "no plausible parameters of the shock lose that much of this book",
            received=f"{L:.4%}",
            expected=f"at most {lose(top):.4%}, within {box:g} deviations",
            fix="Ask for less, raise the shock's severity, or search more parameters.",
        )
    scaled = max(L, 1e-6)
    best: Vector = top
    for start in (*starts, top):
        found = minimize(
            lambda z: 0.5 * z @ P @ z,
            start,
            jac=lambda z: P @ z,
            method="SLSQP",
            bounds=bounds,
            constraints={
                "type": "ineq",
                "fun": lambda z: (lose(z) - L) / scaled,
                "jac": lambda z: lose.slope(z) / scaled,
            },
            options={"maxiter": 100, "ftol": 1e-12},
        )
        z = _onto(lose, found.x, top, L)
        if z @ P @ z < best @ P @ best:
            best = z
    return _found(shock, names, best, lose(best), L, P)


class _BookLoss:
    """Book loss and its slope at coordinates z, remembered: searches ask twice.

    One pass over 2P + 1 points gives both: central differences of every coordinate,
    whichever way a parameter acts.
    """

    def __init__(
        self, shock: CheapModelShock, model: Any, weights: Any, names: list[str]
    ) -> None:
        cash = cash_label(model.base_currency)
        self.w = align_weights((*model.assets, cash), weights)[:-1]
        self.centre, self.names = shock.parameters, names
        setting = shock.setting(model.universe, model)
        held = {a for a, x in zip(model.assets, self.w, strict=True) if x}
        used = tuple(e for e in setting.funds.exposures if e.fund in held)
        self.setting = replace(setting, funds=replace(setting.funds, exposures=used))
        self.seen: dict[bytes, tuple[float, Vector]] = {}

    def __call__(self, z: Vector) -> float:
        return self._at(z)[0]

    def slope(self, z: Vector) -> Vector:
        """(P,) derivative of the loss by the coordinates."""
        return self._at(z)[1]

    def _at(self, z: Vector) -> tuple[float, Vector]:
        z = np.asarray(z, dtype=np.float64)
        key = z.tobytes()
        if key not in self.seen:
            steps = _STEP * np.eye(z.size)
            points = np.vstack([z, z + steps, z - steps])
            lost = self.losses(points)
            up, down = lost[1 : z.size + 1], lost[z.size + 1 :]
            self.seen[key] = float(lost[0]), (up - down) / (2.0 * _STEP)
        return self.seen[key]

    def losses(self, points: Matrix) -> Vector:
        """(M,) losses at (M, P) coordinates."""
        z = dict(zip(self.names, points.T, strict=True))
        q = parameters_at(self.centre, z)
        moved = {name: q[name] for name in self.names}
        lost = -(central_moves(self.setting, self.centre, moved) @ self.w)
        return np.broadcast_to(lost, len(points))  # one row where all are certain


def _shock_at(shock: CheapModelShock, names: list[str], z: Vector) -> CheapModelShock:
    q = parameters_at(shock.parameters, dict(zip(names, z, strict=True)))
    return shock.with_parameters(**{k: float(q[k]) for k in names})


def _uphill(lose: _BookLoss, z: Vector, length: float) -> Vector:
    g = lose.slope(z)
    size = float(np.linalg.norm(g))
    return length * g / size if size > 0 else np.full(z.size, 0.1)


def _onto(lose: _BookLoss, z: Vector, top: Vector, L: float) -> Vector:
    """Move towards ``top`` until the loss is reached: what is returned is feasible."""
    if lose(z) >= L:
        return z
    from scipy.optimize import brentq

    def short(t: float) -> float:
        return L - float(lose.losses((z + t * (top - z))[None, :])[0])

    if short(1.0) >= 0.0:
        return top
    t, width = brentq(short, 0.0, 1.0, xtol=1e-12), 1e-12
    while short(t) > 0.0:  # the root is known to a width: its far side loses enough
        t, width = min(t + width, 1.0), 2.0 * width
    return z + t * (top - z)


def _found(shock, names, z, lost, L, P) -> ReverseParameters:
    at = _shock_at(shock, names, z)
    implied = {n: at.parameters[n] for n in names}
    order = sorted(names, key=lambda n: -abs(z[names.index(n)]))
    moved = [n for n in order if abs(z[names.index(n)]) > 0.1]
    words = ", ".join(_WORDS[n].format(implied[n]) for n in moved[:4])
    sentence = (
        f"{words[0].upper()}{words[1:]} would be needed to lose {L:.1%}."
        if moved
        else f"Next to nothing would have to change to lose {L:.1%}."
    )
    return ReverseParameters(
        shock=at,
        distance=float(np.sqrt(z @ P @ z)),
        loss=lost,
        target=L,
        implied=implied,
        sentence=sentence,
    )
