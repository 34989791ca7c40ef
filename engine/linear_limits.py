"""Linear limits on weights, and what each label in them stands for.

A label stands for every asset that carries it. Where what a fund holds is known, the
fund counts in a role or country by the share it holds there, not by its own label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from engine._typing import Vector
from engine.data.universe import Universe
from engine.errors import UsageError
from engine.limit_text import QUANTITIES, LimitText, near_matches, quantity_of

SEARCHED = (
    "ticker",
    "country",
    "region",
    "currency",
    "sector",
    "role",
    "venue",
    "asset_class",
)
"""Groupings in which a label without ``attribute:`` is looked for."""
QUALIFIERS = (*SEARCHED, "theme", "quote_currency", "exposure_currency", "name")
_ALIASES = {"tickers": "ticker", "class": "asset_class"}

_COUNTRY_NAMES = (
    ("South Korea", "Korea", "KR"),
    ("Taiwan", "TW"),
    ("Japan", "JP"),
    ("China", "CN"),
    ("Hong Kong", "HK"),
    ("United States", "US", "USA"),
    ("United Kingdom", "UK", "GB"),
    ("Netherlands", "NL"),
    ("Germany", "DE"),
    ("France", "FR"),
    ("Canada", "CA"),
    ("India", "IN"),
)
"""Usual names of one country; looked at only where nothing carries the label given."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearLimit:
    """Limit on a weighted sum of weights.

    Attributes
    ----------
    name : str
    coefficients : mapping label -> float
        Labels as in the text form: ``Taiwan``, ``role:power_gen``, ``NVDA``. An asset
        under several labels counts with the sum of their coefficients.
    lower, upper : float, default open
        Fractions of net asset value after costs.
    """

    name: str
    coefficients: Mapping[str, float]
    lower: float = -math.inf
    upper: float = math.inf

    def __post_init__(self) -> None:
        fixed = {str(k): float(v) for k, v in dict(self.coefficients).items()}
        object.__setattr__(self, "coefficients", MappingProxyType(fixed))
        if not fixed or not all(math.isfinite(v) for v in fixed.values()):
            raise UsageError(
                f"coefficients of limit {self.name} must be numbers", received=fixed
            )
        if math.isnan(self.lower) or math.isnan(self.upper):
            raise UsageError(f"limit {self.name} is not a number")
        if self.lower == -math.inf and self.upper == math.inf:
            raise UsageError(f"limit {self.name} bounds nothing")
        if not self.lower <= self.upper:
            raise UsageError(
                f"bounds of limit {self.name} are crossed",
                received=f"{self.lower} and {self.upper}",
            )

    def __reduce__(self):
        # A mapping proxy does not pickle.
        return LinearLimit, (
            self.name,
            dict(self.coefficients),
            self.lower,
            self.upper,
        )

    @classmethod
    def from_text(cls, read: LimitText) -> LinearLimit:
        """Limit of a text that has been read, named by its expression."""
        terms = {label: factor for factor, label in read.terms}
        return cls(read.name, terms, read.lower, read.upper)


class Row(NamedTuple):
    """A limit as the optimiser sees it."""

    name: str
    coefficients: Vector
    """(N,) per unit of weight."""
    lower: float
    upper: float
    note: str
    """How funds were counted; empty where none bears on the limit."""


