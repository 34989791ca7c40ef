"""The broker: target weights into orders, and orders through the kernel into fills.

Orders are units at the prices of the decision; whoever fills them knows nothing the
decision did not know. On a session sells fill before buys (venues that close earlier
may thus spend what a later venue's sale brings in the same day: settlement comes days
after both). Buys are cut by one common factor if cash would go negative.

Volatility and volume, for impact and for the share of a day's volume that may be
traded, are those known when the trade was decided; impact is charged on the value of
each day's fill.
"""

from __future__ import annotations

import numpy as np

from backtests.ledger import Ledger
from engine.costs import Costs
from engine.data.portfolio import cash_label
from engine.errors import BallastError, DataError, ModelError
from engine.proposal import Proposal

ORDER_LIFE = 5
"""Sessions an order waits for its venue before it is cancelled."""


def affordable(
    available: float,
    values: np.ndarray,
    costs_at: np.ndarray,
    minimum: np.ndarray,
    impact: float = 0.0,
) -> float:
    """Largest fraction f in [0, 1] of some purchases that ``available`` pays for.

    Solves f sum(v) + sum max(f r v, m) + f^(3/2) q = available by Newton's method.

    Parameters
    ----------
    available : float
        Money at hand.
    values, costs_at, minimum : (n,) float64
        Value v and proportional cost r v of each purchase, and its least cost m.
    impact : float, default 0
        Cost q of the impact of them all.
    """
    from engine.kernels.ledger import affordable as solve

    return float(solve(float(available), values, costs_at, minimum, float(impact)))


