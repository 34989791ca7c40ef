"""Rules without a risk model: momentum, and a mix that is restored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.data.panel import PricePanel
from engine.data.portfolio import CASH_PREFIX, Portfolio, cash_label
from engine.data.view import MarketView
from engine.errors import DataError, UsageError
from engine.proposal import Proposal
from strategies.estimation import eligible, members_only
from strategies.risk_based import check_cash, invested
from strategies.targets import Targets, holdable


@dataclass(frozen=True)
class Momentum:
    """Hold the better half of the last year, the last month left out, equal weights.

    Ranks the return from ``lookback`` to ``skip`` sessions ago, twelve months less one
    (Jegadeesh and Titman 1993; Asness 1994), in base currency with distributions. Of
    an odd number the middle asset is held; of a tie, the asset listed first.

    Parameters
    ----------
    tickers : tuple of str, optional
        Assets allowed; all that are tradable by default. With a membership, members.
    lookback, skip : int, default 252 and 21
        Sessions of the panel; assets with fewer prices than ``lookback + 1`` are not
        ranked. Where an asset had no price, its last one before counts.
    cash : float, default 0
        Share of net asset value left in base-currency cash.
    name : str
    """

    tickers: tuple[str, ...] | None = None
    lookback: int = 252
    skip: int = 21
    cash: float = 0.0
    name: str = "momentum"

    estimated_from = ("tickers", "lookback", "skip")

    def __post_init__(self) -> None:
        check_cash(self.cash)
        if not 0 <= self.skip < self.lookback:
            raise UsageError(
                "skip must be at least 0 and below lookback",
                received=f"skip {self.skip}, lookback {self.lookback}",
            )
        if self.tickers is not None:
            object.__setattr__(self, "tickers", tuple(self.tickers))

    def estimate(self, view: MarketView) -> dict[str, float]:
        """Return of each asset that can be ranked, from ``lookback`` to ``skip``."""
        names = members_only(view, eligible(view, self.tickers, window=self.lookback))
        if not names:
            raise DataError(
                "no member of the universe has a full year to rank",
                date=view.date,
                expected=f"{self.lookback + 1} prices",
                fix="Start later, or shorten lookback.",
            )
        prices = view.panel.select(names).adjusted().base_prices()
        last = prices.shape[0] - 1
        begin = _known(prices[: last - self.lookback + 1])
        end = _known(prices[: last - self.skip + 1])
        return dict(zip(names, (end / begin - 1.0).tolist(), strict=True))

    def propose(
        self,
        view: MarketView,
        portfolio: Portfolio,
        estimate: Mapping[str, float] | None = None,
    ) -> Proposal:
        """Equal weights in the better half.

        Raises
        ------
        DataError
            No asset can be ranked yet.
        """
        moves = self.estimate(view) if estimate is None else estimate
        names = list(moves)
        order = np.argsort([-moves[k] for k in names], kind="stable")
        n = (len(names) + 1) // 2
        weights = {names[i]: 1.0 / n for i in order[:n]}
        return invested(view, portfolio, weights, cash=self.cash)


def _known(prices: np.ndarray) -> np.ndarray:
    """(N,) last price of each column."""
    valid = np.isfinite(prices)
    last = prices.shape[0] - 1 - np.argmax(valid[::-1], axis=0)
    return prices[last, np.arange(prices.shape[1])]


@dataclass(frozen=True)
class FixedMix:
    """Trade back to the same weights at every decision.

    Parameters
    ----------
    weights : mapping or sequence of (label, weight)
        Fractions of net asset value in [0, 1] that sum to one, cash (``CASH:USD``)
        included. What cannot be traded at a date, or has left the membership, waits in
        base-currency cash, and a note says so.
    name : str
    """

    weights: Mapping[str, float] | tuple[tuple[str, float], ...]
    name: str = "fixed mix"

    estimated_from = ()

    def __post_init__(self) -> None:
        pairs = tuple((str(k), float(v)) for k, v in dict(self.weights).items())
        object.__setattr__(self, "weights", pairs)
        for label, w in pairs:
            if not 0.0 <= w <= 1.0:
                raise DataError(
                    "a weight of the mix is outside [0, 1]", asset=label, received=w
                )
        total = sum(w for _, w in pairs)
        if abs(total - 1.0) > 1e-9:
            raise DataError(
                "the weights of the mix do not sum to one",
                received=f"{total:.9f}",
                fix="Give cash its weight, such as CASH:USD.",
            )

    def estimate(self, view: MarketView) -> None:
        """Nothing needs estimating."""

    def propose(
        self, view: MarketView, portfolio: Portfolio, estimate: None = None
    ) -> Proposal:
        """Propose the mix, over what can be traded."""
        ok = view.tradable() & view.members()
        can = dict(zip(view.tickers, ok, strict=True))
        target: dict[str, float] = {}
        waiting: list[str] = []
        for label, w in dict(self.weights).items():
            if not label.startswith(CASH_PREFIX):
                view.panel.index(label)  # a misspelt ticker is an error, not cash
                if not can[label]:
                    waiting.append(label)
                    continue
            target[label] = target.get(label, 0.0) + w
        mix = dict(self.weights)
        cash = cash_label(view.panel.base_currency)
        target[cash] = target.get(cash, 0.0) + sum(mix[k] for k in waiting)
        notes = tuple(
            f"{k} cannot be held: its {mix[k]:.2%} waits in cash" for k in waiting
        )
        return Proposal.from_weights(portfolio, target, notes=notes)

    def targets(self, panel: PricePanel, dates: np.ndarray) -> Targets | None:
        """What `propose` wants on many dates; None where it would fail on one."""
        mix = dict(self.weights)
        assets = [k for k in mix if not k.startswith(CASH_PREFIX)]
        if not all(k in panel.universe for k in assets):
            return None
        can = holdable(panel, dates)
        cash = cash_label(panel.base_currency)
        labels = tuple(dict.fromkeys([*mix, cash]))
        weights = np.zeros((dates.size, len(labels)))
        for i, (label, w) in enumerate(mix.items()):
            if label.startswith(CASH_PREFIX):
                weights[:, i] += w
                continue
            ok = can[:, panel.index(label)]
            weights[:, i] = np.where(ok, w, 0.0)
            weights[:, labels.index(cash)] += np.where(ok, 0.0, w)
        return Targets(labels, weights)
