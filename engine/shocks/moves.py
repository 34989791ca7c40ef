"""What a shock delivers: a central move per asset, a severity distribution, reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from engine._base import Value, frozen_array
from engine._typing import Vector
from engine.errors import DataError, ModelError, UsageError

UNDATED = np.datetime64("NaT")
"""``known_from`` of a hypothesis: earlier than no date, so admitted at any."""

_QUANTILE_WINDOW = 0.025
_COPIES = 64
"""Equal draws of what has one severity: limits take quantiles, which need rows."""


class Shock(Protocol):
    """Anything that can say how far each asset moves."""

    @property
    def name(self) -> str:
        """Short identifier; the label of its scenario leg."""
        ...

    @property
    def known_from(self) -> np.datetime64:
        """First date on which the shock's parameters were known."""
        ...

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Moves of the assets of a universe; betas come from the model."""
        ...


class Reweighting(Protocol):
    """Anything that gives the same outcomes other probabilities."""

    @property
    def name(self) -> str:
        """Short identifier; the label of its scenario leg."""
        ...

    @property
    def known_from(self) -> np.datetime64:
        """First date on which the shock's parameters were known."""
        ...

    def reweight(self, scenarios: Any) -> Any:
        """Rows of the base leg, in order, under other probabilities."""
        ...


def dated(known_from: Any) -> np.datetime64:
    """Return a date as datetime64[D]; `UNDATED` for none."""
    if known_from is None:
        return UNDATED
    try:
        return np.datetime64(known_from, "D")
    except (TypeError, ValueError):
        raise UsageError(
            "known_from is a date", received=repr(known_from), expected="YYYY-MM-DD"
        ) from None


@dataclass(frozen=True, slots=True, eq=False)
class ShockMoves(Value):
    """Moves of N assets under one shock, simple returns in local currency.

    Attributes
    ----------
    assets : tuple of str
    central : (N,) float64
        At the shock's own parameters.
    draws : (M, N) float64
        Equally likely severities: parameters and exposures drawn from their ranges.
    driver : (M,) float64
        Common severity of each draw (the AI basket's move), which orders quantiles.
    basis : tuple of str
        How each asset's move was obtained, in words.
    parts : mapping name -> (N,) float64
        Links of the chain, in log terms, summing to ``log1p(central)``.
    through : mapping fund -> role -> (weight, contribution)
        Of the funds that are looked through: weights sum to one, contributions to the
        fund's central move.
    earnings_gap : (N,) float64
        Log change of earnings once the gap is fully open; NaN where the shock does not
        say (funds, unknown exposures, another lens); empty where it never does.
    chain : optional
        What `explain` reads (`engine.shocks.explain.Chain`).
    """

    assets: tuple[str, ...]
    central: np.ndarray
    draws: np.ndarray
    driver: np.ndarray
    basis: tuple[str, ...]
    parts: dict[str, np.ndarray]
    through: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    earnings_gap: np.ndarray = field(default_factory=lambda: np.empty(0))
    chain: Any = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        n = len(self.assets)
        put(
            self,
            "central",
            frozen_array(self.central, name="moves", ndim=1, shape=(n,)),
        )
        put(
            self, "draws", frozen_array(self.draws, name="draws", ndim=2, shape=(-1, n))
        )
        put(
            self,
            "driver",
            frozen_array(self.driver, name="driver", ndim=1, shape=(len(self.draws),)),
        )
        gap = self.earnings_gap if len(self.earnings_gap) else np.full(n, np.nan)
        put(
            self,
            "earnings_gap",
            frozen_array(gap, name="earnings_gap", ndim=1, shape=(n,), finite=False),
        )
        for name, values in (("moves", self.central), ("draws", self.draws)):
            if (values <= -1.0).any():
                i = int(np.argwhere(values <= -1.0)[0][-1])
                raise ModelError(
                    f"shock {name} lose all or more of an asset",
                    asset=self.assets[i],
                    received=float(values.min()),
                    fix="Lower the severity.",
                )

    def at(self, severity: str | float) -> Vector:
        """(N,) move at one severity.

        Parameters
        ----------
        severity : {"central", "mean"} or float in (0, 1)
            A quantile is of the common driver: draws within 2.5 points of it are
            averaged, so that 0.9 means worse for the AI basket than nine in ten.
        """
        if severity == "central":
            return self.central
        if severity == "mean":
            return self.draws.mean(axis=0)
        if isinstance(severity, str) or not 0.0 < severity < 1.0:
            raise UsageError(
                "unknown severity",
                received=repr(severity),
                expected="central, mean, distribution, or a quantile in (0, 1)",
            )
        order = np.argsort(-self.driver, kind="stable")  # mildest first
        position = (np.arange(order.size) + 0.5) / order.size
        near = np.abs(position - severity) <= _QUANTILE_WINDOW
        return self.draws[order[near]].mean(axis=0)

    def rows(self, severity: str | float, n: int) -> np.ndarray:
        """(n, N) or (1, N) moves to lay on n scenarios."""
        if severity == "distribution":
            return self.draws[np.arange(n) % len(self.draws)]
        return self.at(severity)[None, :]

    def index(self, asset: str) -> int:
        """Position of an asset; `DataError` where the shock has no move for it."""
        if asset not in self.assets:
            raise DataError(
                "no move of this asset under the shock",
                asset=asset,
                expected=", ".join(self.assets[:10])
                + (", ..." if len(self.assets) > 10 else ""),
            )
        return self.assets.index(asset)

    def explain(self, asset: str) -> str:
        """Return sentences for a portfolio manager: the move, its band, and why."""
        from engine.shocks.explain import explain

        return explain(self, asset)

    def price_earnings(
        self,
        pe: Mapping[str, float] | None = None,
        *,
        earnings: Mapping[str, float] | None = None,
        prices: Mapping[str, float] | None = None,
        basis: str = "trailing",
    ):
        """Price-earnings ratio of each named asset before and after the shock.

        Price falls at once and earnings over years, so the trailing ratio compresses
        by the whole move, ``PE (1 + r)``; once the gap is open it is
        ``PE (1 + r) / exp(earnings gap)``.

        Parameters
        ----------
        pe : mapping of asset to float, optional
            Ratio before.
        earnings, prices : mapping of asset to float, optional
            Earnings per share and price, in one currency, instead of the ratio.
        basis : {"trailing", "forward"}, default "trailing"
            What the earnings are; a label. Forward estimates are those before the
            shock, so the ratio at once means unrevised estimates.

        Returns
        -------
        pandas.DataFrame
            Index: asset. Columns ``basis``, ``before``, ``at_once``, ``after_gap``
            (NaN where the shock does not say what earnings do), ``move``,
            ``earnings_change`` (simple).

        Raises
        ------
        DataError
            An unknown asset; earnings, price or ratio not above zero.
        """
        from engine.shocks.explain import price_earnings

        return price_earnings(self, pe, earnings, prices, basis)

    def to_frame(self):
        """Return one row per asset: move, mean, band, and which link caused it."""
        import pandas as pd

        low, high = np.quantile(self.draws, [0.05, 0.95], axis=0)
        return pd.DataFrame(
            {
                "asset": self.assets,
                "move": self.central,
                "mean": self.draws.mean(axis=0),
                "low": low,
                "high": high,
            }
            | {name: values for name, values in self.parts.items()}
            | {"basis": self.basis}
        )

    def __repr__(self) -> str:
        return f"ShockMoves({len(self.assets)} assets, {len(self.draws)} severities)"


