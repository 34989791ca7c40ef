"""Stressed correlations, volatilities and trading costs: the model, not the moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine._base import Value
from engine._typing import Vector
from engine.costs import Costs, _by_ticker
from engine.covariance import correlation_to_covariance, nearest_correlation, split
from engine.data.portfolio import CASH_PREFIX
from engine.data.roles import COMPANY_CLASSES, INFRASTRUCTURE
from engine.errors import DataError, InfeasibleError, UsageError

_GROUPINGS = ("role", "country", "sector", "asset_class")


@dataclass(frozen=True, slots=True, eq=False)
class CorrelationStress(Value):
    """A model under other correlations.

    Attributes
    ----------
    model : ReturnModel
        With the stressed covariance; volatilities as they were.
    repair : float
        Frobenius distance from the correlations asked for to the nearest matrix
        that is one; zero where they already were.
    largest_change : float
        Largest change of one entry by the repair.
    held : bool
        Whether the entries asked for stayed exactly.
    pairs : int
        Pairs stressed.
    """

    model: Any
    repair: float
    largest_change: float
    held: bool
    pairs: int

    def __repr__(self) -> str:
        kept = "exact" if self.held else "moved by the repair"
        return (
            f"CorrelationStress({self.pairs} pairs {kept}, repair {self.repair:.4f}, "
            f"largest {self.largest_change:.4f})"
        )


def members(universe: Any, name: str) -> np.ndarray:
    """(N,) bool: assets called by a name.

    ``AI`` is the companies that sell into compute demand; otherwise a ticker, or a
    label such as ``role:software``, ``country:US`` or ``sector:Energy`` (the kind may
    be left out where one kind alone has the label).
    """
    if name == "AI":
        rows = zip(universe.role, universe.asset_class, strict=True)
        hit = [r in INFRASTRUCTURE and c in COMPANY_CLASSES for r, c in rows]
    elif name in universe.tickers:
        hit = [t == name for t in universe.tickers]
    else:
        kind, _, label = name.partition(":")
        kinds = [kind] if kind in _GROUPINGS and label else list(_GROUPINGS)
        label = label if kind in _GROUPINGS and label else name
        found = [k for k in kinds if label in getattr(universe, k)]
        if len(found) > 1:
            raise UsageError(
                "the label belongs to several kinds",
                received=repr(name),
                fix=f"Write {found[0]}:{label}.",
            )
        hit = [v == label for v in getattr(universe, found[0])] if found else [False]
    if not any(hit):
        raise DataError(
            "no asset or group of this name",
            received=repr(name),
            expected="AI, a ticker, or role:, country:, sector:, asset_class: a label",
        )
    return np.array(hit, dtype=bool)


def correlation_stress(
    model: Any, pairs: Mapping[Any, float], *, shift: bool = False
) -> CorrelationStress:
    """Put correlations between assets or groups elsewhere, and repair the matrix.

    Parameters
    ----------
    model : ReturnModel
    pairs : mapping
        ``("AI", "role:software"): 0.1``; one name alone, ``"AI": 0.9``, is all pairs
        within it. Names as in `members`. Later entries win where they overlap.
    shift : bool, default False
        Add the values to the correlations (held within -1 and 1), not replace them.

    Returns
    -------
    CorrelationStress
        Entries asked for stay exact where some correlation matrix has them; otherwise
        the nearest matrix to all entries (Higham 2002), and ``repair`` says how far.

    Raises
    ------
    DataError
        A name that is no asset or group.
    UsageError
        A value that is no correlation; nothing to stress.
    """
    if not pairs:
        raise UsageError("give at least one correlation to stress")
    deviation, R = split(model.dense_covariance())
    wanted = np.array(R)
    fixed = np.zeros(R.shape, dtype=bool)
    for key, value in pairs.items():
        names = (key, key) if isinstance(key, str) else tuple(key)
        if len(names) != 2:
            raise UsageError("a pair has two names", received=repr(key))
        number = float(value)
        limit = 2.0 if shift else 1.0
        if not -limit <= number <= limit:
            raise UsageError(
                "an impossible correlation",
                received=value,
                expected=f"-{limit:g} to {limit:g}",
            )
        a, b = (members(model.universe, str(n)) for n in names)
        block = np.outer(a, b) | np.outer(b, a)
        np.fill_diagonal(block, False)
        if not block.any():
            raise UsageError("a pair of one asset with itself", received=repr(key))
        wanted = np.where(
            block, np.clip(R + number, -1.0, 1.0) if shift else number, wanted
        )
        fixed |= block
    np.fill_diagonal(wanted, 1.0)
    held, repaired = True, wanted
    if np.linalg.eigvalsh(wanted)[0] < 1e-8:
        try:
            repaired = np.asarray(nearest_correlation(wanted, fixed=fixed))
        except (InfeasibleError, RuntimeError):  # no matrix has them all
            held, repaired = False, np.asarray(nearest_correlation(wanted))
    change = np.abs(repaired - wanted)
    note = f"STRESSED CORRELATIONS: {int(fixed.sum()) // 2} pairs"
    return CorrelationStress(
        model=replace(
            model,
            covariance=correlation_to_covariance(repaired, deviation),
            notes=(*model.notes, note),
            estimator=f"{model.estimator}, stressed correlations",
        ),
        repair=float(np.linalg.norm(repaired - wanted)),
        largest_change=float(change.max()),
        held=held,
        pairs=int(fixed.sum()) // 2,
    )


def volatility_stress(model: Any, factors: float | Mapping[str, float]) -> Any:
    """Return the model with volatilities times a factor, correlations unchanged.

    Parameters
    ----------
    model : ReturnModel
    factors : float or mapping of asset or group to float
        Positive; names as in `members`, assets not named keep theirs, later entries
        win. The mean stays as it is, except under ``zero_excess``, where the log mean
        is lowered by half the added variance so that assets still earn cash.

    Returns
    -------
    ReturnModel
    """
    from engine.covariance import FactorCovariance

    f = np.ones(len(model.assets))
    named = factors if isinstance(factors, Mapping) else {None: factors}
    for name, value in named.items():
        if not 0.0 < float(value) < np.inf:
            raise UsageError("a volatility factor must be positive", received=value)
        rows = slice(None) if name is None else members(model.universe, name)
        f[rows] = float(value)
    C = model.covariance
    if isinstance(C, FactorCovariance):
        before = C.variances()
        stressed: Any = FactorCovariance(
            C.loadings * f[:, None], C.factor_covariance, C.specific_variance * f**2
        )
    else:
        before = np.diagonal(C)
        stressed = C * np.outer(f, f)
    mean = model.mean
    if model.mean_kind == "zero_excess" and model.return_kind == "log":
        mean = mean - 0.5 * before * (f**2 - 1.0)
    return replace(
        model,
        covariance=stressed,
        mean=mean,
        notes=(*model.notes, "STRESSED VOLATILITIES"),
        estimator=f"{model.estimator}, stressed volatilities",
    )


@dataclass(frozen=True, slots=True, eq=False)
class LiquidityStress(Value):
    """Trading under stress.

    Attributes
    ----------
    costs : Costs
        With wider spreads: for `propose` and the backtester.
    spread_factor, volume_factor : float
    """

    costs: Costs
    spread_factor: float
    volume_factor: float

    def liquidation(
        self,
        tickers: Any,
        values: Any,
        daily_volume: Any,
        volatility: Any,
        *,
        days: float = 1.0,
        impact: float = 1.0,
    ) -> Vector:
        """(N,) money lost by selling everything in ``days``, spread and impact.

        ``half_spread |v| + b sigma |v| sqrt(|v| / (V days))`` (Boyd et al. 2017), V
        and sigma per day; cash costs nothing.

        Parameters
        ----------
        tickers : sequence of str
        values : (N,) array_like
            Money held; sign ignored.
        daily_volume : (N,) array_like
            Ordinary traded value per day, before the stress; positive where held.
        volatility : (N,) array_like
            Per day, as under the stress.
        days : float, default 1
        impact : float, default 1
            b.
        """
        tickers = tuple(tickers)
        v, V, sigma = (
            np.asarray(a, dtype=np.float64) for a in (values, daily_volume, volatility)
        )
        for what, array in (("values", v), ("volume", V), ("volatility", sigma)):
            if array.shape != (len(tickers),):
                raise DataError(
                    f"{what} does not match the assets",
                    received=array.shape,
                    expected=(len(tickers),),
                )
        if not (0.0 < days < np.inf and 0.0 <= impact < np.inf):
            raise UsageError("days must be positive, impact not negative")
        size = np.abs(v)
        cash = np.array([t.startswith(CASH_PREFIX) for t in tickers], dtype=bool)
        traded = (size > 0) & ~cash
        for name, array, good in (
            ("value", v, np.isfinite(v) | cash),
            ("daily volume", V, (V > 0) & np.isfinite(V)),
            ("volatility", sigma, (sigma >= 0) & np.isfinite(sigma)),
        ):
            bad = ~good & (traded | ~np.isfinite(v))
            if bad.any():
                i = int(np.argmax(bad))
                raise DataError(
                    f"the {name} of a holding is unknown or not positive",
                    asset=tickers[i],
                    received=array[i],
                )
        ratio = np.divide(
            size, V * self.volume_factor * days, out=np.zeros_like(size), where=traded
        )
        sigma = np.where(traded, sigma, 0.0)
        spread = self.costs.rates(tickers) * np.where(traded, size, 0.0)
        return spread + impact * sigma * np.where(traded, size, 0.0) * np.sqrt(ratio)

    def __repr__(self) -> str:
        return (
            f"LiquidityStress(spreads x{self.spread_factor:g}, "
            f"volumes x{self.volume_factor:g})"
        )


def liquidity_stress(
    costs: Costs, *, spread_factor: float = 3.0, volume_factor: float = 1.0
) -> LiquidityStress:
    """Wider spreads and other volumes, together.

    Parameters
    ----------
    costs : Costs
    spread_factor : float, default 3
        Times the half-spread; judgement for event days. Commissions stay.
    volume_factor : float, default 1
        Times the ordinary volume. On 27 January 2025 NVDA traded 3.9 times its 60-day
        volume: a shock may bring volume, and one takes no credit for it unless asked;
        below one for a market that dries up.

    Returns
    -------
    LiquidityStress
    """
    for name, value in (
        ("spread_factor", spread_factor),
        ("volume_factor", volume_factor),
    ):
        if not 0.0 < float(value) < np.inf:
            raise UsageError(f"{name} must be positive", received=value)
    spread = costs.half_spread_bps
    wider: Any
    if isinstance(spread, Mapping):
        wider = {k: float(v) * spread_factor for k, v in spread.items()}
    else:
        wider = float(_by_ticker(spread, ["?"], "half_spread_bps")[0]) * spread_factor
    return LiquidityStress(
        costs=replace(costs, half_spread_bps=wider),
        spread_factor=float(spread_factor),
        volume_factor=float(volume_factor),
    )
