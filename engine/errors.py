"""The errors Ballast raises: each names what was received and what to do.

Every class is also a subclass of the built-in that fits, so that code which does not
know Ballast still catches the right thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def _date_text(date: object) -> str:
    text = str(date)
    return (
        text.removesuffix(" 00:00:00")
        .removesuffix("T00:00:00.000000000")
        .removesuffix("T00:00")
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the known words nearest to ``word``.

    Case is overlooked: ``nvda`` suggests ``NVDA``.
    """
    import difflib

    by_lower = {k.lower(): k for k in map(str, known)}
    near = difflib.get_close_matches(str(word).lower(), by_lower, n=3, cutoff=0.6)
    if not near:
        return "Check the spelling."
    return f"Did you mean {' or '.join(by_lower[k] for k in near)}?"


class BallastError(Exception):
    """Base of all errors raised on purpose by Ballast.

    Parameters
    ----------
    message : str
        What is wrong, in one sentence.
    asset, date : optional
        Where it is wrong.
    received, expected : optional
        What was found, and what was needed.
    fix : str, optional
        What the caller can do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        asset: str | None = None,
        date: object = None,
        received: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.problem = message
        self.asset = asset
        self.date = None if date is None else _date_text(date)
        self.received = received
        self.expected = expected
        self.fix = fix
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.problem]
        where = [
            f"{name} {value}"
            for name, value in (("asset", self.asset), ("date", self.date))
            if value is not None
        ]
        if where:
            parts.append(f"at {', '.join(where)}")
        if self.received is not None:
            parts.append(f"received {self.received}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        text = "; ".join(parts)
        return f"{text}. {self.fix}" if self.fix else text

    def __reduce__(self):
        # Keyword-only arguments do not survive the default pickling of exceptions,
        # and errors cross process boundaries in sweeps.
        return _rebuild_error, (
            type(self),
            self.problem,
            {
                "asset": self.asset,
                "date": self.date,
                "received": self.received,
                "expected": self.expected,
                "fix": self.fix,
            },
        )


def _rebuild_error(kind, message, details):
    return kind(message, **details)


class DataError(BallastError, ValueError):
    """Input data that cannot be right: prices, dates, currencies, files."""


class UsageError(BallastError, ValueError):
    """An argument or option that does not exist or contradicts another."""


class ModelError(BallastError, ValueError):
    """A model that cannot be estimated or used on the data given."""


class InfeasibleError(BallastError, ValueError):
    """Limits that no portfolio satisfies.

    Attributes
    ----------
    conflict : tuple of str
        An irreducible set of limits: dropping any one of them makes the rest feasible.
    relaxation : tuple of str
        The cheapest relaxation found, one sentence per limit.
    relaxed : mapping of limit name -> (old, new)
        The same in numbers, rounded so that taking over ``new`` is enough. A limit
        with a lower side names it ``... (least)``; bounds by asset state the widening
        from zero.
    """

    def __init__(
        self,
        message: str,
        *,
        conflict: tuple[str, ...] = (),
        relaxation: tuple[str, ...] = (),
        relaxed: Mapping[str, tuple[float, float]] | None = None,
        **details,
    ) -> None:
        self.relaxed = dict(relaxed or {})
        self.conflict = tuple(conflict)
        self.relaxation = tuple(relaxation)
        super().__init__(message, **details)

    def __reduce__(self):
        kind, arguments = super().__reduce__()[:2]
        problem, details = arguments[1], dict(arguments[2])
        details |= {"conflict": self.conflict, "relaxation": self.relaxation}
        details["relaxed"] = self.relaxed
        return kind, (type(self), problem, details)


class InputNote(UserWarning):
    """How an unusual but unambiguous input was read; the command line prints it."""


class SolverError(BallastError, RuntimeError):
    """A solver that died, timed out, or returned something that fails its checks."""


class WorkerError(BallastError, RuntimeError):
    """A worker process or cluster that cannot be reached, or died over its task."""


class LookAheadError(BallastError, RuntimeError):
    """Something was asked for before the time at which it was known."""


class StoreError(BallastError, OSError):
    """A file that cannot be written or read; what was there before is untouched."""

    def __str__(self) -> str:
        return BallastError.__str__(self)