class Broker:
    """Takes a ledger through its sessions, stopping where Python must decide.

    Parameters
    ----------
    ledger : Ledger
    whole : bool
        Whole shares: positions are cut towards zero.
    same_close : bool
        Orders of a plan fill at the close that decided them.
    max_participation : float, optional
        Largest share of a day's volume to trade in a session.
    max_borrowing : float, optional
        Largest debt in cash a target may ask for, as a fraction of value.
    weights : (K, M) float64, optional
        Target of each decision over the ledger's columns, where they are known before.
    cash_weight : (K,) float64, optional
        Base-currency cash of the same targets.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        whole: bool,
        same_close: bool,
        max_participation: float | None = None,
        max_borrowing: float | None = None,
        weights: np.ndarray | None = None,
        cash_weight: np.ndarray | None = None,
    ) -> None:
        from engine.kernels import ledger as kernel

        self._kernel, self.ledger = kernel, ledger
        self._participation = max_participation
        costs, M = ledger.costs, ledger.units.size
        self._by_volume = costs.impact > 0 or max_participation is not None
        # With impact the rates are those of a decision.
        rates = np.full(M, np.nan) if costs.impact else self._known_rates(costs)
        room = (np.zeros(M) for _ in range(4))
        self.orders = kernel.Orders(
            np.zeros(M),
            np.full(M, np.inf),
            rates,
            np.zeros(M),
            np.zeros(1),
            np.zeros(3, dtype=np.int64),
            np.zeros(M, dtype=np.int64),
            *room,
        )
        self.rules = kernel.Rules(
            ledger.market.n_assets,
            bool(whole),
            bool(same_close),
            float(costs.minimum_commission),
            float(costs.margin_bps) * 1e-4,
            np.inf if max_borrowing is None else float(max_borrowing),
            ORDER_LIFE,
            self._plain(whole),
        )
        K = 0 if weights is None else len(weights)
        self.plan = kernel.Plan(
            np.zeros((0, M)) if weights is None else weights,
            np.zeros(0) if cash_weight is None else cash_weight,
            np.empty((K, M)),
            np.empty((K, M)),
            np.empty(K),
            np.empty(K),
        )
        self._all = np.ones(M, dtype=bool)
        self.placing = False  # whether what failed was a target of the plan
        self.progress = np.zeros(4, dtype=np.int64)

    def run(self) -> str:
        """Go on until ``done``, ``act`` (a corporate exit) or ``decide``.

        Raises
        ------
        DataError, ModelError
            What the sessions or the targets of a plan cannot be taken through.
        """
        kernel, ledger = self._kernel, self.ledger
        while True:
            code = kernel.run(
                ledger.tables,
                ledger.state,
                self.orders,
                ledger.log,
                ledger.rows,
                self.plan,
                self.rules,
                self._all,
                self.progress,
            )
            if code == kernel.FULL:
                ledger.make_room()
                continue
            words = {kernel.DONE: "done", kernel.ACT: "act", kernel.DECIDE: "decide"}
            if code not in words:
                self.placing = code in (
                    kernel.BORROWED,
                    kernel.FORGOTTEN,
                    kernel.UNPRICED,
                )
                raise self._error(code)
            return words[code]

    @property
    def session(self) -> int:
        """Number of the session that is being worked on."""
        return int(self.progress[0])

    def place(self, proposal: Proposal, costs: Costs) -> None:
        """Turn a target into units at the prices of the session.

        The target is of net asset value *after* the proposal's own cost: an order is
        for the units that the proposal traded, so that its cost is what it said.

        Parameters
        ----------
        proposal : Proposal
        costs : Costs
            As known at the session.

        Raises
        ------
        DataError
            An unknown label, a holding left out, or a target without a price; no
            volume for a trade that needs one.
        ModelError
            The target borrows more than is allowed.
        """
        kernel, ledger, k = self._kernel, self.ledger, self.session
        base = cash_label(ledger.base_currency)
        weight = np.zeros(ledger.units.size)
        named = np.zeros(weight.size, dtype=bool)
        cash_weight = 0.0
        for label, w in zip(proposal.labels, proposal.target.tolist(), strict=True):
            if label == base:
                cash_weight = w
                continue
            i = ledger.column(label)
            if i < 0:
                raise DataError(
                    "the proposal names an asset that the prices do not have",
                    asset=label,
                    date=ledger.clock.dates[k],
                    fix="Propose tickers of the panel; cash as CASH:XXX with an "
                    "exchange rate.",
                )
            weight[i], named[i] = w, True
        code = kernel.place(
            ledger.tables,
            ledger.state,
            self.orders,
            ledger.log,
            self.rules,
            k,
            weight,
            named,
            cash_weight,
            1.0 - proposal.cost,
            self.progress,
        )
        if code != kernel.DONE:
            raise self._error(code, cash_weight)
        if self._by_volume:
            self._look_up_volumes(costs)

    def fill_now(self) -> None:
        """Fill what waits at the close of the session that decided it."""
        ledger, kernel = self.ledger, self._kernel
        code = kernel.fill(
            ledger.tables,
            ledger.state,
            self.orders,
            ledger.log,
            ledger.rows,
            self.rules,
            self.session,
            self.progress,
        )
        if code != kernel.DONE:
            raise self._error(code)

    def finish(self) -> None:
        """Record what is still waiting when the run ends."""
        if self.orders.numbers[2]:
            last, kernel = self.ledger.clock.dates.size - 1, self._kernel
            kernel.cancel(self.orders, self.ledger.log, last, kernel.OPEN)

    def _plain(self, whole: bool) -> bool:
        """Whether trading has no friction but a proportional cost, in one currency."""
        ledger, costs = self.ledger, self.ledger.costs
        return not (
            whole
            or self._by_volume
            or costs.minimum_commission
            or ledger.tax_rate.any()
            or ledger.market.foreign.any()
            or ledger.units.size > ledger.market.n_assets
            or np.isnan(self.orders.rates).any()
        )

    def _known_rates(self, costs: Costs) -> np.ndarray:
        """(M,) proportional cost; NaN where none is given, which trading refuses."""
        market = self.ledger.market
        try:
            return costs.rates(market.labels, foreign=market.foreign)
        except DataError:
            rates = np.full(len(market.labels), np.nan)
        for i, label in enumerate(market.labels):
            try:
                rates[i] = costs.rates([label], foreign=market.foreign[i : i + 1])[0]
            except DataError:
                continue
        return rates

    def _look_up_volumes(self, costs: Costs) -> None:
        """Volumes, rates and impact of what is traded, as known at the decision."""
        orders, market = self.orders, self.ledger.market
        traded = np.flatnonzero(orders.remaining)
        if not traded.size:
            return
        labels = [market.labels[i] for i in traded]
        try:
            volume = costs.daily_volume(labels)
        except DataError as error:
            raise _dated(error, self.ledger.clock.dates[self.session]) from error
        if self._participation is not None:
            orders.most[traded] = self._participation * volume
        if costs.impact:
            orders.rates[traded] = costs.rates(labels, foreign=market.foreign[traded])
            orders.impact[traded] = costs.impact_coefficients(labels)

    def _error(self, code: int, cash_weight: float = 0.0) -> BallastError:
        """What a code of the kernel means, in words."""
        kernel, ledger, k = self._kernel, self.ledger, self.session
        date, i = ledger.clock.dates[k], int(self.progress[3])
        asset = ledger.market.labels[i]
        if code == kernel.UNVALUED:
            ledger.value(k)  # raises, naming the first of the gaps
        if code == kernel.NO_RATE:
            foreign = ledger.market.foreign[i : i + 1]
            ledger.costs.rates([asset], foreign=foreign)  # raises
        if code == kernel.RUINED:
            return ModelError(
                "the book lost everything",
                date=date,
                received=f"a value of {ledger.columns['value'][k]:,.2f}",
                fix="Bound leverage and short positions.",
            )
        if code == kernel.BORROWED:
            if self.placing:
                cash_weight = float(self.plan.cash_weight[self.progress[2]])
            return ModelError(
                "the target borrows more cash than is allowed",
                asset=cash_label(ledger.base_currency),
                date=date,
                received=f"a weight of {cash_weight:.4%}",
                expected=f"at least {-self.rules.max_borrowing:.4%}",
                fix="Bound cash from below in the strategy, or raise max_borrowing.",
            )
        problem, fix = {
            kernel.NO_FX: ("no exchange rate to trade at", None),
            kernel.NO_BASIS: (
                "a tax rate without a cost basis",
                "Give cost_basis (per share), or set tax_rate to zero.",
            ),
            kernel.FORGOTTEN: (
                "the proposal leaves out a holding",
                "Give it a target weight; zero sells it.",
            ),
            kernel.UNPRICED: (
                "the proposal wants an asset that has no price yet",
                None,
            ),
        }[code]
        return DataError(problem, asset=asset, date=date, fix=fix)


def _dated(error: DataError, date: np.datetime64) -> DataError:
    """The same error, with the date of the decision."""
    return DataError(
        error.problem,
        asset=error.asset,
        date=date,
        received=error.received,
        expected=error.expected,
        fix=error.fix,
    )
