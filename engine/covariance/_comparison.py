"""The outcome of comparing covariance estimators: scores, errors, ties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array, html_table
from engine.covariance._scores import SCORES, lags_for, standard_error
from engine.errors import ModelError, UsageError

TIE = 2.0
"""Standard errors within which two estimators are tied."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison(Value):
    """Scores of E estimators at M origins.

    Attributes
    ----------
    estimators, assets : tuple of str
    origins : (M,) array
        Date (or row) of the last return each forecast saw.
    scores : tuple of str, length C
        Names; what each is stands in `engine.covariance.SCORES`. The proper scores
        rank: log_likelihood, t_log_likelihood, qlike, variance_qlike, min_variance.
    values : (M, E, C) float64
        Averages over each horizon; NaN where the estimator failed. ``min_variance``
        is a variance here and a volatility in tables.
    distances : (M, E, h) float64
        ``r'S^-1 r / N`` of each return scored.
    failures : tuple of (estimator, origin, reason)
    window, step, horizon, span : int
        Rows; ``window`` None for all past rows, ``span`` above one where rows overlap.
    rank_by : str
    baseline : str or None
    dof : float or None
    note : str
    """

    estimators: tuple[str, ...]
    assets: tuple[str, ...]
    origins: np.ndarray
    scores: tuple[str, ...]
    values: np.ndarray
    distances: np.ndarray
    failures: tuple[tuple[str, str, str], ...]
    window: int | None
    step: int
    horizon: int
    span: int = 1
    rank_by: str = "log_likelihood"
    baseline: str | None = None
    dof: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        put = object.__setattr__
        M, E = len(self.origins), len(self.estimators)
        for name, last in (("values", len(self.scores)), ("distances", self.horizon)):
            array = frozen_array(
                getattr(self, name), name=name, ndim=3, shape=(M, E, last), finite=False
            )
            put(self, name, array)
        origins = np.array(self.origins)
        origins.setflags(write=False)
        put(self, "origins", origins)

    def mean(self, score: str) -> np.ndarray:
        """(E,) average over the origins at which each estimator succeeded."""
        average = self._mean(self._series(score))
        return np.sqrt(average) if score == "min_variance" else average

    def standard_errors(self, score: str) -> np.ndarray:
        """(E,) Newey-West standard error of `mean`."""
        x = self._series(score)
        error = np.array([self._error(x[:, e]) for e in range(x.shape[1])])
        if score == "min_variance":  # delta method on the square root
            error = error / (2.0 * np.sqrt(self._mean(x)))
        return error

    def differences(self, score: str | None = None, against: str | None = None) -> Any:
        """Paired differences to one estimator, on the origins both succeeded at.

        Parameters
        ----------
        score : str, optional
            By default ``rank_by``; proper scores only.
        against : str, optional
            By default the baseline, else the best.

        Returns
        -------
        DataFrame
            ``estimator, difference, standard_error, t, tied, n``: own score less the
            other's, and the statistic of Diebold and Mariano (1995) with Newey-West
            errors. ``tied`` within two standard errors, or where there are too few
            origins to tell.
        """
        import pandas as pd

        score = self._proper(score)
        other = against or self.baseline or self._order(score)[0]
        if other not in self.estimators:
            raise UsageError(
                "unknown estimator",
                received=repr(other),
                expected=", ".join(self.estimators),
            )
        rows = [
            (name, *self._difference(score, name, other)) for name in self.estimators
        ]
        return pd.DataFrame(
            rows,
            columns=["estimator", "difference", "standard_error", "t", "tied", "n"],
        )

    def ranking(self, score: str | None = None) -> tuple[tuple[str, ...], ...]:
        """Estimators in tiers: within one, differences are below two standard errors.

        The first tier is the best and all tied with it; the next is made in the same
        way of the rest. Estimators that failed at some origin come last, in tiers of
        their own: one that may fail is no alternative to one that does not.
        """
        score = self._proper(score)
        tiers: list[tuple[str, ...]] = []
        whole = [n for n in self._order(score) if not self._failed(n)]
        part = [n for n in self._order(score) if self._failed(n)]
        for left in (whole, part):
            while left:
                best = left[0]
                tied = [
                    n for n in left if n == best or self._difference(score, n, best)[3]
                ]
                tiers.append(tuple(tied))
                left = [n for n in left if n not in tied]
        return tuple(tiers)

    def calibration(self) -> Any:
        """How ``d^2 / N`` was distributed, against its law under a right forecast.

        Returns
        -------
        DataFrame
            ``estimator, mean, q05, median, q95`` of the returns scored, and ``ks``,
            the Kolmogorov-Smirnov distance from chi-square(N)/N (from the F law where
            ``dof`` is given). A first row ``(right forecast)`` holds the law itself.
        """
        import pandas as pd
        from scipy.stats import chi2, f

        N = len(self.assets)
        law: Any
        if self.dof is None:
            law = chi2(N, scale=1.0 / N)
        else:
            law = f(N, self.dof, scale=(self.dof - 2.0) / self.dof)
        right = (float(v) for v in law.ppf([0.05, 0.5, 0.95]))
        rows: list[tuple[Any, ...]] = [("(right forecast)", 1.0, *right, 0.0)]
        for e, name in enumerate(self.estimators):
            x = np.sort(self.distances[:, e].ravel())
            x = x[np.isfinite(x)]
            if not x.size:
                rows.append((name, *[np.nan] * 5))
                continue
            at = law.cdf(x)
            steps = np.arange(x.size + 1) / x.size
            ks = max(np.abs(at - steps[1:]).max(), np.abs(at - steps[:-1]).max())
            rows.append((name, x.mean(), *np.quantile(x, [0.05, 0.5, 0.95]), ks))
        return pd.DataFrame(
            rows, columns=["estimator", "mean", "q05", "median", "q95", "ks"]
        )

    def to_frame(self) -> Any:
        """One row per estimator, best first: scores, errors, difference to the best.

        Columns ``estimator, n, failed``, each score and its ``_se``, and of the score
        ranked by ``difference, difference_se, t, tied``.
        """
        import pandas as pd

        done = np.isfinite(self.values[:, :, 0]).sum(axis=0)
        frame = pd.DataFrame(
            {
                "estimator": self.estimators,
                "n": done,
                "failed": len(self.origins) - done,
            }
        )
        for score in self.scores:
            frame[score] = self.mean(score)
            frame[f"{score}_se"] = self.standard_errors(score)
        paired = self.differences()
        frame["difference"] = paired["difference"]
        frame["difference_se"] = paired["standard_error"]
        frame["t"] = paired["t"]
        frame["tied"] = paired["tied"]
        order = [n for tier in self.ranking() for n in tier]
        order += [n for n in self.estimators if n not in order]
        return frame.set_index("estimator").loc[order].reset_index()

    def __repr__(self) -> str:
        window = "all past" if self.window is None else f"{self.window}"
        lines = [
            f"Comparison({len(self.estimators)} estimators, {len(self.assets)} assets, "
            f"{len(self.origins)} forecasts {_day(self.origins[0])} to "
            f"{_day(self.origins[-1])}, window {window}, horizon {self.horizon}"
            + (f"; {self.note}" if self.note else "")
            + ")"
        ]
        lines += _table(self)
        tiers = " > ".join(" = ".join(tier) for tier in self.ranking())
        lines.append(f"By {self.rank_by} (= tied within 2 standard errors): {tiers}")
        seen: set[str] = set()
        for name, origin, reason in self.failures:
            if name not in seen:
                seen.add(name)
                lines.append(
                    f"{name} failed at {self._failed(name)} of {len(self.origins)}, "
                    f"first {origin}: {reason}"
                )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        import html

        text = repr(self).split("\n")
        rest = "<br>".join(html.escape(line) for line in (text[0], *text[-1:]))
        return f"<p>{rest}</p>" + html_table(self.to_frame())

    def _series(self, score: str) -> np.ndarray:
        if score not in self.scores:
            raise UsageError(
                "unknown score", received=repr(score), expected=", ".join(self.scores)
            )
        return self.values[:, :, self.scores.index(score)]

    def _proper(self, score: str | None) -> str:
        score = score or self.rank_by
        self._series(score)
        if SCORES[score].better not in ("high", "low"):
            raise UsageError(
                "a score that is not proper does not rank",
                received=score,
                expected=", ".join(
                    s for s in self.scores if SCORES[s].better in ("high", "low")
                ),
            )
        return score

    def _error(self, x: np.ndarray) -> float:
        x = x[np.isfinite(x)]
        if x.size < 3:
            return float("nan")
        return standard_error(x, lags_for(x.size, self.horizon * self.span, self.step))

    @staticmethod
    def _mean(x: np.ndarray) -> np.ndarray:
        done = np.isfinite(x)
        count = done.sum(axis=0)
        total = np.where(done, x, 0.0).sum(axis=0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def _failed(self, name: str) -> int:
        return int((~np.isfinite(self.values[:, self.estimators.index(name), 0])).sum())

    def _order(self, score: str) -> list[str]:
        """Estimators with a score, best first; those that failed somewhere last."""
        mean = self.mean(score)
        sign = -1.0 if SCORES[score].better == "high" else 1.0
        alive = [n for n, m in zip(self.estimators, mean, strict=True) if m == m]
        if not alive:
            raise ModelError("no estimator has a score")
        return sorted(
            alive,
            key=lambda n: (
                self._failed(n) > 0, sign * mean[self.estimators.index(n)]
            ),
        )  # fmt: skip

    def _difference(
        self, score: str, name: str, other: str
    ) -> tuple[float, float, float, bool, int]:
        """Difference, its error, t, tie and the number of origins."""
        x = self._series(score)
        a = x[:, self.estimators.index(name)]
        b = x[:, self.estimators.index(other)]
        both = np.isfinite(a) & np.isfinite(b)
        n = int(both.sum())
        if name == other:
            return 0.0, 0.0, 0.0, True, n
        if not n:
            return np.nan, np.nan, np.nan, False, 0
        a, b = a[both], b[both]
        if score == "min_variance":
            # Delta method: as linear functions of the two series of variances.
            va, vb = np.sqrt(a.mean()), np.sqrt(b.mean())
            gap = float(va - vb)
            d = a / (2.0 * va) - b / (2.0 * vb)
        else:
            d = a - b
            gap = float(d.mean())
        error = self._error(d)
        if not error == error:
            return gap, error, np.nan, True, n
        if error <= 0.0:
            return (
                gap,
                error,
                float(np.copysign(np.inf, gap)) if gap else 0.0,
                not gap,
                n,
            )
        t = gap / error
        return gap, error, float(t), bool(abs(t) < TIE), n


def _day(label: Any) -> str:
    if isinstance(label, np.datetime64):
        return str(label.astype("datetime64[D]"))
    return str(label)


def _table(comparison: Comparison) -> list[str]:
    """Lines of a text table: score and standard error, difference and t."""
    frame = comparison.to_frame()
    shown = [s for s in comparison.scores if s != "qlike" or comparison.rank_by == s]
    head = ["", comparison.rank_by, "difference", "t"]
    head += [s for s in shown if s != comparison.rank_by]
    body = []
    for row in frame.to_dict("records"):
        cells = [
            str(row["estimator"]),
            _pm(row[comparison.rank_by], row[f"{comparison.rank_by}_se"]),
            _pm(row["difference"], row["difference_se"]),
            f"{row['t']:.1f}",
        ]
        cells += [_pm(row[s], row[f"{s}_se"]) for s in head[4:]]
        body.append(cells)
    width = [max(len(r[c]) for r in [head, *body]) for c in range(len(head))]
    return [
        "  ".join(
            cell.ljust(w) if c == 0 else cell.rjust(w)
            for c, (cell, w) in enumerate(zip(row, width, strict=True))
        ).rstrip()
        for row in [head, *body]
    ]


def _pm(value: float, error: float) -> str:
    """``value (standard error)`` with the digits the error supports."""
    if not value == value:
        return "-"
    if not (error == error and 0.0 < error < np.inf):
        return f"{value:.4g}"
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 8))
    return f"{value:.{digits}f} ({error:.{digits}f})"
