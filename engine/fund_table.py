"""What the funds of a universe hold as of a date: documents first, else estimates.

A fund's role weights come from the latest document known at the date, else from its
returns up to it (`engine.funds`), else they are unknown and the words say why. The
companies that stand for the roles travel along, so that a fund's move does not depend
on which companies a book or a model happens to hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine._base import Value
from engine.data.look_through import (
    FundExposure,
    documented_exposure,
    look_through_table,
    read_look_through,
)
from engine.data.panel import PricePanel
from engine.data.roles import COMPANY_CLASSES
from engine.data.universe import Universe
from engine.data.view import MarketView
from engine.errors import (
    DataError,
    ModelError,
    SolverError,
    UsageError,
    did_you_mean,
)
from engine.funds import AI_ROLES, Styles, same_close
from engine.returns import panel_of

METHODS = ("estimated", "bands")
EQUITY_FUNDS = frozenset({"etf_equity", "etf_equity_hedged"})
"""Asset classes whose holdings are estimated: shares can explain them."""
_DRAWS = 100  # the error of an error is then 7%, and a fund costs 5 ms a date


@dataclass(frozen=True, slots=True, eq=False)
class FundTable(Value):
    """Exposures of funds, and of which funds there are none.

    Attributes
    ----------
    exposures : tuple of FundExposure
        By AI role; one for each fund that is looked through.
    refused : tuple of (fund, words)
        Funds that stay unknown, and why.
    companies : Universe
        Members of the roles, with the AI shares known at the date.
    """

    exposures: tuple[FundExposure, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    companies: Universe = field(default_factory=lambda: Universe(()))

    def __len__(self) -> int:
        return len(self.exposures)

    def get(self, fund: str) -> FundExposure | None:
        """Exposure of a fund, or None where it stays unknown."""
        return next((e for e in self.exposures if e.fund == fund), None)

    def reason(self, fund: str) -> str:
        """Why a fund stays unknown; empty where nothing was tried."""
        return dict(self.refused).get(fund, "")

    def to_frame(self):
        """Return one row per fund and label: weight, error, source."""
        import pandas as pd

        rows = [
            (e.fund, label, w, se, e.method, e.r_squared, e.document)
            for e in self.exposures
            for label, w, se in zip(e.labels, e.weights, e.standard_errors, strict=True)
            if w > 0
        ]
        names = "fund label weight error method r_squared document"
        return pd.DataFrame(rows, columns=names.split())

    def __repr__(self) -> str:
        documented = sum(e.method == "look-through" for e in self.exposures)
        return (
            f"FundTable({documented} by document, {len(self) - documented} estimated, "
            f"{len(self.refused)} unknown)"
        )


def fund_table(
    market: PricePanel | MarketView,
    tickers: Iterable[str],
    *,
    method: str = "estimated",
    look_through: Any = None,
) -> FundTable:
    """Exposures of the funds among some assets, by what the market shows.

    Parameters
    ----------
    market : PricePanel or MarketView
        All companies it shows serve as baskets, whether among ``tickers`` or not, by
        the roles that the shock itself would use: undated ones included, later ones
        not. A panel stands for what is known at its last date.
    tickers : iterable of str
        Companies whose role is known, and classes without earnings, need none.
    method : {"estimated", "bands"}
        What to do without a document: estimate equity funds from a year of returns,
        daily where all markets close together and weekly otherwise, or leave them to
        the bands of their sector.
    look_through : path or DataFrame, optional
        Documents in place of those of the universe.

    Returns
    -------
    FundTable
    """
    if method not in METHODS:
        raise UsageError(
            "unknown treatment of funds",
            received=repr(method),
            expected=", ".join(METHODS),
            fix=did_you_mean(method, METHODS),
        )
    universe = panel_of(market).universe
    time, hindsight = panel_of(market).dates[-1], False
    if isinstance(market, MarketView):
        time, hindsight = market.time, market.hindsight_parameters
    if look_through is not None:
        universe = universe.with_look_through(read_look_through(look_through))
    known = universe.known_at(time, hindsight=hindsight)
    documents = look_through_table(known) if known.look_through else ()
    zero = dict(zip(known.tickers, known.is_structural_zero(), strict=True))
    exposures: list[FundExposure] = []
    refused: list[tuple[str, str]] = []
    styles: _Estimates | None = None
    for ticker in tickers:
        if zero.get(ticker, True):
            continue
        i = known.index(ticker)
        kind, role = known.asset_class[i], known.role[i]
        if kind in COMPANY_CLASSES and role != "unknown":
            continue
        found = None
        if len(documents):
            found = documented_exposure(
                documents, ticker, time, universe=known, hindsight_parameters=hindsight
            )
        if found is not None:
            exposures.append(_with_members(found, known))
        elif role == "unknown" and kind not in COMPANY_CLASSES:
            if method == "bands":
                continue
            if kind not in EQUITY_FUNDS:
                words = f"asset class {kind}" if kind else "no asset class stated"
                refused.append((ticker, f"not an equity fund ({words})"))
                continue
            styles = styles or _Estimates(market, known)
            result = styles.of(ticker)
            if isinstance(result, str):
                refused.append((ticker, result))
            else:
                exposures.append(result)
    needed = {
        t
        for e in exposures
        for label, group in zip(e.labels, e.members, strict=False)
        if label in AI_ROLES
        for t in group
    }
    return FundTable(
        tuple(exposures),
        tuple(refused),
        known.select(sorted(needed)),
    )


def _with_members(exposure: FundExposure, universe: Universe) -> FundExposure:
    """Let the companies of a role stand for it, where the document names none."""
    if exposure.members:
        return exposure
    by_role: dict[str, list[str]] = {}
    for ticker, role, kind in zip(
        universe.tickers, universe.role, universe.asset_class, strict=True
    ):
        if kind in COMPANY_CLASSES and role in AI_ROLES:
            by_role.setdefault(role, []).append(ticker)
    members = tuple(tuple(sorted(by_role.get(x, ()))) for x in exposure.labels)
    return replace(exposure, members=members)


class _Estimates:
    """Style weights of several funds, or the words why there are none."""

    def __init__(self, market: PricePanel | MarketView, known: Universe) -> None:
        self.market, self.known = market, known
        self.companies = [
            t
            for t, c in zip(known.tickers, known.asset_class, strict=True)
            if c in COMPANY_CLASSES
        ]
        self.together = same_close(known, self.companies)
        self.made: dict[tuple[str, str], Styles] = {}

    def of(self, fund: str) -> FundExposure | str:
        """Remainder by country, and by sector where that does not follow the fund."""
        together = self.together and same_close(self.known, [fund, *self.companies[:1]])
        why = ""
        for remainder in ("country", "sector"):
            try:
                return self._styles("daily" if together else "weekly", remainder).of(
                    fund
                )
            except DataError as error:
                return _words(error)
            except (ModelError, SolverError) as error:
                why = why or _words(error)
        return why

    def _styles(self, step: Literal["daily", "weekly"], remainder: str) -> Styles:
        key = (step, remainder)
        if key not in self.made:
            self.made[key] = Styles(
                self.market,
                step=step,
                remainder=remainder,
                draws=_DRAWS,
                known_roles=self.known.role,
                like=next(iter(self.made.values()), None),
            )
        return self.made[key]


def _words(error: DataError | ModelError | SolverError) -> str:
    received = "" if error.received is None else f" ({error.received})"
    return f"{error.problem}{received}"
