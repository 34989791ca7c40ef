"""Views on scenarios, as objects and as text: ``"mean(NVDA) - mean(MSFT) <= -0.05"``.

A view compares a linear combination of figures of the posterior with a number. Figures
are of simple returns over the horizon of the scenarios, in base currency, never
annualised; value at risk and expected shortfall are losses, positive.

    mean(A)  vol(A)  variance(A)  skew(A)  kurtosis(A)  corr(A, B)
    var(A, 0.95)  es(A, 0.95)  prob(A <= -0.1 and B >= 0)
    prior(...) is any of these under the prior, a number
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine._base import Value
from engine.errors import UsageError

OPERATORS = ("<=", ">=", "==")
_ALIASES = {
    "mean": "mean",
    "vol": "vol",
    "volatility": "vol",
    "variance": "variance",
    "skew": "skew",
    "kurtosis": "kurtosis",
    "corr": "corr",
    "correlation": "corr",
    "var": "var",
    "value_at_risk": "var",
    "es": "es",
    "cvar": "es",
    "expected_shortfall": "es",
    "prob": "prob",
    "probability": "prob",
}
_ASSETS = {"corr": 2}
_LEVELLED = ("var", "es")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a distribution: kind, assets, level or event.

    Attributes
    ----------
    kind : str
        ``mean, vol, variance, skew, kurtosis, corr, var, es`` or ``prob``.
    assets : tuple of str
    level : float
        For value at risk and expected shortfall.
    event : tuple of (asset, operator, bound)
        All of which hold, for ``prob``.
    """

    kind: str
    assets: tuple[str, ...] = ()
    level: float = 0.0
    event: tuple[tuple[str, str, float], ...] = ()

    def __str__(self) -> str:
        if self.kind == "prob":
            inside = " and ".join(f"{a} {o} {v:g}" for a, o, v in self.event)
        else:
            inside = ", ".join(self.assets)
            inside += f", {self.level:g}" if self.kind in _LEVELLED else ""
        return f"{self.kind}({inside})"


