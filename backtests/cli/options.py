"""Flags that commands share, and how they become prices, books and settings."""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from engine.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from backtests.job import Settings
    from engine.data.panel import PricePanel
    from engine.data.portfolio import Portfolio

CHEAP_MODEL = "cheap-model"


@Parameter(name="*")
@dataclass
class Prices:
    """Where prices come from."""

    prices: str = "reference"
    """File or folder (several with commas), "reference", or STORE#SNAPSHOT."""
    universe: Path | None = None
    """Labels of the assets: ticker, asset_class, venue, country, ai_theme, ..."""
    price_basis: str | None = None
    """raw, split_adjusted or total_return; required for files."""
    currency: str | None = None
    """Quote currency of all prices, where neither file nor universe states it."""
    fx: Path | None = None
    """Exchange rates: one column per currency, in USD for one unit."""
    cash_rates: Path | None = None
    """Annual cash rates as decimals: one column per currency."""
    base_currency: str = "USD"
    """Currency of every result."""
    tickers: str | None = None
    """Use only these tickers, separated by commas."""
    exposures: str | None = None
    """Dated AI shares per company: "builtin", or a file; role bands otherwise."""
    actions: Path | None = None
    """Corporate actions: date, ticker, kind, value[, other_ticker, currency, ratio]."""
    dividend_basis: str | None = None
    """as_paid or split_adjusted; required with --actions."""
    as_basis: str | None = None
    """Derive raw, split_adjusted or total_return prices from the actions."""
    membership: Path | None = None
    """Who may be bought, and when: ticker, start, end (empty: still a member)."""
    calendar: Path | None = None
    """Days on which a venue did not follow its calendar: date, venue, kind[, close]."""
    look_through: Path | None = None
    """What dated documents say funds hold: fund, kind, label, weight, known_from,
    document. It goes before an estimate."""

    def load(self, book: Portfolio | None = None) -> PricePanel:
        """Load the panel; the assets of ``book`` join an explicit list of tickers."""
        from engine.data.load import load_panel

        tickers = names(self.tickers)
        if tickers is not None:
            held = () if book is None else book.assets
            tickers = tuple(dict.fromkeys([*held, *tickers]))
        return load_panel(
            self.source(),
            tickers,
            base_currency=self.base_currency,
            universe=self.universe,
            price_basis=self.price_basis,
            currency=self.currency,
            fx=self.fx,
            cash_rates=self.cash_rates,
            exposures=self.exposures,
            actions=self.actions,
            dividend_basis=self.dividend_basis,
            as_basis=self.as_basis,
            membership=self.membership,
            calendar=self.calendar,
            look_through=self.look_through,
        )

    def source(self) -> Any:
        """What ``--prices`` names: a path, several, a snapshot or a provider."""
        source: Any = self.prices
        folder, mark, snapshot = source.rpartition("#")
        if mark and Path(folder).is_dir():
            from engine.data.store import StoreProvider

            source = StoreProvider(folder, snapshot)
        elif "," in source:
            source = [p.strip() for p in source.split(",") if p.strip()]
            if not source:
                raise UsageError("--prices names no file", received=self.prices)
        return source


@Parameter(name="*")
@dataclass
class Run:
    """When, how much, and how results are shown."""

    as_of: str | None = None
    """Date after whose closes the decision is made; the last date by default."""
    value: float | None = None
    """Net asset value for a book given in weights; 1,000,000 by default."""
    seed: int = 0
    """Seed of the scenarios."""
    window: int = 504
    """Sessions used for estimation."""
    covariance: str = "ledoit_wolf"
    """Estimator of covariance; "ballast covariance" compares them on your prices."""
    horizon: int = 21
    """Sessions of the base scenarios."""
    scenarios: int = 20_000
    """Number of base scenarios."""
    level: float = 0.95
    """Confidence of value at risk and expected shortfall."""
    hindsight_parameters: Annotated[bool, Parameter(negative=())] = False
    """Use the shock before it was known (27 January 2025); stamps every output."""
    out: Path | None = None
    """Folder or file to write to."""
    json: Annotated[bool, Parameter(negative=())] = False
    """Print JSON for machines instead of tables."""
    quiet: Annotated[bool, Parameter(negative=())] = False
    """No progress on the error stream."""
    verbose: Annotated[bool, Parameter(negative=())] = False
    """Timings, solver path, data hash and versions on the error stream."""

    def book(self, path: Path | str, prices: Prices) -> Portfolio:
        """Read the portfolio file; its weights need a value."""
        from engine.data.files import read_table
        from engine.data.portfolio import Portfolio

        table = read_table(path, what="portfolio")
        weighted = "weight" in {str(c).strip().lower() for c in table.columns}
        value = self.value
        if weighted and value is None:
            value = 1_000_000.0
        return Portfolio.read(table, base_currency=prices.base_currency, value=value)


