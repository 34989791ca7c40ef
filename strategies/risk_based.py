"""Rules that read the covariance alone: who carries how much of the risk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.covariance import FactorCovariance
from engine.data.portfolio import Portfolio, cash_label
from engine.data.view import MarketView
from engine.errors import ModelError, UsageError
from engine.model import ReturnModel
from engine.optimize._budgeting import (
    inverse_volatility,
    maximum_diversification,
    risk_budgeting,
)
from engine.optimize._riskfolio import hierarchical
from engine.proposal import Proposal
from strategies.estimation import estimate_model, members_only


def invested(
    view: MarketView,
    portfolio: Portfolio,
    weights: Mapping[str, float],
    *,
    cash: float,
    notes: tuple[str, ...] = (),
) -> Proposal:
    """Proposal of risky weights that sum to one, less what stays in cash."""
    label = cash_label(view.panel.base_currency)
    target = {k: (1.0 - cash) * float(w) for k, w in weights.items()}
    return Proposal.from_weights(portfolio, {**target, label: cash}, notes=notes)


def check_cash(cash: float) -> None:
    """Refuse a share of cash outside [0, 1)."""
    if not 0.0 <= cash < 1.0:
        raise UsageError(
            "the share of cash must be at least 0 and below 1", received=cash
        )


@dataclass(frozen=True)
class _FromCovariance:
    """What the rules of this file share.

    Parameters
    ----------
    tickers : tuple of str, optional
        Assets allowed; all that are tradable by default. With a membership, members.
    window : int, default 504
        Sessions for the covariance; assets with fewer prices are not bought.
    covariance : str, default "ledoit_wolf"
        Estimator, as in `engine.fit`.
    cash : float, default 0
        Share of net asset value left in base-currency cash.
    """

    tickers: tuple[str, ...] | None = None
    window: int = 504
    covariance: str = "ledoit_wolf"
    cash: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        check_cash(self.cash)
        if self.tickers is not None:
            object.__setattr__(self, "tickers", tuple(self.tickers))

    def estimate(self, view: MarketView) -> ReturnModel:
        """Fit the covariance on what was tradable, with a full window."""
        return estimate_model(
            view,
            self.tickers,
            window=self.window,
            covariance=self.covariance,
            funds="bands",
        )

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: ReturnModel | None = None,
    ) -> Proposal:
        """Propose the rule's weights over the members at the time of the view.

        Raises
        ------
        DataError
            No asset has a full window yet.
        ModelError
            No member can be bought, or the rule has no answer for the covariance.
        """
        model = self.estimate(view) if estimate is None else estimate
        names = members_only(view, model.assets)
        if not names:
            raise ModelError(
                "no member of the universe has a full estimation window",
                date=view.date,
                fix="Start later, or shorten the window.",
            )
        keep = [model.assets.index(k) for k in names]
        C = model.covariance
        if isinstance(C, FactorCovariance):
            C = C.select(keep)
        else:
            C = np.ascontiguousarray(C[np.ix_(keep, keep)])
        weights = dict(zip(names, self._weights(C), strict=True))
        return invested(view, portfolio, weights, cash=self.cash)

    def _weights(self, covariance: Any) -> np.ndarray:
        raise NotImplementedError


@dataclass(frozen=True)
class InverseVolatility(_FromCovariance):
    """Hold each asset in proportion to one over its volatility; no correlations.

    Parameters
    ----------
    tickers, window, covariance
        As for `MinimumVariance`.
    cash : float, default 0
        Share of net asset value left in cash.
    name : str
    """

    name: str = "inverse volatility"

    estimated_from = ("tickers", "window", "covariance")

    def _weights(self, covariance: Any) -> np.ndarray:
        return inverse_volatility(covariance)


@dataclass(frozen=True)
class RiskParity(_FromCovariance):
    """Let every asset contribute the same to volatility.

    Equal risk contribution: Maillard, Roncalli, Teiletche (2010).

    Parameters
    ----------
    tickers, window, covariance
        As for `MinimumVariance`.
    cash : float, default 0
        Share of net asset value left in cash.
    name : str
    """

    name: str = "risk parity"

    estimated_from = ("tickers", "window", "covariance")

    def _weights(self, covariance: Any) -> np.ndarray:
        return risk_budgeting(covariance)


@dataclass(frozen=True)
class MaximumDiversification(_FromCovariance):
    """Maximise average volatility over volatility (Choueifaty, Coignard 2008).

    Parameters
    ----------
    upper : float, default 1
        Bound on one weight, before cash; raised to 1/N where fewer assets than that
        can be bought.
    tickers, window, covariance
        As for `MinimumVariance`.
    cash : float, default 0
        Share of net asset value left in cash.
    name : str
    """

    name: str = "maximum diversification"
    upper: float = 1.0

    estimated_from = ("tickers", "window", "covariance")

    def _weights(self, covariance: Any) -> np.ndarray:
        cap = max(self.upper, 1.0 / covariance.shape[0])
        return maximum_diversification(covariance, upper=cap)


@dataclass(frozen=True)
class HierarchicalRiskParity(_FromCovariance):
    """Divide risk down a tree of the assets (Lopez de Prado 2016; Raffinot 2018).

    Parameters
    ----------
    method : {"HRP", "HERC"}, default "HRP"
        By `engine.optimize.hierarchical`, on the variance. HERC needs three assets.
    linkage : str, default "ward"
    tickers, window, covariance
        As for `MinimumVariance`.
    cash : float, default 0
        Share of net asset value left in cash.
    name : str
    """

    name: str = "hierarchical risk parity"
    method: str = "HRP"
    linkage: str = "ward"

    estimated_from = ("tickers", "window", "covariance")

    def __post_init__(self) -> None:
        _FromCovariance.__post_init__(self)
        if self.method not in ("HRP", "HERC"):
            raise UsageError(
                "unknown method", received=repr(self.method), expected="HRP or HERC"
            )

    def _weights(self, covariance: Any) -> np.ndarray:
        made = hierarchical(
            covariance=covariance, method=self.method, linkage=self.linkage
        )
        return made.weights
