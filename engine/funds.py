"""What a fund holds: by documented look-through, else estimated from its returns.

Returns-based style analysis (Sharpe 1992): the long-only mix of baskets that follows
the fund best, ``min Var(r_fund - sum_k w_k b_k)``, ``w >= 0``, ``sum w = 1``, with one
equal-weighted basket per AI role and one per country of companies without a role.
Baskets hold companies only, so neither the fund nor a fund that holds it is in one.
A document goes first (`engine.fund_table`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from engine._base import check_labels
from engine._typing import Matrix, Vector
from engine.data.look_through import FundExposure
from engine.data.panel import PricePanel
from engine.data.roles import COMPANY_CLASSES, DOCUMENTED_ZERO_CLASSES, ROLES
from engine.data.universe import Universe
from engine.data.venues import VENUES
from engine.data.view import MarketView
from engine.errors import DataError, ModelError, SolverError, UsageError
from engine.returns import OVERLAP, STALE_AFTER, _last_known, panel_of

AI_ROLES = tuple(r for r in ROLES if r not in ("none", "unknown"))
_PRESENT = 0.9  # of the fund's sessions: foreign holidays take up to 7%
_GAP = 1e-8  # of the variance of the baskets less the fund
_RIDGE = 1e-10  # of the variance: splits equal baskets evenly, moves nothing else


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
    max_slope: float = 1.5,
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
        An inverse fund, or one of bonds without ``others``, ends here.
    max_slope : float, default 1.5
        Refuse a fund that moves by more than so many times its mix: a leveraged one,
        whose weights would be too small by that factor.
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
    styles = Styles(
        market,
        window=window,
        end=end,
        step=step,
        roles=roles,
        remainder=remainder,
        others=others,
        min_members=min_members,
        min_r_squared=min_r_squared,
        max_slope=max_slope,
        draws=draws,
        block=block,
        seed=seed,
        hindsight_parameters=hindsight_parameters,
    )
    return styles.of(fund)


class _Baskets(NamedTuple):
    """What all funds with the same sessions share."""

    labels: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    returns: Matrix
    """(T, K) of the baskets."""
    counts: Matrix
    """(B, T) how often each bootstrap sample takes each return."""
    products: np.ndarray
    """(B, K, K) sums of products of basket returns in each sample."""
    sums: Matrix
    """(B, K) sums of basket returns in each sample."""
    basis: Matrix
    """(T, K) orthonormal columns; times ``triangle`` the returns about their means."""
    triangle: Matrix


class Styles:
    """Style analysis of several funds of one market; parameters as `style_weights`.

    The baskets of a set of sessions, and their part of the bootstrap, are computed
    once for all funds with those sessions. ``known_roles`` replaces the roles that the
    market shows, for a caller that has settled which are known; ``like`` gives the
    prices of the same market, already read.
    """

    def __init__(
        self,
        market: PricePanel | MarketView,
        *,
        window: int = 252,
        end: Any = None,
        step: Literal["weekly", "daily"] = "weekly",
        roles: Sequence[str] = AI_ROLES,
        remainder: str = "country",
        others: Mapping[str, Sequence[str]] | None = None,
        min_members: int = 3,
        min_r_squared: float = 0.5,
        max_slope: float = 1.5,
        draws: int = 200,
        block: int | None = None,
        seed: int = 0,
        hindsight_parameters: bool = False,
        known_roles: Sequence[str] | None = None,
        like: Styles | None = None,
    ) -> None:
        k = {"weekly": OVERLAP, "daily": 1}.get(step, 0)
        block = 3 * k if block is None else block
        if not (k and window >= 20 and draws >= 2 and 1 <= block <= window):
            raise UsageError(
                "style weights cannot be estimated so",
                received=f"step {step!r}, window {window}, draws {draws}, "
                f"block {block}",
                expected="weekly or daily, at least 20 and 2, block within the window",
            )
        self.step, self.sessions, self.window = step, k, window
        self.roles, self.remainder, self.others = roles, remainder, others or {}
        self.min_members, self.min_r_squared = min_members, min_r_squared
        self.max_slope, self.draws, self.block = max_slope, draws, block
        self.seed = seed
        if known_roles is None:
            self.panel, self.role = _known(market, end, hindsight_parameters)
        else:
            self.panel, self.role = panel_of(market), known_roles
        if like is None:
            self.panel = self.panel.adjusted()
            self.prices = self.panel.base_prices()
            self.level = _last_known(self.prices)
        else:
            self.panel, self.prices, self.level = like.panel, like.prices, like.level
        self._made: dict[bytes, _Baskets] = {}

    def of(self, fund: str) -> FundExposure:
        """Weights of one fund; errors as `style_weights`."""
        rows, k = self._rows(fund), self.sessions
        baskets = self._baskets(fund, rows)
        level = self.level[rows, self.panel.index(fund)]
        y = level[k:] / level[:-k] - 1.0
        if not y.std() > 0:
            raise DataError("the fund's price does not move", asset=fund)
        D = baskets.returns - y[:, None]
        w = _mix(baskets, y, fund)
        # Returns that do not overlap, less the weights fitted.
        free = self.window / k - np.count_nonzero(w)
        if self.window < 3 * len(baskets.labels) or free < 2:
            raise ModelError(
                "too short a window to tell the baskets apart",
                asset=fund,
                received=f"{self.window} {self.step} returns, "
                f"{len(baskets.labels)} baskets",
            )
        residual = float((D @ w).std(ddof=1))
        r_squared = 1.0 - residual**2 / float(y.var(ddof=1))
        self._check_followed(fund, y, baskets.returns @ w, r_squared)
        samples = _resampled(baskets, y, fund, w)
        scale = self._error_scale(free)
        days = self.panel.dates[rows]
        return FundExposure(
            fund,
            baskets.labels,
            w,
            scale * samples.std(axis=0, ddof=1),
            "estimated",
            days[-1],
            f"{self.step} returns on {len(baskets.labels)} baskets, {days[0]} to "
            f"{days[-1]}",
            r_squared=r_squared,
            residual_volatility=residual,
            window=self.window,
            sessions=k,
            members=baskets.members,
            draws=samples,
            error_scale=scale,
        )

    def _rows(self, fund: str) -> np.ndarray:
        """Sessions of the fund from which its returns are taken."""
        rows = np.flatnonzero(np.isfinite(self.prices[:, self.panel.index(fund)]))
        dates, need = self.panel.dates, self.window + self.sessions
        if rows.size < need or dates.size - 1 - rows[-1] > STALE_AFTER:
            last = dates[rows[-1]] if rows.size else "no date"
            raise DataError(
                "too short a history to estimate what a fund holds",
                asset=fund,
                received=f"{rows.size} prices, the last on {last}",
                expected=f"at least {need}, the last one recent",
                fix="Give a documented look-through, or a shorter window.",
            )
        return rows[-need:]

    def _baskets(self, fund: str, rows: np.ndarray) -> _Baskets:
        """Baskets over some sessions, without the fund itself."""
        u = self.panel.universe
        company = u.asset_class[u.index(fund)] in COMPANY_CLASSES
        key = rows.tobytes() + (fund.encode() if company else b"")
        if key in self._made:
            return self._made[key]
        usable = _usable(self.prices, rows)
        usable[u.index(fund)] = False
        groups = _role_baskets(
            self.panel,
            self.role,
            usable,
            self.roles,
            self.remainder,
            self.min_members,
        )
        groups |= _other_baskets(self.panel, usable, self.others)
        labels = tuple(sorted(groups))  # any order of the panel gives the same bits
        if not set(labels) & set(AI_ROLES):
            raise ModelError(
                "no company with an AI role to make a basket of",
                asset=fund,
                fix="Add companies with dated roles.",
            )
        members = tuple(tuple(sorted(groups[x])) for x in labels)
        used = [fund, *(t for group in members for t in group)]
        if self.step == "daily" and not same_close(u, used):
            raise UsageError(
                "markets close at different hours: use step='weekly'", asset=fund
            )
        k = self.sessions
        X = np.empty((rows.size - k, len(labels)))
        level = self.level[rows]
        change = level[k:] / level[:-k] - 1.0
        for j, group in enumerate(members):
            X[:, j] = change[:, [u.index(t) for t in group]].mean(axis=1)
        counts = _block_counts(self.window, self.block, self.draws, self.seed)
        made = _Baskets(
            labels,
            members,
            X,
            counts,
            (counts @ (X[:, :, None] * X[:, None, :]).reshape(len(X), -1)).reshape(
                len(counts), *(len(labels),) * 2
            ),
            counts @ X,
            *np.linalg.qr(X - X.mean(axis=0)),
        )
        self._made[key] = made
        return made

    def _check_followed(
        self, fund: str, y: Vector, mix: Vector, r_squared: float
    ) -> None:
        if r_squared < self.min_r_squared:
            raise ModelError(
                "the baskets do not follow this fund: what it holds stays unknown",
                asset=fund,
                received=f"R2 {r_squared:.2f}",
                expected=f"at least {self.min_r_squared:g}",
                fix="Give a document, others= (bonds), or remainder='sector'.",
            )
        around = mix - mix.mean()
        slope = float(around @ (y - y.mean()) / (around @ around))
        if slope > self.max_slope:
            raise ModelError(
                "the fund moves by more than its baskets: leveraged",
                asset=fund,
                received=f"{slope:.2f} times its mix",
                expected=f"at most {self.max_slope:g}",
            )

    def _error_scale(self, free: float) -> float:
        """What the spread of bootstrap samples is multiplied by.

        What samples of blocks lose of the variance of a mean of overlapping returns,
        whose autocorrelation is 1 - j/k (Kuensch 1989), and the degrees of freedom.
        """
        k = self.sessions
        j = np.arange(1, min(k, self.block))
        kept = (1 + 2 * ((1 - j / k) * (1 - j / self.block)).sum()) / k
        return float(np.sqrt(self.window / k / free / kept))


@lru_cache(maxsize=8)
def _block_counts(window: int, block: int, draws: int, seed: int) -> Matrix:
    """(B, T) circular blocks, drawn once: funds share the dates of a sample."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    starts = rng.integers(window, size=(draws, -(-window // block)))
    picks = (starts[:, :, None] + np.arange(block)).reshape(draws, -1)
    counts = np.zeros((draws, window))
    for count, rows in zip(counts, picks[:, :window], strict=True):
        np.add.at(count, rows % window, 1.0)
    counts.setflags(write=False)
    return counts


