"""What a fund holds: by documented look-through, else estimated from its returns.

Returns-based style analysis (Sharpe 1992): the long-only mix of baskets that follows
the fund best, ``min Var(r_fund - sum_k w_k b_k)``, ``w >= 0``, ``sum w = 1``, with one
equal-weighted basket per AI role and one per country of companies without a role.
Baskets hold companies only, so neither the fund nor a fund that holds it is in one.
A document goes first: ``documented_exposure(...) or style_weights(...)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from engine._base import check_labels
from engine._typing import Matrix, Vector
from engine.data.look_through import FundExposure
from engine.data.panel import PricePanel
from engine.data.roles import COMPANY_CLASSES, DOCUMENTED_ZERO_CLASSES, ROLES
from engine.data.view import MarketView
from engine.errors import DataError, ModelError, SolverError, UsageError
from engine.returns import OVERLAP, STALE_AFTER, _last_known, closes_together

AI_ROLES = tuple(r for r in ROLES if r not in ("none", "unknown"))
_PRESENT = 0.9  # of the fund's sessions: foreign holidays take up to 7%
_RIDGE = 1e-10  # of the variance: splits equal baskets evenly, moves nothing else


class FundMove(NamedTuple):
    """A fund's move under a shock, as decimals, and where it comes from."""

    central: float
    low: float
    high: float
    basis: str