def moves_returns(shock: Any) -> bool:
    """Whether a shock pushes returns, and nothing else: no probabilities of its own."""
    return not (hasattr(shock, "reweight") or hasattr(shock, "mixed"))


def moves_of(shock: Any, scenarios: Any, shocked: Any = None) -> ShockMoves:
    """Moves of a shock on the assets of ``scenarios``, whichever kind it is.

    A shock that reweights has one severity, its posterior: the move of each asset takes
    its mean over the base leg to its mean under the shock, so that the stress loss is
    the posterior mean loss. ``shocked``, where known, is ``scenarios.apply(shock)``.

    Parameters
    ----------
    shock : Shock or Reweighting
    scenarios : ScenarioSet
        Its assets and base leg.
    shocked : ScenarioSet, optional

    Returns
    -------
    ShockMoves
    """
    if moves_returns(shock):
        return shock.moves(scenarios.universe, scenarios.model)
    shocked = scenarios.apply(shock) if shocked is None else shocked
    ratio = (1.0 + shocked.p @ shocked.returns) / (1.0 + scenarios.leg_mean("base"))
    central = ratio - 1.0
    words = "posterior mean over the base mean"
    return ShockMoves(
        assets=scenarios.assets,
        central=central,
        draws=np.tile(central, (_COPIES, 1)),
        driver=np.full(_COPIES, np.log1p(central).mean()),
        basis=(words,) * central.size,
        parts={"posterior": np.log1p(central)},
    )


def stress_vector(
    scenarios: Any,
    moves: ShockMoves,
    *,
    severity: str | float = "central",
    winner_credit: float = 1.0,
) -> Vector:
    """(N,) mean return of each asset over the shock's leg.

    ``-w @ stress_vector`` is the stress loss: every reader, evaluation, optimiser and
    backtest, calls this one function.

    Parameters
    ----------
    scenarios : ScenarioSet
        Its base leg carries the cash return.
    moves : ShockMoves
        For ``scenarios.assets``.
    severity : as in `ShockMoves.at`
    winner_credit : float in [0, 1], default 1
        Fraction of modelled gains that counts; limits use 0, so that guessed winners
        cannot be levered to offset losers.

    Returns
    -------
    (N,) float64
        Decimals over the leg.
    """
    if not 0.0 <= winner_credit <= 1.0:
        raise UsageError("winner_credit lies in [0, 1]", received=winner_credit)
    x = moves.at(severity)
    x = np.where(x > 0, winner_credit * x, x)
    base = scenarios.leg_mean("base")
    return (1.0 + base) * (1.0 + x) - 1.0
