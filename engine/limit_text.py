"""Limits as people write them: ``Taiwan + 0.5 * Korea <= 0.15``.

The grammar, read by hand and never evaluated:

    limit  = side REL side | number REL side REL number     REL is <=, >= or ==
    side   = term {(+ | -) term}
    term   = [number *] label | number
    label  = words, or attribute:words, or either in double quotes

A minus between letters belongs to the label (``BRK-B``); to subtract, put a space
beside it. Numbers may end in a per-cent sign.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass

from engine.errors import UsageError

QUANTITIES = (
    "turnover",
    "tracking error",
    "expected shortfall",
    "gross",
    "net",
    "cash",
    "names",
    "trades",
    "minimum position",
    "liquidity",
)
"""Words that mean a figure of the whole proposal, not a label of assets."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_CONSTANT = re.compile(rf"({_NUMBER})\s*(%?)")
_SCALED = re.compile(rf"({_NUMBER})\s*(%?)\s*\*\s*(.+)")
_RELATION = re.compile(r"<=|>=|==|≤|≥|=|<|>")
_QUOTED = re.compile(r'"([^"]*)"')
_SPELT = {"≤": "<=", "≥": ">=", "=": "=="}
_FLIP = {"<=": ">=", ">=": "<=", "==": "=="}


@dataclass(frozen=True, slots=True)
class LimitText:
    """A limit that has been read, before its labels are looked up.

    Attributes
    ----------
    text : str
        As it was written.
    terms : tuple of (float, str)
        Coefficient and label, each label once.
    lower, upper : float
        Infinite where open.
    """

    text: str
    terms: tuple[tuple[float, str], ...]
    lower: float
    upper: float

    @property
    def name(self) -> str:
        """The bounded expression, as messages show it: ``Taiwan + 0.5 * Korea``."""
        words = ""
        for k, (factor, label) in enumerate(self.terms):
            sign = "-" if factor < 0 else "+"
            size = "" if abs(factor) == 1.0 else f"{abs(factor):g} * "
            lead = f" {sign} " if k else ("-" if factor < 0 else "")
            words += f"{lead}{size}{label}"
        return words

    @property
    def quantity(self) -> str | None:
        """Word of `QUANTITIES` that is bounded (or ``es:leg``); None for labels."""
        for factor, label in self.terms:
            word = quantity_of(label)
            if word is None:
                continue
            if len(self.terms) > 1 or factor != 1.0:
                raise UsageError(
                    f"{word} is bounded alone, with nothing added or multiplied",
                    received=repr(self.text),
                    fix=f"Write '{word} <= number'; a label spelt so is written "
                    f"attribute:{label}.",
                )
            return word
        return None


def quantity_of(label: str) -> str | None:
    """Word of `QUANTITIES`, or ``es:leg``, that a label spells; None for others."""
    if label.startswith("es:"):
        return label
    word = label.replace("_", " ")
    if word == "es":
        return "expected shortfall"
    return word if word in QUANTITIES else None


def parse_limit(text: str) -> LimitText:
    """Read one limit.

    Parameters
    ----------
    text : str
        Such as ``"0.1 <= country:Japan <= 0.3"`` or ``"Taiwan <= 2 * Korea"``.

    Raises
    ------
    UsageError
        Naming the part that cannot be read.
    """
    if not isinstance(text, str):
        raise UsageError("a limit is text", received=repr(text))
    quoted: list[str] = []

    def hide(match: re.Match[str]) -> str:
        quoted.append(match.group(1))
        return f"\x00{len(quoted) - 1}\x00"

    plain = _QUOTED.sub(hide, text)
    relations = _RELATION.findall(plain)
    sides = _RELATION.split(plain)
    kinds = [_SPELT.get(str(r), str(r)) for r in relations]
    if any(k in "<>" for k in kinds):
        raise _unreadable(text, "a limit allows equality: write <= or >=")
    if not 1 <= len(kinds) <= 2:
        raise _unreadable(text, "one relation, or two around an expression")
    read = [_side(side, quoted, text) for side in sides]
    if len(kinds) == 1:
        (left, a), (right, b) = read
        for label, factor in right.items():
            left[label] = left.get(label, 0.0) - factor
        bound, kind = b - a, kinds[0]
        if not any(read[0][0].values()):
            raise _unreadable(text, "no label is bounded")
        if all(f <= 0.0 for f in left.values()):  # "0.1 >= Taiwan" bounds Taiwan
            left = {k: -f for k, f in left.items()}
            bound, kind = -bound, _FLIP[kind]
        lower = bound if kind in (">=", "==") else -math.inf
        upper = bound if kind in ("<=", "==") else math.inf
    else:
        (low, a), (left, shift), (high, b) = read
        if low or high or kinds[0] != kinds[1] or kinds[0] == "==":
            raise _unreadable(text, "number <= labels <= number")
        lower, upper = (a, b) if kinds[0] == "<=" else (b, a)
        lower, upper = lower - shift, upper - shift
    terms = tuple((f, label) for label, f in left.items() if f)
    if not terms:
        raise _unreadable(text, "no label is bounded")
    if lower > upper:
        raise UsageError(
            "a limit's bounds are crossed",
            received=repr(text),
            expected="the smaller number first",
        )
    # Minus zero would show in messages.
    return LimitText(text.strip(), terms, lower + 0.0, upper + 0.0)