def style_weights(
    market: PricePanel | MarketView,
    fund: str,
    *,
    window: int = 252,
    end: Any = None,
    step: Literal["weekly", "daily"] = "weekly",
    roles: Sequence[str] = AI_ROLES,
    remainder: str = "country",
    others: Mapping[str, Sequence[str]] | None = None,
    min_members: int = 3,
    min_r_squared: float = 0.5,
    draws: int = 200,
    block: int | None = None,
    seed: int = 0,
    hindsight_parameters: bool = False,
) -> FundExposure:
    """Estimate what a fund holds from its returns (Sharpe 1992).

    Parameters
    ----------
    market : PricePanel or MarketView
        Simple returns in base currency; a NaN price is the last known one.
    window : int, default 252
        Number of returns, one per session of the fund: about a year of holdings.
    end : date, datetime64 or str, optional
        Use nothing known later; default all that ``market`` holds.
    step : {"weekly", "daily"}
        Overlapping five-session returns, which markets of different hours share
        (methods section 5), or daily ones where all close together: sharper.
    roles : sequence of str
        Roles that may have a basket; all but ``none`` and ``unknown``.
    remainder : str, default "country"
        Grouping of companies without a role; ``"sector"`` suits a sector fund.
    others : mapping of label to tickers, optional
        Further baskets where shares cannot explain the fund: bonds, commodities or
        currencies. Equity funds are refused: they may hold it, or what it holds.
    min_members : int, default 3
        Groups with fewer companies without a role are pooled by region.
    min_r_squared : float, default 0.5
        Refuse a fund of which less is followed: half its variance would be unknown.
        An inverse or leveraged fund, or one of bonds without ``others``, ends here.
    draws, block, seed : int
        Circular block bootstrap (Politis, Romano 1992): samples, sessions per block
        (default three returns' length), Philox key.
    hindsight_parameters : bool, default False
        Allow undated roles at a past ``end``; a view brings its own answer.

    Raises
    ------
    DataError, ModelError, LookAheadError
        Too short a history, by fund; no AI basket, or too little of the fund followed;
        undated roles at a past date.
    """
    k = {"weekly": OVERLAP, "daily": 1}.get(step, 0)
    block = 3 * k if block is None else block
    if not (k and window >= 20 and draws >= 2 and 1 <= block <= window):
        raise UsageError(
            "style weights cannot be estimated so",
            received=f"step {step!r}, window {window}, draws {draws}, block {block}",
            expected="weekly or daily, at least 20 and 2, block within the window",
        )
    panel, role = _known(market, end, hindsight_parameters)
    prices, own = panel.base_prices(), panel.index(fund)
    rows = np.flatnonzero(np.isfinite(prices[:, own]))
    if rows.size < window + k or panel.dates.size - 1 - rows[-1] > STALE_AFTER:
        last = panel.dates[rows[-1]] if rows.size else "no date"
        raise DataError(
            "too short a history to estimate what a fund holds",
            asset=fund,
            received=f"{rows.size} prices, the last on {last}",
            expected=f"at least {window + k}, the last one recent",
            fix="Give a documented look-through, or a shorter window.",
        )
    rows = rows[-(window + k) :]
    usable = _usable(prices, rows)
    usable[own] = False
    baskets = _role_baskets(panel, role, usable, roles, remainder, min_members)
    baskets |= _other_baskets(panel, usable, others or {})
    labels = sorted(baskets)  # any order of the panel gives the same bits
    if not set(labels) & set(AI_ROLES):
        raise ModelError(
            "no company with an AI role to make a basket of",
            asset=fund,
            fix="Add companies with dated roles.",
        )
    names = tuple(tuple(sorted(baskets[x])) for x in labels)
    used = panel.select([fund, *(t for group in names for t in group)])
    if step == "daily" and not closes_together(used):
        raise UsageError(
            "markets close at different hours: use step='weekly'", asset=fund
        )
    level = _last_known(prices)[rows]
    moved = level[k:] / level[:-k] - 1.0
    y = moved[:, own]
    if not y.std() > 0:
        raise DataError("the fund's price does not move", asset=fund)
    column = {t: moved[:, i] for i, t in enumerate(panel.tickers)}
    X = np.column_stack([np.mean([column[t] for t in g], axis=0) for g in names])
    D = X - y[:, None]
    w = _simplex_weights(D, fund)
    free = window / k - np.count_nonzero(w)  # returns that do not overlap, less fitted
    if window < 3 * len(labels) or free < 2:
        raise ModelError(
            "too short a window to tell the baskets apart",
            asset=fund,
            received=f"{window} {step} returns, {len(labels)} baskets",
        )
    residual = float((D @ w).std(ddof=1))
    r_squared = 1.0 - residual**2 / float(y.var(ddof=1))
    if r_squared < min_r_squared:
        raise ModelError(
            "the baskets do not follow this fund: what it holds stays unknown",
            asset=fund,
            received=f"R2 {r_squared:.2f}",
            expected=f"at least {min_r_squared:g}",
            fix="Give a document, others= (bonds), or remainder='sector'.",
        )
    # What samples of blocks lose of the variance of a mean of overlapping returns,
    # whose autocorrelation is 1 - j/k (Kuensch 1989), and the degrees of freedom.
    j = np.arange(1, min(k, block))
    kept = (1 + 2 * ((1 - j / k) * (1 - j / block)).sum()) / k
    scale = float(np.sqrt(window / k / free / kept))
    rng = np.random.Generator(np.random.Philox(key=seed))
    starts = rng.integers(window, size=(draws, -(-window // block)))
    picks = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)[:, :window]
    samples = np.array([_simplex_weights(D[p % window], fund) for p in picks])
    days = panel.dates[rows]
    return FundExposure(
        fund,
        tuple(labels),
        w,
        scale * samples.std(axis=0, ddof=1),
        "estimated",
        days[-1],
        f"{step} returns on {len(labels)} baskets, {days[0]} to {days[-1]}",
        r_squared=r_squared,
        residual_volatility=residual,
        window=window,
        sessions=k,
        members=names,
        draws=samples,
        error_scale=scale,
    )


def fund_moves(
    exposure: FundExposure,
    moves_by_role: Mapping[str, float],
    *,
    beta_replay: float | None = None,
    coverage: float = 0.9,
) -> FundMove:
    """Move of a fund under a shock: the worse of its weights and its beta.

    Parameters
    ----------
    exposure : FundExposure
    moves_by_role : mapping of label to float
        Simple moves of the baskets, as decimals, no NaN. ``none:<country>`` and
        ``other:<basket>`` fall back on ``none`` and ``other``, and those on zero,
        which is documented. A label with weight and no move is a `DataError`.
    beta_replay : float, optional
        The fund's AI-basket beta times the basket's move, as a decimal.
    coverage : float, default 0.9
        Of the band: the error of the weights, by bootstrap, and not that of the
        moves, nor what the baskets do not follow. A document has no width.

    Notes
    -----
    What the weights do not cover is never zero: it takes the lowest move given.
    """
    replay = np.inf if beta_replay is None else float(beta_replay)
    given = {k: float(v) for k, v in moves_by_role.items()}
    if not np.isfinite([*given.values(), beta_replay or 0.0]).all():
        raise DataError("a move is not finite", asset=exposure.fund, received=given)
    worst = min([*given.values(), 0.0, replay])
    given = {"none": 0.0, "other": 0.0, "unknown": worst} | given
    held = exposure.weights + exposure.draws.sum(axis=0)
    moves = np.zeros(len(held))
    for i, label in enumerate(exposure.labels):
        move = given.get(label, given.get(label.partition(":")[0]))
        if move is None and held[i] > 0:
            problem = "no move given for what a fund holds: unknown is never zero"
            raise DataError(problem, asset=exposure.fund, received=label)
        moves[i] = move or 0.0
    W = np.vstack([exposure.weights, exposure.draws])
    total = W @ moves + np.maximum(0.0, 1.0 - W.sum(axis=1)) * worst
    ends = [(1 - coverage) / 2, (1 + coverage) / 2]
    spread = total[1:] if len(total) > 1 else total
    spread = spread.mean() + exposure.error_scale * (spread - spread.mean())
    low, high = np.quantile(spread, ends)
    basis = f"{exposure.method}: {exposure.document}"
    if replay < total[0]:
        basis = f"AI-basket beta replay, worse than {basis}"
    low, high = min(low, total[0]), max(high, total[0])
    central, low, high = (float(min(v, replay)) for v in (total[0], low, high))
    return FundMove(central, low, high, basis)


def _known(market: PricePanel | MarketView, end: Any, hindsight: bool) -> Any:
    """Panel and roles as of ``end`` or the view, whichever is earlier."""
    if isinstance(market, PricePanel):
        if end is None:
            return market, market.universe.known_at(market.dates[-1]).role
        view = market.as_of(end, hindsight_parameters=hindsight)
        return view.panel, view.roles()
    view, flag = market, market.hindsight_parameters
    if end is not None:
        view = market.panel.as_of(end, hindsight_parameters=flag)
        view = view if view.time <= market.time else market
    return view.panel, view.roles()


def _usable(prices: Matrix, rows: np.ndarray) -> np.ndarray:
    """(N,) bool: priced before the window, through it, and lately."""
    valid = np.isfinite(prices)
    started, through = valid[: rows[0] + 1].any(axis=0), valid[rows].mean(axis=0)
    return started & (through >= _PRESENT) & valid[rows[-STALE_AFTER:]].any(axis=0)


def _role_baskets(
    panel: PricePanel,
    role: Sequence[str],
    usable: np.ndarray,
    wanted: Sequence[str],
    remainder: str,
    min_members: int,
) -> dict[str, list[str]]:
    """Companies by role; by country (or the like) where they have none."""
    u, group = panel.universe, panel.universe.labels(remainder)
    company = [c in COMPANY_CLASSES for c in u.asset_class]
    ready = [i for i in range(len(u)) if usable[i] and company[i]]
    places = [group[i] for i in ready if role[i] == "none"]
    baskets: dict[str, list[str]] = {}
    for i in ready:
        label, place = role[i], group[i]
        if label == "none":
            few = not place or places.count(place) < min_members
            label = f"none:other {u.region[i] or 'places'}" if few else f"none:{place}"
        elif label not in AI_ROLES or label not in wanted:
            continue
        baskets.setdefault(label, []).append(u.tickers[i])
    return baskets


def _other_baskets(
    panel: PricePanel, usable: np.ndarray, others: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Baskets of the caller: no equity funds."""
    for ticker in (t for tickers in others.values() for t in tickers):
        i = panel.index(ticker)
        kind = panel.universe.asset_class[i]
        if kind not in DOCUMENTED_ZERO_CLASSES or not usable[i]:
            problem = "only bonds, commodities or currencies with prices may help"
            raise DataError(problem, asset=ticker, received=kind)
    return {f"other:{k}": list(check_labels(v, name=k)) for k, v in others.items() if v}


def _simplex_weights(D: Matrix, fund: str) -> Vector:
    """Minimise Var(D w) on the simplex; ``D`` is baskets less fund, (T, K), no NaN.

    For u >= 0, ``min |D u|^2 + (1'u - 1)^2`` is at ``u = s w`` with w on the simplex:
    the best s gives ``q / (1 + q)``, increasing in ``q = |D w|^2``. One nonnegative
    least squares (Lawson, Hanson 1974) is thus exact; the gap is checked.
    """
    from scipy.optimize import nnls

    D, K = D - D.mean(axis=0), D.shape[1]
    R = np.linalg.qr(D / np.sqrt((D * D).sum() / K), mode="r")
    A = np.vstack([R, np.sqrt(_RIDGE) * np.eye(K)])
    target = np.append(np.zeros(len(A)), 1.0)
    try:
        u, _ = nnls(np.vstack([A, np.ones(K)]), target, maxiter=30 * K)
        w = u / u.sum()
    except RuntimeError as error:
        raise SolverError("no style weights", asset=fund, received=error) from error
    slope = A.T @ (A @ w)
    gap = float(w @ slope - slope.min())  # bounds the objective's excess
    if not gap <= 1e-8:
        raise SolverError("style weights are not optimal", asset=fund, received=gap)
    return w
