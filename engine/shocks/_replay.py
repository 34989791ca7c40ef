"""Historical replay: what an episode did to each asset, and how that is known.

The first of these that applies, named asset by asset in ``basis``:

1. own history in the panel, between the closes of its own market by information time;
2. the figure of the library for this very asset, with its source;
3. a factor fit in logs, ``b_m ln(1+R_m) + b_a [ln(1+R_a) - ln(1+R_m)]``, betas of the
   model's covariance on the market and on the AI basket beside it;
4. the median of the replayed assets of its role, the library's figures included;
5. the median of the replayed assets of its sector (methods section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array
from engine.alignment import event_returns
from engine.data.panel import PricePanel
from engine.data.roles import COMPANY_CLASSES, INFRASTRUCTURE
from engine.data.view import MarketView
from engine.errors import DataError, ModelError, UsageError
from engine.shocks._library import Episode, Fact, library
from engine.shocks.basket import basket_betas
from engine.shocks.moves import ShockMoves
from engine.shocks.severity import DRAWS, exposure_uniforms

_FAR = np.timedelta64(15, "D")
"""Longest holiday between a window and a close that still belongs to it."""
_FEWEST = 3
_FLOOR = np.log(0.01)
PARTS = ("own history", "cited figure", "market", "AI basket", "role", "sector")


@dataclass(frozen=True, slots=True, eq=False)
class Replay(Value):
    """An episode as a shock; made by `replay`.

    Attributes
    ----------
    name, citation : str
    known_from : datetime64[D]
        Day after the last close in it.
    tickers, role, sector, company : tuple, length P
        Assets with an own return in the panel.
    values : (P,) float64
        Simple returns, local currency.
    words : tuple of str
        Which closes each return runs between.
    facts : tuple of Fact
        Figures of the library known by then.
    sessions : int
        Sessions of New York in the window: scales the residual error of a fit.
    """

    name: str
    known_from: np.datetime64
    citation: str
    tickers: tuple[str, ...]
    values: np.ndarray
    words: tuple[str, ...]
    role: tuple[str, ...]
    sector: tuple[str, ...]
    company: tuple[bool, ...]
    facts: tuple[Fact, ...]
    sessions: int

    def __post_init__(self) -> None:
        values = frozen_array(self.values, name="returns", ndim=1)
        object.__setattr__(self, "values", values)

    def market(self) -> float | None:
        """Return of SPY in the episode, where known."""
        known = dict(zip(self.tickers, self.values.tolist(), strict=True))
        cited = {f.ticker: f.value for f in self.facts}
        return known.get("SPY", cited.get("SPY"))

    def basket(self) -> float | None:
        """Mean return of companies of AI infrastructure roles; None below three."""
        own = [
            x
            for x, r, c in zip(self.values, self.role, self.company, strict=True)
            if c and r in INFRASTRUCTURE
        ]
        if len(own) < _FEWEST:
            own = [f.value for f in self.facts if f.role in INFRASTRUCTURE]
        return float(np.mean(own)) if len(own) >= _FEWEST else None

    def moves(self, universe: Any, model: Any = None) -> ShockMoves:
        """Move of each asset, its error where it has one, and how it was obtained.

        Parameters
        ----------
        universe : Universe
            Cash does not move.
        model : ReturnModel, optional
            Betas for assets without a return in the episode. Without it the medians
            stand in.

        Raises
        ------
        ModelError
            An asset to which none of the five applies.
        """
        N = len(universe)
        own = dict(zip(self.tickers, range(len(self.tickers)), strict=True))
        cited = {f.ticker: f for f in self.facts}
        parts = {k: np.zeros(N) for k in PARTS}
        spread = np.zeros((DRAWS, N))
        basis: list[str] = [""] * N
        pending = []
        for i, t in enumerate(universe.tickers):
            if t.startswith("CASH:") or universe.asset_class[i] == "cash":
                basis[i] = "cash: does not move"
            elif t in own:
                parts["own history"][i] = np.log1p(self.values[own[t]])
                basis[i] = f"own history: {self.words[own[t]]}"
            elif t in cited:
                fact = cited[t]
                parts["cited figure"][i] = np.log1p(fact.value)
                basis[i] = f"cited figure: {fact.basis}, {fact.source}"
            else:
                pending.append(i)
        known = np.array([b.startswith(("own", "cited")) for b in basis], dtype=bool)
        fit = self._fit(universe, model, parts, known) if pending else None
        U = exposure_uniforms(universe.tickers) if pending else np.empty((DRAWS, N))
        for i in pending:
            if fit is not None and np.isfinite(fit[0][:, i]).all():
                logs, error, text = fit
                parts["market"][i], parts["AI basket"][i] = logs[:, i]
                spread[:, i] = error[i] * _normal(U[:, i])
                basis[i] = text[i]
                continue
            word, values, where = self._peers(universe.role[i], universe.sector[i])
            if values is None:
                raise ModelError(
                    f"no way to replay {self.name} for this asset",
                    asset=universe.tickers[i],
                    received=f"role {universe.role[i]!r}, no history in the episode",
                    fix="Give a model that holds it, or its role and sector.",
                )
            logs = np.log1p(values)
            middle = float(np.median(logs))
            parts[word][i] = middle
            spread[:, i] = _between(logs, U[:, i]) - middle
            basis[i] = (
                f"{word} median: {where}, {len(values)} assets, "
                f"{values.min():.1%} to {values.max():.1%}"
            )
        logs = np.sum(list(parts.values()), axis=0)
        drawn = np.maximum(logs + spread, np.minimum(logs, _FLOOR))
        return ShockMoves(
            assets=universe.tickers,
            central=np.expm1(logs),
            draws=np.expm1(drawn),
            driver=(logs + spread).mean(axis=1),
            basis=tuple(basis),
            parts=parts,
        )

    def _fit(self, universe, model, parts, known):
        """(2, N) log moves by factor, (N,) log errors, words; None without factors."""
        market, basket = self.market(), self.basket()
        if model is None or market is None or basket is None:
            return None
        if basket_betas(universe, model)[0] is None:
            return None
        R_m, R_a = np.log1p(market), np.log1p(basket)
        position = {a: j for j, a in enumerate(model.assets)}
        inside = np.array([position.get(t, -1) for t in universe.tickers])
        beta = _two_betas(universe, model, inside)
        logs = np.vstack([beta[0] * R_m, beta[1] * (R_a - R_m)])
        logs[:, inside < 0] = np.nan
        C = model.dense_covariance()
        daily = np.where(inside >= 0, C[inside, inside], np.nan)
        periods = max(self.sessions / model.sessions, 1.0)
        error = np.sqrt(np.maximum(daily - beta[2], 0.0) * periods)
        of = known & (inside >= 0)
        where = "residual of the model"
        if of.sum() >= 10:
            gap = np.sum(list(parts.values()), axis=0)[of] - logs.sum(axis=0)[of]
            error = np.maximum(error, np.sqrt(np.mean(gap**2)))
            where = f"no less than on the {of.sum()} assets with a return"
        text = [
            f"factor fit: market beta {beta[0, i]:.2f}, AI-basket beta "
            f"{beta[1, i]:.2f}; error in logs {error[i]:.3f}, {where}"
            for i in range(len(universe))
        ]
        return logs, error, text

    def _peers(self, role: str, sector: str):
        """Which median applies: its kind, the returns in it, and its label."""
        if role not in ("unknown", "none"):
            same = [x for x, r in zip(self.values, self.role, strict=True) if r == role]
            same += [
                f.value
                for f in self.facts
                if f.role == role and f.ticker not in self.tickers
            ]
            if same:
                return "role", np.array(same), role
        same = [x for x, s in zip(self.values, self.sector, strict=True) if s == sector]
        if sector and same:
            return "sector", np.array(same), sector
        return "", None, ""

    def __repr__(self) -> str:
        return (
            f"Replay({self.name}, {len(self.tickers)} own returns, "
            f"{len(self.facts)} cited, known from {self.known_from})"
        )


def replay(
    episode: str | Episode | tuple[Any, Any],
    *,
    panel: PricePanel | MarketView | None = None,
    name: str | None = None,
    cut: str = "NYSE",
) -> Replay:
    """Return an episode as a shock for any universe.

    Parameters
    ----------
    episode : str, Episode, or (start, end)
        A name of `library`, or the first and last session of a window: the return runs
        from the close before ``start`` to that of ``end``, in other markets to the
        first close that could contain it.
    panel : PricePanel or MarketView, optional
        Prices for own history; needed for a window. An episode outside its dates is
        replayed from the library's figures.
    name : str, optional
        Label of the scenario leg; ``replay:<episode>`` by default.
    cut : str, default "NYSE"

    Returns
    -------
    Replay

    Raises
    ------
    UsageError
        Unknown episode, or a window without prices.
    DataError
        A window that the prices do not cover.
    """
    if isinstance(episode, str):
        episode = library()[episode.removeprefix("replay:")]
    if isinstance(episode, Episode):
        label, start, end = episode.name, episode.start, episode.end
        facts, confounds = episode.facts, episode.confounds
        citation, known = episode.citation, episode.known_from
    else:
        try:
            start, end = (np.datetime64(d, "D") for d in episode)
        except (TypeError, ValueError):
            raise UsageError(
                "an episode is a name or a pair of dates", received=repr(episode)
            ) from None
        label, facts, confounds = f"{start}..{end}", (), {}
        citation, known = "prices of the panel", end + 1
        if panel is None:
            raise UsageError("replay of a window needs prices", fix="Give panel=...")
    sessions = max(int(np.busday_count(start, end + 1)), 1)
    fields: dict[str, Any] = dict.fromkeys(("tickers", "words", "role", "sector"), ())
    fields |= {"values": np.empty(0), "company": ()}
    if panel is not None:
        prices = panel.panel if isinstance(panel, MarketView) else panel
        covered = prices.dates[0] < start and end <= prices.dates[-1]
        if not covered and not facts:
            raise DataError(
                "the prices do not cover the episode",
                received=f"{prices.dates[0]} to {prices.dates[-1]}",
                expected=f"from before {start} to {end}",
            )
        if covered:
            fields, known = _own(panel, start, end, cut, confounds)
            facts = tuple(f for f in facts if f.end < known)
            if prices.synthetic:
                citation = f"SYNTHETIC prices; {citation}"
    return Replay(
        name=name or f"replay:{label}",
        known_from=known,
        citation=f"historical replay {start} to {end}; {citation}",
        facts=facts,
        sessions=sessions,
        **fields,
    )


def _own(panel, start, end, cut, confounds):
    """Fields of a replay that come from prices, and the day after the last close."""
    event = event_returns(panel, start, end, cut=cut)
    universe = panel.universe
    with np.errstate(invalid="ignore"):
        use = np.isfinite(event.values)
        use &= (event.start_date >= start - _FAR) & (event.end_date <= end + _FAR)
    rows = np.flatnonzero(use)
    words = []
    for i in rows:
        n = int(event.closes[i])
        text = f"{event.start_date[i]} to {event.end_date[i]}, {n} local close"
        text += "" if n == 1 else "s"
        if event.shut[i]:
            text += f", shut on {end}"
        if universe.venue[i] in confounds and event.end_date[i] > end:
            text += f" ({confounds[universe.venue[i]]})"
        words.append(text)

    def pick(column):
        return tuple(column[i] for i in rows)

    last = event.end_date[rows].max() if rows.size else end
    return {
        "tickers": pick(event.tickers),
        "values": event.values[rows],
        "words": tuple(words),
        "role": pick(universe.role),
        "sector": pick(universe.sector),
        "company": tuple(universe.asset_class[i] in COMPANY_CLASSES for i in rows),
    }, max(last, end) + np.timedelta64(1, "D")


def _two_betas(universe, model, inside):
    """(3, N): betas on market and basket minus market together, variance explained."""
    members = np.array(
        [
            r in INFRASTRUCTURE and c in COMPANY_CLASSES
            for r, c in zip(universe.role, universe.asset_class, strict=True)
        ],
        dtype=bool,
    )
    C = model.dense_covariance()
    n = C.shape[0]
    market, basket = np.zeros(n), np.zeros(n)
    basket[inside[members & (inside >= 0)]] = 1.0
    basket /= basket.sum()
    if "SPY" in model.assets:
        market[model.assets.index("SPY")] = 1.0
    else:
        zero = universe.is_structural_zero()
        market[inside[~members & ~zero & (inside >= 0)]] = 1.0
        if not market.any():
            market[:] = 1.0
        market /= market.sum()
    F = np.column_stack([market, basket - market])
    G = F.T @ C @ F
    covers = np.column_stack([F.T @ C, np.zeros(2)])[:, inside]
    beta = np.linalg.lstsq(G, covers, rcond=None)[0]
    return np.vstack([beta, np.sum(beta * covers, axis=0)])


def _normal(u: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    return norm.ppf(u)


def _between(logs: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Draws between least, median and most, as the shares of the table are drawn."""
    low, middle, high = logs.min(), np.median(logs), logs.max()
    return np.where(
        u < 0.5, low + (middle - low) * 2 * u, middle + (high - middle) * (2 * u - 1)
    )
