"""The outcome of a risk backtest: forecasts, exceptions, tests, the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value, frozen_array, html_table
from engine.errors import UsageError
from engine.risk._coverage import christoffersen, desk_test, kupiec, traffic_light
from engine.risk._scores import diebold_mariano, fissler_ziegel
from engine.risk._shortfall import acerbi_szekely, acerbi_szekely_null

YEAR = 250
"""Sessions of the Basel Committee's year (1996)."""
SIGNIFICANCE = 0.05
_DRAWS = 10_000  # p-values of Z2 to 1e-4
RULE = (
    "survives: none of Kupiec (VaR), Christoffersen (conditional coverage of VaR; both "
    "exact) and Acerbi-Szekely Z2 (ES, one-sided) rejects at 5% after Holm's "
    "correction for three tests"
)


@dataclass(frozen=True, slots=True, eq=False)
class RiskBacktest(Value):
    """Forecasts of M models over T sessions, and what the book lost.

    Attributes
    ----------
    models : tuple of str
    dates : (T,) datetime64[D]
        Sessions forecast.
    losses : (T,) float64
        Realised, as fractions of value; positive numbers are losses.
    var : (M, T) float64
        Value at risk at ``level``, forecast before each session.
    es_var, es : (M, T) float64
        Value at risk and expected shortfall at ``es_level``.
    level, es_level : float
    tickers : tuple of str
    weights : (N,) float64
    window, refit, n_scenarios, seed : int
    mean : str
    excluded : (X,) datetime64[D]
        Session dates left out of scores and windows for want of a price.
    notes : tuple of str
    data_hash : str
    synthetic : bool
    versions : tuple of (package, version)
    """

    models: tuple[str, ...]
    dates: np.ndarray
    losses: np.ndarray
    var: np.ndarray
    es_var: np.ndarray
    es: np.ndarray
    level: float
    es_level: float
    tickers: tuple[str, ...]
    weights: np.ndarray
    window: int
    refit: int
    mean: str
    n_scenarios: int
    seed: int
    excluded: np.ndarray
    notes: tuple[str, ...] = ()
    data_hash: str = ""
    synthetic: bool = False
    versions: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("dates", "excluded"):
            array = frozen_array(
                getattr(self, name), name=name, ndim=1, dtype="datetime64[D]"
            )
            put(self, name, array)
        T, M = self.dates.size, len(self.models)
        put(
            self, "losses", frozen_array(self.losses, name="losses", ndim=1, shape=(T,))
        )
        put(self, "weights", frozen_array(self.weights, name="weights", ndim=1))
        for name in ("var", "es_var", "es"):
            array = frozen_array(getattr(self, name), name=name, ndim=2, shape=(M, T))
            put(self, name, array)

    def exceptions(self, model: str) -> np.ndarray:
        """(T,) bool: the loss exceeded VaR at ``level``."""
        return self.losses > self.var[self._row(model)]

    def scores(self, model: str) -> np.ndarray:
        """(T,) `fissler_ziegel` scores of VaR and ES at ``es_level``; low is good."""
        m = self._row(model)
        return fissler_ziegel(
            self.losses, self.es_var[m], self.es[m], level=self.es_level
        )

    def table(self) -> Any:
        """One row per model, best mean score first.

        Returns
        -------
        DataFrame
            ``model``; ``exceptions`` and ``expected`` at ``level``; exact p-values
            ``kupiec_p`` and ``christoffersen_p`` (conditional coverage);
            ``worst_zone``, the traffic light of the worst 250 sessions in a row (VaR
            at 99% only); ``desk``, whether no such year exceeds the desk limits of
            2019 at 99% and 97.5%; ``z1``, ``z2`` and ``z2_p`` of ES, the p-value
            one-sided, under a Student-t with the model's own median ratio of ES to
            VaR; the mean ``score``, ``difference`` to the best with ``dm_p``
            (Diebold-Mariano); ``holm_p``, the smallest corrected p-value of the three
            tests; ``survives``.

        Notes
        -----
        The desk test uses hypothetical profit and loss only. Columns are None where
        the levels or fewer than 250 sessions do not allow the test.
        """
        import pandas as pd

        rows = [self._tested(name) for name in self.models]
        frame = pd.DataFrame(rows).sort_values("score", kind="stable")
        best = self.scores(str(frame["model"].iloc[0]))
        gaps = [
            (0.0, 1.0)
            if i == 0 or len(self.dates) < 3
            else diebold_mariano(self.scores(str(name)), best)[::3]
            for i, name in enumerate(frame["model"])
        ]
        at = list(frame.columns).index("score") + 1
        frame.insert(at, "difference", [g[0] for g in gaps])
        frame.insert(at + 1, "dm_p", [g[1] for g in gaps])
        return frame.reset_index(drop=True)

    def survivors(self) -> tuple[str, ...]:
        """Models that no test rejects, best mean score first; see `RULE`."""
        return _survivors(self.table())

    def to_frame(self) -> Any:
        """One row per session and model: date, model, loss, forecasts, exception."""
        import pandas as pd

        T = self.dates.size
        return pd.DataFrame(
            {
                "date": np.tile(self.dates.astype("datetime64[ns]"), len(self.models)),
                "model": np.repeat(self.models, T),
                "loss": np.tile(self.losses, len(self.models)),
                "var": self.var.ravel(),
                "es_var": self.es_var.ravel(),
                "es": self.es.ravel(),
                "exception": (self.losses > self.var).ravel(),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Table, verdict and provenance as plain numbers and text."""
        frame = self.table()
        table = frame.astype(object)
        return {
            "table": table.where(table.notna(), None).to_dict("records"),
            "survivors": list(_survivors(frame)),
            "rule": RULE,
            "first": str(self.dates[0]),
            "last": str(self.dates[-1]),
            "sessions": int(self.dates.size),
            "excluded": [str(d) for d in self.excluded],
            "weights": dict(zip(self.tickers, self.weights.tolist(), strict=True)),
            "level": self.level,
            "es_level": self.es_level,
            "window": self.window,
            "refit": self.refit,
            "mean": self.mean,
            "n_scenarios": self.n_scenarios,
            "seed": self.seed,
            "notes": list(self.notes),
            "data_hash": self.data_hash,
            "synthetic": self.synthetic,
            "versions": dict(self.versions),
        }

    def __repr__(self) -> str:
        frame = self.table()
        lines = [self._title(), _shown(frame).to_string(index=False)]
        return "\n".join([*lines, *self._footer(frame)])

    def _repr_html_(self) -> str:
        import html

        frame = self.table()
        top, *rest = (html.escape(t) for t in (self._title(), *self._footer(frame)))
        return f"<p>{top}</p>{html_table(_shown(frame))}<p>{'<br>'.join(rest)}</p>"

    def _title(self) -> str:
        mark = "SYNTHETIC, " if self.synthetic else ""
        return (
            f"RiskBacktest({mark}{len(self.tickers)} assets, {self.dates.size} "
            f"sessions {self.dates[0]} to {self.dates[-1]}, VaR {self.level:.4g}, ES "
            f"{self.es_level:.4g}, window {self.window}, refit {self.refit})"
        )

    def _footer(self, frame: Any) -> list[str]:
        names = ", ".join(_survivors(frame)) or "none"
        lines = [f"survivors: {names}", RULE]
        if self.excluded.size:
            dates = ", ".join(str(d) for d in self.excluded[:5])
            more = ", ..." if self.excluded.size > 5 else ""
            lines.append(f"{self.excluded.size} sessions left out: {dates}{more}")
        return [*lines, *self.notes]

    def _row(self, model: str) -> int:
        if model not in self.models:
            raise UsageError(
                "unknown model", received=repr(model), expected=", ".join(self.models)
            )
        return self.models.index(model)

    def _tested(self, name: str) -> dict[str, Any]:
        m, T = self._row(name), self.dates.size
        hits = self.exceptions(name)
        count = int(hits.sum())
        coverage = kupiec(count, T, level=self.level, p_value="exact").p_value
        joint = coverage
        if T > 1:
            joint = christoffersen(hits, level=self.level, p_value="exact").p_value
        forecasts = (self.losses, self.es_var[m], self.es[m])
        z2 = acerbi_szekely(*forecasts, level=self.es_level)
        ratio = float(np.median(self.es[m] / self.es_var[m]))
        null = acerbi_szekely_null(
            T, level=self.es_level, dof=_dof_of(ratio, self.es_level), draws=_DRAWS
        )
        beyond = int(np.searchsorted(null, z2, side="right"))
        z2_p = (beyond + 1.0) / (null.size + 1.0)
        corrected = _holm([coverage, joint, z2_p])
        return {
            "model": name,
            "exceptions": count,
            "expected": T * (1.0 - self.level),
            "kupiec_p": coverage,
            "christoffersen_p": joint,
            "worst_zone": self._zone(m),
            "desk": self._desk(m),
            "z1": acerbi_szekely(*forecasts, level=self.es_level, statistic="Z1"),
            "z2": z2,
            "z2_p": z2_p,
            "score": float(self.scores(name).mean()),
            "holm_p": corrected,
            "survives": bool(corrected > SIGNIFICANCE),
        }

    def _worst(self, forecast: np.ndarray) -> int:
        total = np.concatenate([[0], np.cumsum(self.losses > forecast)])
        return int((total[YEAR:] - total[:-YEAR]).max())

    def _zone(self, m: int) -> str | None:
        if self.level != 0.99 or self.dates.size < YEAR:
            return None
        return traffic_light(self._worst(self.var[m])).color

    def _desk(self, m: int) -> bool | None:
        if self.dates.size < YEAR:
            return None
        forecasts = ((self.level, self.var[m]), (self.es_level, self.es_var[m]))
        passed = [
            desk_test(self._worst(v), level=q)
            for q, v in forecasts
            if q in (0.99, 0.975)
        ]
        return all(passed) if passed else None


def _survivors(frame: Any) -> tuple[str, ...]:
    return tuple(frame.loc[frame["survives"].astype(bool), "model"])


def _shown(frame: Any) -> Any:
    """The table as text, with the digits that mean something."""
    frame = frame.drop(columns=["z1"])
    for name in frame.columns:
        if name.endswith("_p"):
            frame[name] = [f"{v:.4f}" for v in frame[name]]
    digits = {"expected": 1, "z2": 3, "score": 4, "difference": 4}
    for name, d in digits.items():
        frame[name] = [f"{v:.{d}f}" for v in frame[name]]
    frame["desk"] = [
        "-" if v is None else "pass" if v else "fail" for v in frame["desk"]
    ]
    frame["worst_zone"] = [v or "-" for v in frame["worst_zone"]]
    frame["survives"] = ["yes" if v else "no" for v in frame["survives"]]
    return frame


def _holm(p: list[float]) -> float:
    """Smallest p-value after Holm's step-down correction: the first step decides."""
    return min(1.0, len(p) * min(p))


def _dof_of(ratio: float, level: float) -> float:
    """Degrees of freedom of the Student-t whose ES over VaR is ``ratio``."""
    from scipy.optimize import brentq
    from scipy.stats import norm, t

    def of(nu: float) -> float:
        q = float(t.ppf(level, nu))
        return float(t.pdf(q, nu)) / (1 - level) * (nu + q * q) / (nu - 1) / q

    q = float(norm.ppf(level))
    if not ratio > of(200.0) or not ratio > float(norm.pdf(q)) / (1 - level) / q:
        return float("inf")
    if ratio >= of(2.1):
        return 2.1
    return float(brentq(lambda nu: of(nu) - ratio, 2.1, 200.0))
