"""The return model: mean, covariance and tail of the assets, and how it was fitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from engine._base import Value, check_labels, frozen_array, html_table
from engine.covariance import (
    FactorCovariance,
    correlation_to_covariance,
    nearest_correlation,
    split,
)
from engine.covariance._named import named
from engine.data.panel import PricePanel
from engine.data.portfolio import cash_label
from engine.data.universe import Universe
from engine.data.view import MarketView
from engine.errors import DataError, ModelError, UsageError
from engine.fund_table import FundTable, fund_table
from engine.returns import (
    OVERLAP,
    STALE_AFTER,
    Frequency,
    closes_together,
    compute,
    panel_of,
    sessions_per_year,
)

MEANS = ("zero_excess", "sample")


@dataclass(frozen=True, slots=True, eq=False)
class ReturnModel(Value):
    """Law of the assets' returns per period.

    Attributes
    ----------
    assets : tuple of str, length N
        Risky assets; foreign cash as ``CASH:EUR``.
    mean : (N,) float64
        Of the log return per period (of the simple return for ``return_kind
        "simple"``), base currency.
    covariance : (N, N) float64 or FactorCovariance
        Per period; always the covariance, never a Student-t scale matrix.
    tail_dof : float
        Degrees of freedom of the one-period return; infinite for a Gaussian.
    return_kind : {"log", "simple"}
    periods_per_year : float
    cash_rate : float
        Annual rate of base-currency cash, as a decimal.
    mean_kind : str
        ``zero_excess`` (default), ``sample``, or ``given``.
    universe : Universe
        Labels of the assets, in order.
    base_currency, as_of, window, frequency, estimator, data_hash
        How and on what it was estimated.
    sessions : int
        Sessions in one period: 1, or 5 for weekly returns.
    funds : FundTable
        What the funds among the assets hold, as known at ``as_of``.
    synthetic, hindsight_parameters : bool
        Stamps that travel to every output.
    notes : tuple of str
        What one must know to read the estimate.
    """

    assets: tuple[str, ...]
    mean: np.ndarray
    covariance: Any
    tail_dof: float
    return_kind: str
    periods_per_year: float
    cash_rate: float
    mean_kind: str
    universe: Universe
    base_currency: str
    as_of: np.datetime64
    window: tuple[Any, Any, int] = (None, None, 0)
    frequency: str = "daily"
    estimator: str = ""
    data_hash: str = ""
    sessions: int = 1
    synthetic: bool = False
    hindsight_parameters: bool = False
    notes: tuple[str, ...] = field(default_factory=tuple)
    funds: FundTable = field(default_factory=FundTable)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "assets", check_labels(self.assets, name="model"))
        n = len(self.assets)
        put(self, "mean", frozen_array(self.mean, name="mean", ndim=1, shape=(n,)))
        if not isinstance(self.covariance, FactorCovariance):
            matrix = frozen_array(
                self.covariance, name="covariance", ndim=2, shape=(n, n)
            )
            scale = max(float(np.abs(matrix).max()), np.finfo(float).tiny)
            if np.abs(matrix - matrix.T).max() > 1e-9 * scale:
                raise ModelError("covariance is not symmetric")
            smallest = float(np.linalg.eigvalsh(matrix)[0])
            if smallest < -1e-8 * scale:
                raise ModelError(
                    "covariance is not positive semi-definite",
                    received=f"smallest eigenvalue {smallest:.3e}",
                    fix="Repair it with nearest_correlation.",
                )
            put(self, "covariance", matrix)
        elif self.covariance.shape[0] != n:
            raise ModelError("covariance does not match the assets")
        if not self.tail_dof > 2:
            raise ModelError(
                "degrees of freedom must exceed 2 for a covariance to exist",
                received=self.tail_dof,
            )
        if self.return_kind not in ("log", "simple"):
            raise UsageError("unknown return kind", received=repr(self.return_kind))
        if self.universe.tickers != self.assets:
            raise DataError("universe and model list different assets")

    def dense_covariance(self) -> np.ndarray:
        """(N, N) covariance per period."""
        if isinstance(self.covariance, FactorCovariance):
            return self.covariance.dense()
        return self.covariance

    def volatility(self) -> np.ndarray:
        """(N,) volatility per year, decimals."""
        if isinstance(self.covariance, FactorCovariance):
            variance = self.covariance.variances()
        else:
            variance = np.diagonal(self.covariance)
        return np.sqrt(variance * self.periods_per_year)

    def correlation(self) -> np.ndarray:
        """(N, N) correlation."""
        return split(self.dense_covariance())[1]

    def to_frame(self):
        """Return mean and volatility per year with labels."""
        import pandas as pd

        return pd.DataFrame(
            {
                "asset": self.assets,
                "role": self.universe.role,
                "mean_pa": self.mean * self.periods_per_year,
                "volatility_pa": self.volatility(),
            }
        )

    def __repr__(self) -> str:
        tail = "Gaussian" if np.isinf(self.tail_dof) else f"t dof {self.tail_dof:.1f}"
        mark = "SYNTHETIC, " if self.synthetic else ""
        return (
            f"ReturnModel({mark}{len(self.assets)} assets as of {self.as_of}, "
            f"{self.estimator} on {self.window[2]} {self.frequency} returns, {tail}, "
            f"mean {self.mean_kind}, base {self.base_currency})"
        )

    def _repr_html_(self) -> str:
        import html

        return f"<p>{html.escape(repr(self))}</p>" + html_table(self.to_frame())


def fit(
    market: PricePanel | MarketView,
    *,
    mean: str | Sequence[float] | Mapping[str, float] = "zero_excess",
    covariance: str | Callable[[np.ndarray], np.ndarray] | np.ndarray = "ledoit_wolf",
    frequency: Frequency | None = None,
    window: int | None = 504,
    tail: str | float = "student_t",
    cash_currencies: Sequence[str] = (),
    tickers: Sequence[str] | None = None,
    hindsight_parameters: bool = False,
    funds: str = "estimated",
    look_through: Any = None,
    short_history: Literal["raise", "exclude"] = "raise",
) -> ReturnModel:
    """Estimate a return model from what a panel or view shows.

    Parameters
    ----------
    market : PricePanel or MarketView
    mean : {"zero_excess", "sample"} or (N,) values or mapping, default "zero_excess"
        Expected simple return per period equal to the cash rate. A trailing mean
        flatters a stress of names that rose (methods 4b), so ``sample`` must be asked
        for and is stamped. Values are annual log means as decimals.
    covariance : str, callable, FactorCovariance or (N, N) array
        Name of an estimator of `engine.covariance` that needs observations alone, such
        as ``"ledoit_wolf"`` (constant correlation, the default), ``"sample"``,
        ``"nonlinear_shrinkage"`` or ``"factor"`` (a wrong name lists them all); or a
        function (T, N) -> (N, N); or the matrix itself per period, which may be a
        DataFrame and is then aligned by name. The factor form stays one, except where
        markets close at different hours.
    frequency : {"daily", "weekly", "synchronised"}, optional
        Default: ``daily`` when all venues close at the same moment, else
        ``synchronised``: correlations from overlapping five-session returns,
        volatilities from daily ones.
    window : int or None, default 504
        Sessions used, counted back from the last date; None for all. Two years: long
        enough for a hundred assets, short enough to see the current regime.
    tail : {"student_t", "gaussian"} or float, default "student_t"
        Fit the degrees of freedom, or give them.
    cash_currencies : sequence of str
        Foreign currencies held as cash, modelled through their exchange rates.
    tickers : sequence of str, optional
        Assets to model; all by default.
    hindsight_parameters : bool, default False
        Admit hypothetical shocks and roles dated later than the data; a view brings
        its own admission. Stamps everything made from the model.
    funds : {"estimated", "bands"}, default "estimated"
        What to do with funds that no document describes: estimate their weights by AI
        role from a year of returns, against all companies that ``market`` shows
        (`engine.fund_table`), or leave them to the bands of their sector.
    look_through : path or DataFrame, optional
        Dated documents of what funds hold (`engine.data.look_through`), in place of
        those that the panel carries.
    short_history : {"raise", "exclude"}, default "raise"
        What to do with assets that have not been priced for the whole window, or no
        longer are: an error that names one, or leave them out and list them in
        ``notes``.

    Returns
    -------
    ReturnModel

    Raises
    ------
    DataError
        Too short a history (the asset is named) or an unknown ticker.
    ModelError
        A series that never moves, or a covariance that is not positive semi-definite.

    Examples
    --------
    >>> from engine import load_panel
    >>> fit(load_panel("reference"), tickers=["NVDA", "JPM"]).assets[:2]
    ('NVDA', 'JPM')
    """
    if short_history not in ("raise", "exclude"):
        raise UsageError(
            "unknown treatment of short histories",
            received=repr(short_history),
            expected="raise or exclude",
        )
    source = panel_of(market)
    if tickers is not None:
        tickers = check_labels(tickers, name="tickers")
    panel = source
    if tickers is not None and tickers != source.tickers:
        panel = source.select(tickers)
    notes: list[str] = []
    if short_history == "exclude":
        panel, note = _with_history(panel, window)
        notes += [note] if note else []
    panel = panel.adjusted()
    foreign = [c for c in cash_currencies if c != panel.base_currency]
    extra = np.column_stack([panel.fx_rate(c) for c in foreign]) if foreign else None
    if frequency is None:
        frequency = "daily" if closes_together(panel) else "synchronised"
    assets = panel.tickers + tuple(cash_label(c) for c in foreign)
    periods = (
        None
        if window is None
        else (max(2, window // 5) if frequency == "weekly" else window)
    )
    returns = compute(panel, frequency=frequency, window=periods, extra_prices=extra)
    X = returns.values
    _check_moves(X, assets)
    estimator = covariance if isinstance(covariance, str) else "given"
    matrix = _covariance(covariance, X, assets)
    if panel.price_basis == "raw":
        notes.append("RAW PRICES without corporate actions: splits read as returns")
    per_year = sessions_per_year(panel.dates)
    average = X.mean(axis=0)
    if frequency == "synchronised":
        if isinstance(matrix, FactorCovariance):
            matrix = matrix.dense()
        combined, X, average = _synchronised(panel, matrix, periods, extra)
        if isinstance(covariance, str) or callable(covariance):
            matrix = combined  # a matrix that was given stays as it is
            notes.append(
                "correlations from overlapping five-session returns, volatilities daily"
            )
    elif frequency == "weekly":
        per_year /= returns.sessions
    else:
        per_year *= _share_of_sessions(panel.dates, returns.dates)
    cash_rate = float(panel.cash_rate()[-1])
    if panel.base_currency not in panel.cash_currencies:
        notes.append("no cash rate given: cash earns nothing")
    centre, kind = _mean(mean, matrix, average, assets, cash_rate, per_year)
    if kind == "sample":
        notes.append("SAMPLE MEAN: trailing returns are taken as expected")
    universe = panel.universe.select(assets)
    hindsight = hindsight_parameters
    if isinstance(market, MarketView):
        hindsight |= market.hindsight_parameters
        universe = universe.known_at(market.time, hindsight=hindsight)
    return ReturnModel(
        assets=assets,
        mean=centre,
        covariance=matrix,
        tail_dof=_tail(tail, X),
        return_kind="log",
        periods_per_year=per_year,
        cash_rate=cash_rate,
        mean_kind=kind,
        universe=universe,
        base_currency=panel.base_currency,
        as_of=panel.dates[-1],
        window=(returns.dates[0], returns.dates[-1], int(returns.values.shape[0])),
        frequency=frequency,
        estimator=estimator,
        data_hash=source.content_hash,
        sessions=returns.sessions if frequency == "weekly" else 1,
        synthetic=panel.synthetic,
        hindsight_parameters=hindsight,
        notes=tuple(notes),
        funds=fund_table(
            market, panel.tickers, method=funds, look_through=look_through
        ),
    )


def _with_history(panel: PricePanel, window: int | None) -> tuple[PricePanel, str]:
    """The assets priced from before the window to now, and what was left out."""
    valid = np.isfinite(panel.prices)
    T = panel.dates.size
    first = np.where(valid.any(axis=0), valid.argmax(axis=0), T)
    last = T - 1 - np.argmax(valid[::-1], axis=0)
    # Overlapping returns reach five sessions behind the window.
    need = 2 if window is None else min(window + OVERLAP, T)
    kept = (T - first >= need) & (T - 1 - last <= STALE_AFTER)
    if kept.all():
        return panel, ""
    gone = [
        f"{t} (first price {panel.dates[f] if f < T else 'never'})"
        for t, f, k in zip(panel.tickers, first.tolist(), kept, strict=True)
        if not k
    ]
    if not kept.any():
        raise DataError(
            "no asset has a history for the whole window",
            asset=panel.tickers[int(np.argmin(first))],
            date=panel.dates[-1],
            expected=f"{need} sessions since its first price",
            fix="Shorten the window, or start later.",
        )
    names = [t for t, k in zip(panel.tickers, kept, strict=True) if k]
    return panel.select(names), f"left out for a short history: {', '.join(gone)}"


def _share_of_sessions(dates: np.ndarray, used: np.ndarray) -> float:
    """Returns per session: below one where dates with an asset shut were left out."""
    first, last = np.searchsorted(dates, used[[0, -1]])
    return (used.size - 1) / float(last - first) if last > first else 1.0


def _check_moves(X: np.ndarray, assets: Sequence[str]) -> None:
    still = X.std(axis=0) <= 0
    if still.any():
        raise ModelError(
            "a price never moved in the estimation window",
            asset=assets[int(np.argmax(still))],
            fix="Leave it out, or hold it as cash.",
        )


def _covariance(covariance: Any, X: np.ndarray, assets: tuple[str, ...]) -> Any:
    """Dense matrix, or the factor form where that is what was given or estimated."""
    if isinstance(covariance, str):
        covariance = named(covariance)
    if callable(covariance):
        covariance = covariance(X)
    if isinstance(covariance, FactorCovariance):
        if covariance.shape[0] != len(assets):
            raise ModelError(
                "the given covariance has the wrong shape",
                received=covariance.shape,
                expected=(len(assets),) * 2,
            )
        return covariance
    if hasattr(covariance, "loc"):
        missing = [
            a
            for a in assets
            if a not in covariance.index or a not in covariance.columns
        ]
        if missing:
            raise ModelError("the given covariance lacks an asset", asset=missing[0])
        matrix = covariance.loc[list(assets), list(assets)].to_numpy(np.float64)
    else:
        matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.shape != (len(assets),) * 2 or not np.isfinite(matrix).all():
        raise ModelError(
            "the given covariance has the wrong shape or holds NaN",
            received=f"shape {matrix.shape}",
            expected=(len(assets),) * 2,
        )
    return matrix


def _synchronised(panel, five_session, window, extra):
    """Five-session correlations with the volatility of each asset's own sessions.

    Returns the covariance per session of the panel, the standardised returns of each
    asset's own sessions (for the tail only: rows are not the same dates), and the
    mean per session of the panel.
    """
    _, correlation = split(five_session)
    prices = panel.base_prices()
    if extra is not None:
        prices = np.column_stack([prices, extra])
    per_year = sessions_per_year(panel.dates)
    sigma = np.empty(prices.shape[1])
    average = np.empty(prices.shape[1])
    standardised = []
    valid = np.isfinite(prices)
    for i in range(prices.shape[1]):
        rows = np.flatnonzero(valid[:, i])
        used = rows if window is None else rows[-(window + 1) :]
        own = np.diff(np.log(prices[used, i]))
        # An asset with fewer sessions a year moves as much in a year: rescale to the
        # panel's own period.
        rate = sessions_per_year(panel.dates[rows]) / per_year
        deviation, centre = own.std(ddof=1), own.mean()
        sigma[i] = deviation * np.sqrt(rate)
        average[i] = centre * rate
        standardised.append((own - centre) / deviation)
    correlation = nearest_correlation(correlation)
    length = min(len(s) for s in standardised)
    X = np.column_stack([s[-length:] for s in standardised])
    return correlation_to_covariance(correlation, sigma), X, average


def _mean(mean, matrix, average, assets, cash_rate, per_year):
    if isinstance(mean, str):
        if mean not in MEANS:
            raise UsageError(
                "unknown mean", received=repr(mean), expected=", ".join(MEANS)
            )
        if mean == "sample":
            return average, mean
        factor = isinstance(matrix, FactorCovariance)
        variances = matrix.variances() if factor else np.diagonal(matrix)
        # E[exp(x)] = 1 + cash for Gaussian x; simulation centres exactly in any case.
        return np.log1p(cash_rate) / per_year - 0.5 * variances, mean
    if hasattr(mean, "keys"):  # a mapping, or a Series: by label, never by position
        missing = [a for a in assets if a not in mean]
        if missing:
            raise ModelError("no mean is given for an asset", asset=missing[0])
        mean = [mean[a] for a in assets]
    values = np.asarray(mean, dtype=np.float64)
    if values.shape != (len(assets),) or not np.isfinite(values).all():
        raise ModelError(
            "the given means have the wrong shape or hold NaN",
            received=f"shape {values.shape}",
            expected=(len(assets),),
        )
    return values / per_year, "given"


def _tail(tail: str | float, X: np.ndarray) -> float:
    if isinstance(tail, str):
        if tail == "gaussian":
            return float("inf")
        if tail == "student_t":
            return fit_dof(X)
        raise UsageError(
            "unknown tail", received=repr(tail), expected="student_t or gaussian"
        )
    return float(tail)


def fit_dof(X: np.ndarray, *, low: float = 2.5, high: float = 60.0) -> float:
    """Degrees of freedom of a Student-t by composite marginal likelihood.

    Each column is standardised; the sum of the univariate t log-likelihoods (unit
    variance, common ``nu``) is maximised. Margins of a multivariate t are t with the
    same ``nu``, so the estimate is consistent without a likelihood in N dimensions.

    Parameters
    ----------
    X : (T, N) float64
        Returns; no NaN.
    low, high : float
        Search interval; at ``high`` the law is treated as Gaussian (infinity).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    Z2 = ((X - X.mean(axis=0)) / X.std(axis=0)) ** 2

    def negative(log_nu: float) -> float:
        nu = np.exp(log_nu)
        constant = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu - 2)
        return -float(
            constant * Z2.size - 0.5 * (nu + 1) * np.log1p(Z2 / (nu - 2)).sum()
        )

    best = minimize_scalar(
        negative, bounds=(np.log(low), np.log(high)), method="bounded"
    )
    nu = float(np.exp(best.x))
    return float("inf") if nu > 0.98 * high else nu