def _resampled(baskets: _Baskets, y: Vector, fund: str, centre: Vector) -> Matrix:
    """(B, K) weights of each bootstrap sample.

    With ``D = X - y``, the products of a sample are ``X'X - s 1' - 1 s' + (y'y) 1 1'``,
    ``s = X'y``, less those of the means: only ``s`` and ``y'y`` belong to the fund.
    """
    from engine.kernels.simplex import SOLVED, sample_weights

    X, counts = baskets.returns, baskets.counts
    T, K = X.shape
    w = np.empty((len(counts), K))
    status, gap = np.empty(len(w), np.int64), np.empty(len(w))
    sample_weights(
        baskets.products,
        baskets.sums,
        (counts * y) @ X,
        counts @ y,
        counts @ (y * y),
        T,
        _RIDGE,
        np.flatnonzero(centre),
        w,
        status,
        gap,
    )
    # Products of baskets that are alike lose digits; their returns do not.
    D = X - y[:, None]
    for b in np.flatnonzero((status != SOLVED) | ~(gap <= _GAP)):
        rows = np.repeat(np.arange(T), counts[b].astype(int))
        w[b] = _simplex_weights(D[rows], fund)
    return w


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


def same_close(universe: Universe, tickers: Sequence[str]) -> bool:
    """Whether the venues of some assets close at the same moment."""
    venues = {universe.venue[universe.index(t)] for t in tickers}
    return len({VENUES[v] if v else None for v in venues}) <= 1


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
    """Minimise Var(D w) on the simplex; ``D`` is baskets less fund, (T, K), no NaN."""
    return _least(np.linalg.qr(D - D.mean(axis=0), mode="r"), fund)


