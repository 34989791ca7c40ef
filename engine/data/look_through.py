"""What a fund holds by AI role or country, from dated documents.

A look-through table names fund, kind (role, country or ticker), label, weight, the date
from which it was known, and the document. Without one, `engine.funds.style_weights`
estimates the same from returns; both give a `FundExposure`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine._base import Value, check_labels, frozen_array
from engine.data.files import read_table
from engine.data.panel import parse_time
from engine.data.roles import ROLES
from engine.data.universe import Universe
from engine.errors import DataError

KINDS = ("role", "country", "ticker")
_COLUMNS = ("fund", "kind", "label", "weight", "known_from", "document")


@dataclass(frozen=True, slots=True, eq=False)
class FundExposure(Value):
    """What a fund holds, by label, with its error and where it comes from.

    Attributes
    ----------
    labels : tuple of str, length K
        Roles, ``none:<country or region>``, ``other:<basket>``, or countries.
    weights : (K,) float64
        Fractions of the fund, >= 0, sum at most one; what is missing is unknown.
    standard_errors : (K,) float64
        Bootstrap; too small at a weight of zero (Andrews 2000). NaN for a document.
    method : {"look-through", "estimated"}
    known_from : datetime64[D]
        The document's date, or the last date whose price was used.
    document : str
        What the weights come from, for the reader.
    r_squared, residual_volatility : float
        Share of variance followed; standard deviation of what is not, as a decimal
        per ``sessions`` sessions. NaN for a document.
    window, sessions : int
        Number of returns and sessions per return; 0 for a document.
    members : tuple of tuple of str, length K or 0
        Companies that stand for each label.
    member_weights : tuple of tuple of float, length K or 0
        Their weights in the fund, where a document names them; equal parts otherwise.
    draws : (B, K) float64
        Bootstrap weights, each row sums to one; (0, K) for a document.
    error_scale : float
        What the draws' spread is multiplied by to give errors and bands: overlapping
        returns in blocks, and degrees of freedom.
    """

    fund: str
    labels: tuple[str, ...]
    weights: np.ndarray
    standard_errors: np.ndarray
    method: str
    known_from: np.datetime64
    document: str
    r_squared: float = float("nan")
    residual_volatility: float = float("nan")
    window: int = 0
    sessions: int = 0
    members: tuple[tuple[str, ...], ...] = ()
    member_weights: tuple[tuple[float, ...], ...] = ()
    draws: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    error_scale: float = 1.0

    def __post_init__(self) -> None:
        put, k = object.__setattr__, len(self.labels)
        put(self, "labels", check_labels(self.labels, name=self.fund, what="label"))
        w = frozen_array(self.weights, name="weights", ndim=1, shape=(k,))
        if (w < 0).any() or w.sum() > 1 + 1e-6:
            problem = "weights of a fund must be >= 0 and sum to at most one"
            raise DataError(problem, asset=self.fund, received=w.tolist())
        put(self, "weights", w)
        se, draws = self.standard_errors, self.draws
        se = frozen_array(se, name="errors", ndim=1, shape=(k,), finite=False)
        put(self, "standard_errors", se)
        draws = draws if draws.size else np.empty((0, k))
        put(self, "draws", frozen_array(draws, name="draws", ndim=2, shape=(-1, k)))

    def weight(self, *labels: str) -> float:
        """Sum of the weights of some labels; ``none`` stands for all its countries."""
        return float(self.weights[self._chosen(labels)].sum())

    def error(self, *labels: str) -> float:
        """Standard error of that sum; NaN for a document."""
        if not len(self.draws):
            return float("nan")
        sums = self.draws[:, self._chosen(labels)].sum(axis=1)
        return self.error_scale * float(sums.std(ddof=1))

    def _chosen(self, labels: Iterable[str]) -> list[int]:
        return [
            i
            for i, x in enumerate(self.labels)
            if not {x, x.partition(":")[0]}.isdisjoint(labels)
        ]

    def __repr__(self) -> str:
        top = np.argsort(-self.weights, kind="stable")[:3]
        words = ", ".join(f"{self.labels[i]} {self.weights[i]:.0%}" for i in top)
        return f"FundExposure({self.fund}: {words}; {self.method})"


def read_look_through(source: Any) -> Any:
    """Read and check a table of what documents say funds hold.

    ``source`` is a path or a DataFrame with columns ``fund, kind`` (role, country or
    ticker), ``label, weight`` (fraction of the fund, no NaN), ``known_from`` (ISO
    date), ``document``. A `DataError` names the fund and what was received.
    """
    import pandas as pd

    table: Any = source
    if not hasattr(source, "columns"):
        table = read_table(Path(source), what="fund look-through")
    missing = [c for c in _COLUMNS if c not in table.columns]
    if missing:
        raise DataError("fund look-through lacks a column", received=missing[0])
    table = table.reset_index(drop=True)
    for name in ("fund", "kind", "label", "document"):
        table[name] = table[name].fillna("").astype(str).str.strip()
    weight = pd.to_numeric(table["weight"], errors="coerce").astype(float)
    dates = pd.to_datetime(table["known_from"], errors="coerce", format="ISO8601")
    keys = table.assign(known_from=dates)[["fund", "kind", "known_from"]]
    total = weight.groupby([keys[c] for c in keys]).transform("sum")
    twice = keys.assign(label=table["label"]).duplicated()
    for i, row in enumerate(table.to_dict("records")):
        name, kind, label = row["fund"], row["kind"], row["label"]
        problems = {
            "no fund named": not name,
            "kind must be role, country or ticker": kind not in KINDS,
            "no label": not label,
            "unknown AI role": kind == "role" and label not in ROLES,
            "weight must be a fraction from 0 to 1": not 0 <= weight[i] <= 1 + 1e-6,
            "known_from is not a date": pd.isna(dates[i]),
            "no document named": not row["document"],
            "label given twice for one date": twice[i],
            "weights sum to more than one": total[i] > 1 + 1e-6,
        }
        if any(problems.values()):
            raise DataError(
                f"fund look-through: {next(k for k, v in problems.items() if v)}",
                asset=name or None,
                date=row["known_from"],
                received=f"{kind} {label!r}, weight {row['weight']}",
            )
    return table.assign(weight=weight, known_from=dates.dt.strftime("%Y-%m-%d"))


def look_through_table(universe: Universe) -> Any:
    """Rows that a universe carries, as `read_look_through` returns them."""
    import pandas as pd

    return pd.DataFrame(list(universe.look_through), columns=list(_COLUMNS))


def look_through_at(table: Any, t: Any) -> Any:
    """Rows known on the day of ``t``: the latest date, per fund and kind."""
    known = table[table["known_from"] <= str(parse_time(t)[0].astype("datetime64[D]"))]
    latest = known.groupby(["fund", "kind"])["known_from"].transform("max")
    return known[known["known_from"] == latest].reset_index(drop=True)


def documented_exposure(
    table: Any,
    fund: str,
    t: Any,
    *,
    kind: Literal["role", "country"] = "role",
    universe: Universe | None = None,
    hindsight_parameters: bool = False,
) -> FundExposure | None:
    """Exposure by the latest document known at ``t``; None where there is none.

    Without weights of that kind, holdings by ticker are summed by the role (country)
    that ``universe`` knows at ``t``; what it does not know is ``unknown``. With
    ``hindsight_parameters`` roles dated later are used too, documents never.
    """
    rows = look_through_at(table[table["fund"] == fund], t)
    stated = rows[rows["kind"] == kind]
    held = rows[rows["kind"] == "ticker"].copy()
    members: dict[str, dict[str, float]] = {}
    if stated.empty and universe is not None and len(held):
        stated = held
        known = universe.known_at(parse_time(t)[0], hindsight=hindsight_parameters)
        labels = known.select(stated["label"]).labels(kind)
        for x, ticker, w in zip(labels, held["label"], held["weight"], strict=True):
            members.setdefault(x or "unknown", {})[ticker] = float(w)
        stated["label"] = [x or "unknown" for x in labels]
    if stated.empty:
        return None
    sums = stated.groupby("label")["weight"].sum()
    return FundExposure(
        fund,
        tuple(sums.index),
        sums.to_numpy(),
        np.full(len(sums), np.nan),
        "look-through",
        np.datetime64(stated["known_from"].iloc[0], "D"),
        "; ".join(dict.fromkeys(stated["document"])),
        members=tuple(tuple(members[x]) for x in sums.index) if members else (),
        member_weights=tuple(tuple(members[x].values()) for x in sums.index)
        if members
        else (),
    )