class Labels:
    """Finds what a label stands for in one universe.

    Parameters
    ----------
    universe : Universe
    funds : FundTable, optional
        What funds hold by role, as ``scenarios.model.funds``.
    """

    def __init__(self, universe: Universe, funds: Any = None) -> None:
        self.universe = universe
        self.funds = {} if funds is None else {e.fund: e for e in funds.exposures}
        self.refused = {} if funds is None else dict(funds.refused)
        self.countries = _country_documents(universe)
        self._carried = {a: frozenset(self._labels(a)) - {""} for a in SEARCHED}
        looked_through = {
            label.partition(":")[0] for e in self.funds.values() for label in e.labels
        }
        self._carried["role"] |= looked_through - {"other"}
        self._carried["country"] |= {k for d in self.countries.values() for k in d}

    def _labels(self, attribute: str) -> tuple[str, ...]:
        return self.universe.labels("tickers" if attribute == "ticker" else attribute)

    def carries(self, label: str) -> bool:
        """Whether anything carries a label, whatever the grouping."""
        return any(label in carried for carried in self._carried.values())

    def find(self, label: str) -> tuple[str, str]:
        """Attribute and value that a label means.

        Raises
        ------
        UsageError
            Nothing carries it, with near matches; or several groupings do, all named.
        """
        places = [a for a in SEARCHED if label in self._carried[a]]
        if not places and ":" in label:
            attribute, value = label.split(":", 1)
            attribute = _ALIASES.get(attribute, attribute)
            if attribute in QUALIFIERS:
                return attribute, self._value(attribute, value)
            values = [a for a in SEARCHED if value in self._carried[a]]
            if values:
                raise UsageError(
                    "a limit names an unknown grouping",
                    received=repr(attribute),
                    expected=", ".join(SEARCHED),
                    fix=f"Write {' or '.join(f'{a}:{value}' for a in values)}.",
                )
        if not places:
            same = _same_country(label, self._carried["country"])
            if same is not None:
                return "country", same
            known = sorted(frozenset().union(*self._carried.values()))
            raise UsageError(
                "a limit names an unknown label",
                received=repr(label),
                fix=near_matches(label, [*known, *QUANTITIES]),
            )
        if quantity_of(label) is not None:
            places.append("the proposal itself")
        if len(places) > 1:
            ways = " or ".join(f"{a}:{label}" for a in places if a in SEARCHED)
            raise UsageError(
                "a label in a limit is ambiguous",
                received=repr(label),
                expected=f"one meaning; it is found as {' and as '.join(places)}",
                fix=f"Write {ways}.",
            )
        return places[0], label

    def _value(self, attribute: str, value: str) -> str:
        carried = self._carried.get(attribute) or frozenset(self._labels(attribute))
        if value in carried:
            return value
        same = _same_country(value, carried) if attribute == "country" else None
        if same is None:
            known = sorted(k for k in carried if k)
            raise UsageError(
                f"no asset has {attribute} {value!r}",
                expected=", ".join(known[:20]),
                fix=near_matches(value, known),
            )
        return same

    def share(self, attribute: str, value: str) -> tuple[Vector, list[str]]:
        """(N,) share of each asset that counts under a label, and words on funds."""
        labels = self._labels(attribute)
        out = np.array([float(k == value) for k in labels])
        notes = []
        for i, ticker in enumerate(self.universe.tickers):
            if attribute == "role" and ticker in self.funds:
                exposure = self.funds[ticker]
                out[i] = exposure.weight(value)
                if value == "unknown":
                    out[i] += max(0.0, 1.0 - float(exposure.weights.sum()))
                notes.append(f"{ticker} counts {out[i]:.0%} by {exposure.method}")
            elif attribute == "role" and ticker in self.refused:
                notes.append(f"{ticker} counts as unknown: {self.refused[ticker]}")
            elif attribute == "country" and ticker in self.countries:
                out[i] = self.countries[ticker].get(value, 0.0)
                notes.append(f"{ticker} counts {out[i]:.0%} by look-through")
        return out, notes

    def row(self, limit: LinearLimit) -> Row:
        """Coefficients of a limit by asset."""
        total = np.zeros(len(self.universe))
        notes: list[str] = []
        for label, factor in limit.coefficients.items():
            share, words = self.share(*self.find(label))
            total += factor * share
            notes += words
        if not total.any():
            raise UsageError(
                f"limit {limit.name} touches no asset",
                received=", ".join(limit.coefficients),
                fix="Its coefficients cancel for every asset.",
            )
        return Row(limit.name, total, limit.lower, limit.upper, _told(notes))


def _told(notes: list[str]) -> str:
    unique = list(dict.fromkeys(notes))
    more = f"; and {len(unique) - 4} more" if len(unique) > 4 else ""
    return "; ".join(unique[:4]) + more


def _same_country(label: str, carried: frozenset[str]) -> str | None:
    for names in _COUNTRY_NAMES:
        if label in names:
            return next((k for k in names if k in carried), None)
    return None


def _country_documents(universe: Universe) -> dict[str, dict[str, float]]:
    """Country weights of each fund by its latest document that states them."""
    stated = [r for r in universe.look_through if r[1] == "country"]
    latest: dict[str, str] = {}
    for fund, _, _, _, known_from, _ in stated:
        latest[fund] = max(latest.get(fund, ""), known_from)
    out: dict[str, dict[str, float]] = {}
    for fund, _, label, weight, known_from, _ in stated:
        if known_from == latest[fund]:
            held = out.setdefault(fund, {})
            held[label] = held.get(label, 0.0) + float(weight)
    return out


def merged(rows: list[Row]) -> list[Row]:
    """One row per name: limits on one expression are intersected.

    Raises
    ------
    UsageError
        Bounds on one expression that exclude each other.
    """
    out: dict[str, Row] = {}
    for row in rows:
        same = out.get(row.name)
        if same is None:
            out[row.name] = row
            continue
        if not np.array_equal(same.coefficients, row.coefficients):
            raise UsageError("two different limits have one name", received=row.name)
        low, high = max(same.lower, row.lower), min(same.upper, row.upper)
        if low > high:
            raise UsageError(
                f"limits on {row.name} contradict each other",
                received=f"at least {low:g} and at most {high:g}",
            )
        out[row.name] = same._replace(lower=low, upper=high)
    return list(out.values())