@Parameter(name="*")
@dataclass
class Shock:
    """Which shock."""

    preset: str = "market_view"
    """market_view, substitution or jevons; with _persistent, as lasting as 2000-02."""
    severity: float = 1.0
    """Multiplies the whole structural log move."""
    funds: str = "estimated"
    """Funds without a document: weights by AI role estimated from a year of returns, or
    the bands of their sector (estimated or bands)."""


@Parameter(name="*")
@dataclass
class ChosenShock(Shock):
    """Which shock, or whose file."""

    shock: str = CHEAP_MODEL
    """cheap-model, or a scenario file in TOML (one or several shocks of any kind),
    whose severities --severity multiplies."""
    shock_horizon: str | None = None
    """What is left of the move: day, next_day, month or persistent; the preset's own by
    default."""

    def chosen(self) -> tuple[tuple[Any, ...], dict[str, float]]:
        """Return the shocks named, a preset or those of a file, and their limits."""
        from engine.shocks import CheapModelShock
        from engine.shocks.files import read_scenarios

        if self.shock == CHEAP_MODEL:
            preset = CheapModelShock(
                self.preset, severity=self.severity, horizon=self.shock_horizon
            )
            return (preset,), {}
        path = Path(self.shock)
        if path.suffix != ".toml":
            raise UsageError(
                "unknown shock",
                received=repr(self.shock),
                expected=f"{CHEAP_MODEL}, or a scenario file ending in .toml",
                fix=_meant_shock(self.shock),
            )
        if self.preset != Shock.preset:
            raise UsageError(
                "--preset goes with --shock cheap-model; a file states its own",
                received=self.preset,
            )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            found = read_scenarios(path)
        for warning in said:
            print(f"ballast: {warning.message}", file=sys.stderr)
        return tuple(self._adjusted(s) for s in found.shocks), dict(found.limits)

    def _adjusted(self, shock: Any) -> Any:
        """Return a shock of a file with the flags laid on it."""
        from engine.shocks import CheapModelShock

        if self.severity == 1.0 and self.shock_horizon is None:
            return shock
        if not isinstance(shock, CheapModelShock):
            raise UsageError(
                "--severity and --shock-horizon go with cheap-model shocks",
                received=shock.name,
                fix="State them in the file.",
            )
        if self.shock_horizon is not None:
            shock = shock.with_horizon(self.shock_horizon)
        return shock.with_severity(shock.parameters["severity"] * self.severity)


def _meant_shock(word: str) -> str:
    """A sentence for a --shock that is none: a preset or an episode by mistake."""
    from engine.shocks import library
    from engine.shocks.chain import ALL_PRESETS

    if word in ALL_PRESETS:
        return f"Did you mean --preset {word}?"
    if word in library():
        return f"Did you mean --replay {word}?"
    return did_you_mean(word, [CHEAP_MODEL, *ALL_PRESETS, *library()])


@Parameter(name="*")
@dataclass
class Limits:
    """What a proposal must respect."""

    limit: tuple[str, ...] = ()
    """A number caps the severe loss under each shock (a decimal; half of today's if
    absent; a scenario file may state one per shock, which goes before). Text is a limit
    of its own, and may repeat: "Taiwan + Korea <= 0.15", "role:power_gen <= 5%",
    "names <= 30", "gross <= 1.5"."""
    candidates: str | None = None
    """Tickers that may be bought, separated by commas, or a file with one per line."""
    max_weight: float | None = None
    """Bound on one weight, 0.10 by default (more for few assets); what is held above it
    may stay."""
    es_cap: float | None = None
    """Cap on expected shortfall over the horizon, as a decimal."""
    turnover: float | None = None
    """Cap on half the sum of absolute weight changes."""
    group: tuple[str, ...] = ()
    """Limit like "country:Taiwan<=0.05" or "role:power_gen<=0.10"; may repeat."""
    half_spread_bps: float = 5.0
    """One-way trading cost in basis points of traded value."""
    commission_bps: float = 0.0
    """One-way commission in basis points of traded value."""