def _mix(baskets: _Baskets, y: Vector, fund: str) -> Vector:
    """Weights of the mix that follows ``y`` best, from the baskets' own factors.

    Baskets less fund are ``Q (R - q 1') - e 1'`` about their means, with ``q`` the part
    of y on the basis and ``e`` the rest: ``R - q 1'`` over ``-|e| 1'`` has the same
    products, without a factorisation for each fund.
    """
    y = y - y.mean()
    q = baskets.basis.T @ y
    rest = np.linalg.norm(y - baskets.basis @ q)
    R = baskets.triangle - q[:, None]
    return _least(np.vstack([R, np.full(R.shape[1], -rest)]), fund)


def _least(R: Any, fund: str) -> Vector:
    """Minimise ``|R w|^2`` on the simplex.

    For u >= 0, ``min |D u|^2 + (1'u - 1)^2`` is at ``u = s w`` with w on the simplex:
    the best s gives ``q / (1 + q)``, increasing in ``q = |D w|^2``. One nonnegative
    least squares (Lawson, Hanson 1974) is thus exact; the gap is checked.
    """
    from scipy.optimize import nnls

    K = R.shape[1]
    A = np.vstack([R / np.sqrt((R * R).sum() / K), np.sqrt(_RIDGE) * np.eye(K)])
    target = np.append(np.zeros(len(A)), 1.0)
    try:
        u, _ = nnls(np.vstack([A, np.ones(K)]), target, maxiter=30 * K)
        w = u / u.sum()
    except RuntimeError as error:
        raise SolverError("no style weights", asset=fund, received=error) from error
    gap = float(_gap((A.T @ A)[None], w[None])[0])
    if not gap <= _GAP:
        raise SolverError("style weights are not optimal", asset=fund, received=gap)
    return w


def _gap(products: np.ndarray, w: Matrix) -> Vector:
    """(B,) what the objective may exceed its minimum by, at (B, K) weights."""
    slope = (products @ w[:, :, None])[:, :, 0]
    return (w * slope).sum(axis=1) - slope.min(axis=1)