def _side(side: str, quoted: list[str], text: str) -> tuple[dict[str, float], float]:
    """Labels with their coefficients, and the sum of the constants."""
    terms: dict[str, float] = {}
    constant = 0.0
    for sign, chunk in _chunks(side):
        if not chunk:
            raise _unreadable(text, "a number or a label beside each sign")
        number = _CONSTANT.fullmatch(chunk)
        if number:
            constant += sign * _value(number)
            continue
        scaled = _SCALED.fullmatch(chunk)
        factor, label = (_value(scaled), scaled[3]) if scaled else (1.0, chunk)
        label = re.sub(r"\x00(\d+)\x00", lambda m: quoted[int(m[1])], label)
        label = " ".join(label.split())
        label = re.sub(r"^(\w+) ?: ?", r"\1:", label)
        if "*" in label or not label:
            raise _unreadable(text, "number * label")
        terms[label] = terms.get(label, 0.0) + sign * factor
    return terms, constant


def _value(match: re.Match[str]) -> float:
    value = float(match[1]) / (100.0 if match[2] else 1.0)
    if not math.isfinite(value):
        raise UsageError("a number in a limit is too large", received=match[1])
    return value


def _chunks(side: str) -> list[tuple[float, str]]:
    """Split at the signs: any plus, and a minus with a space or a sign beside it."""
    side = side.strip().replace("\u2212", "-")
    out: list[tuple[float, str]] = []
    sign, chunk = 1.0, ""
    for k, char in enumerate(side):
        exponent = re.fullmatch(r"\s*-?[\d.]+[eE]", chunk) is not None
        after = side[k + 1 : k + 2]
        beside = not chunk or chunk[-1].isspace() or after.isspace() or not after
        operator = not exponent and (char == "+" or (char == "-" and beside))
        number = not chunk.strip() and out and re.match(r"[\d.]", after)
        if not operator or (char == "-" and number):
            chunk += char
            continue
        if chunk.strip() or out or sign < 0.0:
            out.append((sign, chunk.strip()))
        elif k:
            return [(sign, "")]  # two signs lead
        sign, chunk = (-1.0 if char == "-" else 1.0), ""
    return [*out, (sign, chunk.strip())]


def _unreadable(text: str, expected: str) -> UsageError:
    relation = _did_you_mean_relation(text)
    return UsageError(
        "cannot read a limit",
        received=repr(text),
        expected=expected,
        fix=relation or "Such as 'Taiwan + Korea <= 0.15' or 'names <= 30'.",
    )


def _did_you_mean_relation(text: str) -> str | None:
    for wrong, right in (("=<", "<="), ("=>", ">=")):
        if wrong in text:
            return f"Write {right} for {wrong}."
    return None


def near_matches(label: str, known: list[str]) -> str:
    """Which known labels were meant, whatever the case: ``Did you mean Taiwan?``."""
    folded = {k.casefold(): k for k in known}
    word = label.casefold()
    inside = [k for f, k in folded.items() if len(word) > 3 and word in f]
    if word in folded or inside:
        near = [folded[word]] if word in folded else inside[:3]
    else:
        close = difflib.get_close_matches(word, list(folded), n=3, cutoff=0.6)
        near = [folded[f] for f in close]
    fix = f"Did you mean {' or '.join(near)}?" if near else "Check the spelling."
    minus = " To subtract, put spaces around the minus." if "-" in label else ""
    return fix + minus