@Parameter(name="*")
@dataclass
class Walk:
    """The walk-forward."""

    start: str = "2019-01-02"
    """First decision."""
    end: str | None = None
    """Last date; the last of the prices by default."""
    schedule: str | None = None
    """daily, weekly, monthly, quarterly or yearly: the first session of each. Monthly
    by default; daily where --rebalance states a condition."""
    rebalance: str | None = None
    """Trade only when it matters: "drift-band:0.02" (to the edge of the band;
    "drift-band:0.02,centre" to its centre), "no-trade" (the no-trade region of
    proportional costs; "no-trade:3" with a risk aversion), "stress-triggered" (when the
    shock loss of the day passes its limit; back to 0.9 of it, or another share after a
    colon). Hold stays as it is."""
    fill: Literal["next_close", "next_open", "same_close"] = "next_close"
    """When orders fill; same_close is what nobody can do, and stamps the results."""
    fallback: Literal["hold", "raise"] = "hold"
    """Where limits cannot hold or a solver fails: hold the book, or stop."""
    delisting_return: float | None = None
    """Simple return on the last price of a holding that ends without stated terms."""
    max_participation: float | None = None
    """Largest share of an asset's daily volume that one session trades."""
    max_borrowing: float | None = None
    """Largest debt in cash, as a share of value; any by default."""
    withholding: tuple[str, ...] = ()
    """Share of dividends withheld at the source: a number, or COUNTRY=NUMBER with one
    for default; may repeat."""
    impact: float = 0.0
    """Factor of the 3/2 market impact, about 1; it needs volumes, or --flat-impact-bps.
    Off by default."""
    flat_impact_bps: tuple[str, ...] = ()
    """Impact in basis points where volume is absent: a number, or CLASS=NUMBER (equity,
    etf_equity, default); may repeat."""
    borrow_bps: float = 50.0
    """Fee a year on the value sold short, in basis points: a liquid fund is easy to
    borrow, and never for nothing."""
    margin_bps: float = 0.0
    """Interest over the cash rate on cash that is owed, basis points a year."""


def names(text: str | None) -> tuple[str, ...] | None:
    """Split a comma list, or the lines of a file, into tickers."""
    if text is None:
        return None
    path = Path(text)
    if "," not in text and path.suffix in (".txt", ".csv") and path.exists():
        text = ",".join(path.read_text().replace(",", "\n").split())
    result = tuple(dict.fromkeys(t.strip() for t in text.split(",") if t.strip()))
    if not result:
        raise UsageError("an empty list of tickers")
    return result


def group_limit(text: str):
    """Parse ``attribute:value<=number`` or ``attribute:value>=number``."""
    from engine.constraints import GroupLimit

    for sign in ("<=", ">="):
        if sign in text:
            left, right = text.split(sign, 1)
            attribute, colon, value = left.strip().partition(":")
            try:
                number = float(right)
            except ValueError:
                break
            if not colon or not value:
                break
            if sign == "<=":
                return GroupLimit(attribute, value.strip(), upper=number)
            return GroupLimit(attribute, value.strip(), lower=number)
    raise UsageError(
        "cannot read a group limit",
        received=repr(text),
        expected='"country:Taiwan<=0.05" or "role:power_gen>=0.01"',
    )


def shock_cap(entries: tuple[str, ...]) -> tuple[float | None, tuple[str, ...]]:
    """Split what --limit was given into the cap on the shock loss and limits as text.

    The text is read here, so that what cannot be read stops the command at once.
    """
    from engine.limit_text import parse_limit

    caps, texts = [], []
    for entry in entries:
        try:
            caps.append(float(entry))
        except ValueError:
            texts.append(parse_limit(entry).text)
    if len(caps) > 1:
        raise UsageError("--limit is given two numbers", received=caps)
    if caps and not 0.0 <= caps[0] <= 1.0:
        raise UsageError(
            "--limit is a loss as a decimal", received=caps[0], expected="0 to 1"
        )
    return (caps[0] if caps else None), tuple(texts)