@dataclass(frozen=True, slots=True)
class View:
    """``sum of coefficient x figure (operator) value + sum of coefficient x prior``.

    Attributes
    ----------
    terms : tuple of (float, Figure)
        Of the posterior.
    operator : {"<=", ">=", "=="}
    value : float
    prior_terms : tuple of (float, Figure)
        Of the prior, added to ``value``.
    text : str
        As the user wrote it; messages and reports quote it.
    """

    terms: tuple[tuple[float, Figure], ...]
    operator: str
    value: float
    prior_terms: tuple[tuple[float, Figure], ...] = ()
    text: str = ""

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise UsageError(
                "unknown operator of a view",
                received=repr(self.operator),
                expected=", ".join(OPERATORS),
            )
        if not self.text:
            words = " + ".join(
                f"{c:g} * {f}" if c != 1 else f"{f}" for c, f in self.terms
            )
            text = f"{words} {self.operator} {self.value:g}"
            object.__setattr__(self, "text", text)
        if isinstance(self.value, bool) or not np.isfinite(self.value):
            raise UsageError(f"view {self.text!r}: the value is not a number")
        if not self.terms:
            raise UsageError(f"view {self.text!r} names no figure of the posterior")
        for _, figure in self.terms + self.prior_terms:
            self._check_figure(figure)
        self._check_value()

    def _check_figure(self, figure: Figure) -> None:
        if figure.kind not in _ALIASES.values():
            raise UsageError(
                f"view {self.text!r}: unknown figure", received=figure.kind
            )
        if figure.kind == "prob":
            if not figure.event:
                raise UsageError(f"view {self.text!r}: an event names no asset")
            return
        want = _ASSETS.get(figure.kind, 1)
        if len(figure.assets) != want or not all(figure.assets):
            raise UsageError(
                f"view {self.text!r}: {figure.kind} takes {want} asset(s)",
                received=len(figure.assets),
            )
        if figure.kind == "corr" and figure.assets[0] == figure.assets[1]:
            raise UsageError(
                f"view {self.text!r}: an asset's correlation with itself is one"
            )
        if figure.kind in _LEVELLED and not 0.0 < figure.level < 1.0:
            raise UsageError(
                f"view {self.text!r}: {figure.kind} needs a level in (0, 1)",
                received=figure.level,
                fix=f"Write {figure.kind}({figure.assets[0]}, 0.95).",
            )

    def _check_value(self) -> None:
        """Refuse a value that no distribution has."""
        kinds = {f.kind for _, f in self.terms}
        if len(self.terms) > 1:
            bad = kinds & {"var", "es"}
            if bad or ("vol" in kinds and not self._ranks_volatility()):
                raise UsageError(
                    f"view {self.text!r}: such figures cannot be combined",
                    received=", ".join(sorted(kinds)),
                    expected="one var, es or vol against a number, or vol(A) against "
                    "a multiple of vol(B)",
                    fix="Combine variances in place of volatilities.",
                )
            return
        if self.prior_terms:
            return
        coefficient, figure = next(iter(self.terms))
        target = self.value / coefficient
        ranges = {
            "corr": (-1.0, 1.0, "an impossible correlation"),
            "prob": (0.0, 1.0, "an impossible probability"),
            "vol": (0.0, np.inf, "an impossible volatility"),
            "variance": (0.0, np.inf, "an impossible variance"),
        }
        low, high, words = ranges.get(figure.kind, (-np.inf, np.inf, ""))
        if not low <= target <= high:
            raise UsageError(
                f"view {self.text!r} asks for {words}",
                received=f"{target:g}",
                expected=f"between {low:g} and {high:g}",
            )

    def _ranks_volatility(self) -> bool:
        return (
            len(self.terms) == 2
            and all(f.kind == "vol" for _, f in self.terms)
            and self.terms[0][0] * self.terms[1][0] < 0
            and self.value == 0.0
            and not self.prior_terms
        )

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of figures of the posterior."""
        return frozenset(f.kind for _, f in self.terms)

    def __str__(self) -> str:
        return self.text


_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?P<percent>%)?"
    r"|(?P<call>[A-Za-z_]+)\s*\(|(?P<sign>[-+*)]))"
)
_COMPARISON = re.compile(r"<=|>=|==|=|<|>")


class _Reader:
    """Recursive descent over one view; nothing is evaluated but numbers."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, why: str, near: str = "") -> UsageError:
        return UsageError(
            f"cannot read the view {self.text!r}: {why}",
            received=near or None,
            expected='such as "mean(NVDA) - mean(MSFT) <= -0.05"',
        )

    def read(self) -> View:
        left, operator, right = self._sides()
        terms: list[tuple[float, Figure]] = []
        priors: list[tuple[float, Figure]] = []
        value = 0.0
        for sign, side in ((1.0, left), (-1.0, right)):
            for coefficient, figure, prior in self._sum(side):
                if figure is None:
                    value -= sign * coefficient
                elif prior:
                    priors.append((-sign * coefficient, figure))
                else:
                    terms.append((sign * coefficient, figure))
        return View(_collected(terms), operator, value, _collected(priors), self.text)

    def _sides(self) -> tuple[str, str, str]:
        depth, found = 0, []
        position = 0
        while position < len(self.text):
            char = self.text[position]
            depth += (char == "(") - (char == ")")
            match = _COMPARISON.match(self.text, position)
            if match and depth == 0:
                found.append(match)
                position = match.end()
                continue
            position += 1
        if depth:
            raise self.fail("a parenthesis is not closed")
        if len(found) != 1:
            raise self.fail(f"it has {len(found)} comparisons, not one")
        match = found[0]
        operator = "==" if match.group() == "=" else match.group()
        if operator not in OPERATORS:
            raise self.fail("strict comparisons have no nearest posterior", operator)
        return self.text[: match.start()], operator, self.text[match.end() :]

    def _sum(self, side: str) -> list[tuple[float, Figure | None, bool]]:
        out: list[tuple[float, Figure | None, bool]] = []
        position, sign = 0, 1.0
        side = side.strip()
        if not side:
            raise self.fail("one side is empty")
        expecting = True
        factor, figure, prior = 1.0, None, False
        while position < len(side):
            match = _TOKEN.match(side, position)
            if match is None:
                raise self.fail("unexpected text", side[position:].strip())
            position = match.end()
            if match["number"]:
                if not expecting:
                    raise self.fail("an operator is missing", side)
                factor *= float(match["number"]) * (0.01 if match["percent"] else 1.0)
                expecting = False
            elif match["call"]:
                if not expecting or figure is not None:
                    raise self.fail("figures can be added, not multiplied", side)
                inside, position = self._inside(side, position)
                figure, prior = self._figure(match["call"], inside)
                expecting = False
            elif match["sign"] == "*":
                if expecting:
                    raise self.fail("a factor is missing", side)
                expecting = True
            elif match["sign"] == ")":
                raise self.fail("a parenthesis is not opened", side)
            else:
                turn = -1.0 if match["sign"] == "-" else 1.0
                if expecting:  # a sign before its term
                    sign *= turn
                else:
                    out.append((sign * factor, figure, prior))
                    factor, figure, prior, sign = 1.0, None, False, turn
                    expecting = True
        if expecting:
            raise self.fail("a term is missing", side)
        out.append((sign * factor, figure, prior))
        return out

    def _inside(self, side: str, start: int) -> tuple[str, int]:
        depth = 1
        for position in range(start, len(side)):
            depth += (side[position] == "(") - (side[position] == ")")
            if not depth:
                return side[start:position], position + 1
        raise self.fail("a parenthesis is not closed")

    def _figure(self, word: str, inside: str) -> tuple[Figure, bool]:
        word = word.lower()
        if word == "prior":
            inner = re.fullmatch(r"\s*([A-Za-z_]+)\s*\((.*)\)\s*", inside)
            if inner is None:
                raise self.fail("prior takes one figure", inside)
            return self._figure(inner[1], inner[2])[0], True
        if word not in _ALIASES:
            near = difflib.get_close_matches(word, _ALIASES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise self.fail(f"unknown figure {word!r}{hint}")
        kind = _ALIASES[word]
        if kind == "prob":
            return Figure("prob", event=_event(inside, self)), False
        words = [part.strip() for part in inside.split(",")]
        level = 0.0
        if kind in _LEVELLED:
            if len(words) != 2:
                raise self.fail(
                    f"{word} needs a level; for a variance write variance(...)",
                    f"{word}({inside})",
                )
            level = self._number(words.pop())
        return Figure(kind, tuple(words), level), False

    def _number(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise self.fail("not a number", text) from None


def _collected(terms: list[tuple[float, Figure]]) -> tuple[tuple[float, Figure], ...]:
    total: dict[Figure, float] = {}
    for coefficient, figure in terms:
        total[figure] = total.get(figure, 0.0) + coefficient
    return tuple((c, f) for f, c in total.items() if c)


def _event(inside: str, reader: _Reader) -> tuple[tuple[str, str, float], ...]:
    out = []
    for part in re.split(r"\s+and\s+", inside.strip()):
        match = re.fullmatch(r"(.+?)\s*(<=|>=|<|>)\s*(.+)", part.strip())
        if match is None:
            raise reader.fail("an event reads like NVDA <= -0.1", part)
        out.append((match[1].strip(), match[2], reader._number(match[3])))
    return tuple(out)


def view(given: str | View) -> View:
    """One view from text, or the view itself."""
    if isinstance(given, View):
        return given
    if not isinstance(given, str):
        raise UsageError(
            "a view is a text or a View",
            received=repr(given),
            expected='such as "mean(NVDA) <= -0.10"',
        )
    return _Reader(given).read()


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Views(Value):
    """A list of views, built by chaining; each method returns a longer list.

    Parameters
    ----------
    *views : str or View

    Examples
    --------
    >>> views = Views("corr(NVDA, ANET) >= 0.8").mean("NVDA", "<=", -0.10)
    >>> [str(v) for v in views]
    ['corr(NVDA, ANET) >= 0.8', 'mean(NVDA) <= -0.1']
    """

    items: tuple[View, ...]

    def __init__(self, *views: str | View) -> None:
        object.__setattr__(self, "items", tuple(view(v) for v in views))

    def __iter__(self):
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def _with(self, operator: str, value: float, *terms: tuple[float, Figure]) -> Views:
        return Views(*self.items, View(tuple(terms), operator, float(value)))

    def mean(self, asset: str, operator: str, value: float) -> Views:
        """Mean return over the horizon."""
        return self._with(operator, value, (1.0, Figure("mean", (asset,))))

    def volatility(self, asset: str, operator: str, value: float) -> Views:
        """Standard deviation of the return over the horizon, not annualised."""
        return self._with(operator, value, (1.0, Figure("vol", (asset,))))

    def variance(self, asset: str, operator: str, value: float) -> Views:
        """Variance of the return over the horizon."""
        return self._with(operator, value, (1.0, Figure("variance", (asset,))))

    def correlation(self, a: str, b: str, operator: str, value: float) -> Views:
        """Correlation of two returns, in [-1, 1]."""
        return self._with(operator, value, (1.0, Figure("corr", (a, b))))

    def value_at_risk(
        self, asset: str, operator: str, value: float, *, level: float = 0.95
    ) -> Views:
        """Value at risk of a long position, a positive loss."""
        return self._with(operator, value, (1.0, Figure("var", (asset,), level)))

    def expected_shortfall(
        self, asset: str, operator: str, value: float, *, level: float = 0.95
    ) -> Views:
        """Expected shortfall of a long position, a positive loss."""
        return self._with(operator, value, (1.0, Figure("es", (asset,), level)))

    def probability(self, event: str, operator: str, value: float) -> Views:
        """Probability of an event such as ``"NVDA <= -0.1 and SMH <= -0.05"``."""
        parts = _event(event, _Reader(f"prob({event})"))
        return self._with(operator, value, (1.0, Figure("prob", event=parts)))

    def rank(self, higher: str, lower: str) -> Views:
        """The mean of ``higher`` is at least that of ``lower``."""
        text = f"mean({higher}) >= mean({lower})"
        terms = ((1.0, Figure("mean", (higher,))), (-1.0, Figure("mean", (lower,))))
        return Views(*self.items, View(terms, ">=", 0.0, text=text))

    def __repr__(self) -> str:
        return f"Views({', '.join(repr(str(v)) for v in self.items)})"


def views_of(given: Any) -> tuple[View, ...]:
    """Views from one text, a `View`, a `Views`, or an iterable of them."""
    if isinstance(given, (str, View)):
        given = [given]
    if not isinstance(given, Iterable):
        raise UsageError("views are texts or View objects", received=repr(given))
    out = tuple(view(v) for v in given)
    if not out:
        raise UsageError("no view is given", fix='Give one, "mean(NVDA) <= -0.10".')
    return out