def settings(
    run: Run, shock: Shock, limits: Limits | None = None, walk: Walk | None = None
) -> Settings:
    """Gather the flags into the settings of the job."""
    from backtests.job import Settings
    from engine.costs import Costs

    limits = limits or Limits()
    shocks, own = shock.chosen() if isinstance(shock, ChosenShock) else ((), {})
    cap, texts = shock_cap(limits.limit)
    return Settings(
        as_of=run.as_of,
        preset=shock.preset,
        severity=shock.severity,
        shocks=shocks,
        own_limits=own,
        limit=cap,
        limits=texts,
        candidates=names(limits.candidates),
        window=run.window,
        covariance=run.covariance,
        horizon=run.horizon,
        n_scenarios=run.scenarios,
        level=run.level,
        seed=run.seed,
        upper=limits.max_weight,
        es_cap=limits.es_cap,
        turnover=limits.turnover,
        groups=tuple(group_limit(g) for g in limits.group),
        costs=Costs(
            half_spread_bps=limits.half_spread_bps,
            commission_bps=limits.commission_bps,
            **({} if walk is None else trading_costs(walk)),
        ),
        hindsight_parameters=run.hindsight_parameters,
        funds=shock.funds,
        **({} if walk is None else walking(walk)),
    )


def trading_costs(walk: Walk) -> dict[str, Any]:
    """Costs of the walk-forward that a flag states, as `engine.Costs` takes them."""
    out: dict[str, Any] = {
        "impact": walk.impact,
        "borrow_bps": walk.borrow_bps,
        "margin_bps": walk.margin_bps,
    }
    if walk.flat_impact_bps:
        if not walk.impact:
            raise UsageError(
                "--flat-impact-bps stands in for an impact that is switched off",
                fix="Add --impact 1.",
            )
        given = numbers_by_key("--flat-impact-bps", walk.flat_impact_bps)
        out["flat_impact_bps"] = (
            {"default": given} if isinstance(given, float) else given
        )
    return out


def walking(walk: Walk) -> dict[str, Any]:
    """Fields of `backtests.Settings` that the walk-forward's flags state."""
    from backtests.rebalancing import parse_rebalance, schedule_of

    if walk.rebalance:  # what cannot be read stops the command at once
        schedule_of(parse_rebalance(walk.rebalance), walk.schedule)
    withheld = None
    if walk.withholding:
        withheld = numbers_by_key("--withholding", walk.withholding)
    return {
        "start": walk.start,
        "end": walk.end,
        "schedule": walk.schedule,
        "rebalance": walk.rebalance or "",
        "fill": walk.fill,
        "fallback": walk.fallback,
        "delisting_return": walk.delisting_return,
        "max_participation": walk.max_participation,
        "max_borrowing": walk.max_borrowing,
        "withholding": withheld,
    }


def numbers_by_key(flag: str, entries: tuple[str, ...]) -> float | dict[str, float]:
    """Read one number, or several ``KEY=NUMBER``, each key once."""
    items = [p.strip() for e in entries for p in e.split(",") if p.strip()]
    out: dict[str, float] = {}
    for item in items:
        key, equals, number = item.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        key = key.strip()
        if not value >= 0.0 or bool(key) != bool(equals) or key in out:
            break
        if not equals and len(items) == 1:
            return value
        if not equals:
            break
        out[key] = value
    else:
        if out:
            return out
    raise UsageError(
        f"cannot read {flag}",
        received=", ".join(entries),
        expected="one number, or KEY=NUMBER, each key once",
    )


class Meter:
    """Progress on the error stream, shown once a step has taken two seconds."""

    def __init__(self, quiet: bool, verbose: bool = False) -> None:
        if quiet and verbose:
            raise UsageError("--quiet and --verbose contradict each other")
        self.quiet = quiet
        self.verbose = verbose
        self.since = time.perf_counter()
        self.bar: Any = None
        self.total = -1
        self.title = ""

    def __call__(self, done: int, total: int, message: str) -> None:
        """Show that ``done`` of ``total`` steps are finished."""
        if self.quiet:
            return
        from tqdm import tqdm

        title = message.split(":")[0]
        if self.bar is None or total != self.total or title != self.title:
            self.close()
            self.bar = tqdm(
                total=total, delay=2.0, file=sys.stderr, leave=False, desc=title
            )
            self.total, self.title = total, title
        # update() keeps the delay and the interval; refresh() would print at once.
        self.bar.update(done - self.bar.n)

    def stage(self, name: str, panel: Any = None) -> None:
        """Say how long a stage took, and which prices it read; --verbose only."""
        now = time.perf_counter()
        if self.verbose:
            self.close()
            print(f"ballast: {name}: {now - self.since:.2f} s", file=sys.stderr)
            if panel is not None:
                from backtests._identity import versions

                hashed = f"{panel.source}, {panel.content_hash}"
                print(f"ballast: data hash: {hashed}", file=sys.stderr)
                found = ", ".join(f"{k} {v}" for k, v in versions().items())
                print(f"ballast: versions: {found}", file=sys.stderr)
        self.since = now

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
