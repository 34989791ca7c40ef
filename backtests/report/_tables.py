"""Tables of a report: as text for the page, and as numbers for the CSV beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from backtests.report._inputs import (
    MINUS,
    NOT_KNOWN,
    ReportInputs,
    Run,
    by_role,
    day,
    difference,
    label,
    labels_of,
    loss_money,
    loss_text,
    loss_words,
    money,
    number,
    percent,
    rank_words,
    realised_after,
    short_name,
    signed,
    with_error,
)
from backtests.report._losses import role_country
from backtests.report._runs import is_ratio


class Table(NamedTuple):
    """One table: heading, columns (those of ``text`` align left), rows, a note."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    note: str = ""
    text: tuple[int, ...] = (0,)
    sortable: bool = True

    def order(self) -> list[list[float | None]]:
        """Number by which each cell sorts; None sorts as text, or last among numbers.

        A column sorts by number where every cell that says anything opens with one.
        """
        out: list[list[float | None]] = [[None] * len(self.columns) for _ in self.rows]
        for j in range(len(self.columns)):
            cells = [row[j] for row in self.rows]
            keys = [sort_number(cell) for cell in cells]
            said = [k for k, c in zip(keys, cells, strict=True) if not _silent(c)]
            if said and None not in said:
                for i, key in enumerate(keys):
                    out[i][j] = key
        return out


NEVER, WITHOUT_BOUND = "never", "without bound"
_SILENT = frozenset(
    (
        "",
        "-",
        NOT_KNOWN,
        "not a loss",
        "not to be met",
        "outside",
        "no shock",
        NEVER,
        WITHOUT_BOUND,
    )
)
_NUMBER = re.compile(rf"(gain )?(?:[A-Z]{{3}} )?([+\-{MINUS}]?)(\d[\d,]*(?:\.\d+)?)")


def _silent(cell: str) -> bool:
    return cell in _SILENT


def sort_number(cell: str) -> float | None:
    """Leading number of a cell as worded here; a gain is below every loss."""
    if re.match(r"\d{4}-\d\d-\d\d", cell):
        return None  # dates sort as text
    match = _NUMBER.match(cell)
    if match is None:
        return None
    value = float(match.group(3).replace(",", ""))
    negative = (match.group(2) in ("-", MINUS)) != bool(match.group(1))
    return -value if negative else value


def presets(inputs: ReportInputs) -> Table:
    """One row per shock, then what happened."""
    stress, realised = inputs.stress, inputs.realised
    after = () if inputs.stress_after is None else inputs.stress_after.results
    columns = ["Shock", "Central loss", "5-95% band", "Severe"]
    columns += ["Target central", "Target severe"] if after else []
    columns += ["Central loss, money"]
    columns += [f"Realised {day(inputs.event)}"] if realised else []
    columns += ["Distance"]
    columns += ["Rank in past"] if inputs.history is not None else []
    columns += ["Base share"]
    rows = []
    for k, r in enumerate(stress.results):
        row = [short_name(r.name), loss_text(r.loss)]
        row += [f"{loss_text(r.band[0])} to {loss_text(r.band[1])}"]
        row += [loss_text(r.severe)]
        if after:
            row += [loss_text(after[k].loss), loss_text(after[k].severe)]
        row += [loss_money(r.loss * stress.value, inputs.currency)]
        row += [loss_text(realised.book_loss)] if realised else []
        row += [number(r.distance, 1)]
        row += [rank_words(inputs, r.loss)] if inputs.history is not None else []
        row += [percent(r.base_share) if r.loss > 0 else "not a loss"]
        rows.append(row)
    note = (
        "Severe: 90th percentile of severity, worst lens, gains not counted; the "
        "measure limits use. Distance: Mahalanobis distance of the central move from "
        "the model's one-session law; a distance, not a probability. Base "
        f"share: part of the unshocked {stress.scenarios.horizon}-session "
        "scenarios that lose at least the central loss."
    )
    if inputs.history is not None:
        note += " Rank: place the central loss would take among one-session losses of "
        note += "the same weights in the past; 1 is the worst."
    if realised is not None:
        note += f" Realised: the same book on {inputs.event}, "
        note += loss_money(realised.book_loss * stress.value, inputs.currency)
        rank = rank_words(inputs, realised.book_loss)
        note += f", rank {rank}" if rank and rank != "not a loss" else ""
        note += "; information, not a target."
        then = realised_after(inputs)
        if np.isfinite(then):
            note += f" The target weights had {loss_words(then)} that day, which "
            note += "proves little: the shock's table was made knowing it."
        note += f" {realised.note}" if realised.note else ""
    return Table("presets", "Every shock", tuple(columns), rows, note)


def limits(inputs: ReportInputs) -> Table | None:
    """Every limit before and after, and its price."""
    proposal = inputs.proposal
    if proposal is None or not proposal.limits:
        return None
    rows = [
        [
            _limit_name(c.name),
            _limit(c.name, c.before),
            _limit(c.name, c.after),
            _limit(c.name, c.limit),
            "holds" if c.satisfied else "SHORT",
            "-" if c.price is None else _price(c.price),
        ]
        for c in proposal.limits
    ]
    return Table(
        "limits",
        "Limits before and after",
        ("Limit", "Before", "After", "Limit value", "After trading", "Price"),
        rows,
        "Recomputed from the rounded target. Price: objective saved per unit of "
        "relaxation (dual of the continuous problem, before rounding); a dash where "
        "the solver gives none.",
        text=(0, 4),
    )


def exposures(inputs: ReportInputs) -> Table | None:
    """Holdings whose exposure is not their own role, and where it comes from."""
    stress = inputs.stress
    if not stress.results:
        return None
    result, funds = stress.results[0], stress.looked_through()
    low, high = np.quantile(result.moves.draws, [0.05, 0.95], axis=0)
    rows = []
    for i in np.argsort(-np.abs(stress.weights), kind="stable"):
        asset, basis = stress.scenarios.assets[i], result.moves.basis[i]
        if stress.weights[i] and (asset in funds or basis.startswith("exposure")):
            row = [asset, percent(float(stress.weights[i]))]
            row += [loss_text(-float(result.moves.central[i]))]
            row += [f"{loss_text(-high[i])} to {loss_text(-low[i])}", basis]
            rows.append(row)
    if not rows:
        return None
    return Table(
        "exposures",
        "Funds, and holdings of unknown exposure",
        ("Ticker", "Weight", "Loss", "5-95% band", "Basis"),
        rows,
        f"Under {short_name(result.name)}. Estimated: weights by role from a year of "
        "returns; the error of the move is that of the weights alone.",
        text=(0, 4),
    )


def _roles_frame(inputs: ReportInputs) -> Any:
    """Weight and loss by role under each shock, funds looked through."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for r in inputs.stress.results:
        roles = by_role(inputs.stress, r.name)
        columns.setdefault("weight", {k: w for k, (w, _) in roles.items()})
        columns[f"loss:{short_name(r.name)}"] = {k: x for k, (_, x) in roles.items()}
    table = pd.DataFrame(columns).sort_index()
    return table.rename_axis("role").reset_index()


def _limit_name(name: str) -> str:
    if name.startswith("stress:"):
        return f"stress loss, {short_name(name)}"
    return label(name)


def _limit(name: str, value: float) -> str:
    if "names" in name or abs(value) > 10:
        return number(value, 0)
    return loss_text(value) if name.startswith("stress:") else percent(value)


def _price(price: float) -> str:
    if not np.isfinite(price):
        return NOT_KNOWN
    return "0 (slack)" if abs(price) < 1e-6 else f"{price:.3g}".replace("-", MINUS)


def trades(inputs: ReportInputs) -> Table | None:
    """Every trade, largest first, with its reason."""
    proposal = inputs.proposal
    if proposal is None or not proposal.trades:
        return None
    rows = []
    for t in sorted(proposal.trades, key=lambda t: -abs(t.value)):
        rows.append(
            [
                t.ticker,
                "buy" if t.value > 0 else "sell",
                number(abs(t.units), 0 if float(t.units).is_integer() else 1)
                if np.isfinite(t.units)
                else "-",
                money(abs(t.value), inputs.currency),
                percent(t.weight_before),
                percent(t.weight_after),
                _reason(t.reason),
            ]
        )
    return Table(
        "trades",
        f"{len(rows)} trades",
        ("Ticker", "Side", "Units", "Value", "Before", "After", "Reason"),
        rows,
        text=(0, 1, 6),
    )


def _reason(text: str) -> str:
    role, colon, rest = text.partition(":")
    if colon and " " not in role:
        text = f"{label(role)}:{rest}"
    return text.replace("-0.0%", "0.0%").replace("cheap-model:", "").replace("_", " ")


def runs_table(inputs: ReportInputs, runs: Sequence[Run]) -> Table | None:
    """One column per strategy, one row per figure, standard errors where known."""
    if not runs:
        return None

    def each(read: Any) -> list[str]:
        return [read(r.metrics, r) for r in runs]

    def figure(name: str, digits: int = 2, *, plain: bool = False) -> list[str]:
        show = number if plain else percent

        def read(m: Any, _: Run) -> str:
            error = m.get(f"{name}_se", np.nan)
            value = show(m.get(name, np.nan), digits)
            return with_error(value, error, show(error, digits))

        return each(read)

    rows = [
        ["Total return", *figure("total_return", 1)],
        ["Return a year, compounded", *figure("annual_return")],
        ["Mean return over cash a year", *figure("mean_excess_return", 1)],
        [f"Mean return a year less {runs[0].name}", *_gaps(runs)],
        ["Volatility a year", *figure("volatility", 1)],
        ["Sharpe ratio", *figure("sharpe", plain=True)],
        ["Worst drawdown", *figure("max_drawdown", 1)],
        [
            "from, to",
            *each(
                lambda m, _: (
                    f"{m.get('max_drawdown_peak', NOT_KNOWN)} to "
                    f"{m.get('max_drawdown_trough', NOT_KNOWN)}"
                )
            ),
        ],
        ["95% shortfall, one session", *figure("expected_shortfall_95")],
        [f"Return on {day(inputs.event)}", *each(lambda _, r: _on(r, inputs.event))],
        [
            "Turnover a year",
            *each(lambda m, _: percent(m.get("turnover_per_year", np.nan), 1)),
        ],
        [
            "Costs paid",
            *each(
                lambda _, r: (
                    f"{money(r.costs.sum(), r.currency)} "
                    f"({percent(r.costs.sum() / r.initial)} of start)"
                )
            ),
        ],
        [
            "Decisions (of which held)",
            *each(
                lambda m, _: (
                    f"{m.get('decisions', NOT_KNOWN)} ({m.get('held_decisions', 0)})"
                )
            ),
        ],
    ]
    return Table(
        "walk_forward",
        "Figures with standard errors",
        ("Figure", *(r.name for r in runs)),
        rows,
        "± is one standard error: Mertens (2002) for the Sharpe ratio over cash, "
        f"paired by date and Newey-West (1987) for the difference from {runs[0].name}. "
        f"{runs[0].dates.size:,} sessions, one path of history. Weights drift between "
        f"decisions, so a return on {day(inputs.event)} here need not be that of the "
        "book stressed above.",
        sortable=False,  # rows of different units
    )


def _gaps(runs: Sequence[Run]) -> list[str]:
    out = ["-"]
    for run in runs[1:]:
        gap, error = difference(run, runs[0])
        out.append(with_error(signed(gap, 1), error, percent(error, 1)))
    return out


def _on(run: Run, date: np.datetime64) -> str:
    at = np.flatnonzero(run.dates[1:] == date)
    return signed(float(run.returns[at[0]])) if at.size else "outside"


def seeds_table(inputs: ReportInputs, columns: Sequence[str]) -> Table | None:
    """Median and 5-95% range over seeds, by strategy and event day."""
    table = inputs.seeds
    if table is None or not columns or not len(table):
        return None
    rows = []
    groups = table.groupby(
        [table["strategy"].astype(str), table["event_day"].astype(bool)], sort=False
    )
    for key, part in groups:
        name, flag = key
        row = [str(name), "with" if flag else "without", f"{part['seed'].nunique()}"]
        for column in columns:
            values = part[column].to_numpy(np.float64)
            values = values[np.isfinite(values)]
            if not values.size:
                row.append(NOT_KNOWN)
                continue
            low, mid, high = np.quantile(values, [0.05, 0.5, 0.95])
            show = number if is_ratio(column) else percent
            digits = 2 if is_ratio(column) else 1
            row.append(
                f"{show(mid, digits)} [{show(low, digits)}, {show(high, digits)}]"
            )
        rows.append(row)
    return Table(
        "seeds",
        "Median and 5-95% range over seeds",
        ("Strategy", "Event day", "Seeds", *map(label, columns)),
        rows,
        "SYNTHETIC prices throughout this table.",
        text=(0, 1),
    )


def provenance(inputs: ReportInputs, runs: Sequence[Run]) -> Table:
    """Where every number came from."""
    scenarios = inputs.stress.scenarios
    model = scenarios.model
    facts: dict[str, object] = {
        "scenarios": f"{len(scenarios):,} over {scenarios.horizon} sessions, "
        f"{scenarios.distribution}, seed {scenarios.seed}",
        "base currency": scenarios.base_currency,
    }
    if model is not None:
        facts |= {
            "model as of": model.as_of,
            "covariance": model.estimator,
            "mean": model.mean_kind,
            "tail degrees of freedom": number(model.tail_dof, 1)
            if np.isfinite(model.tail_dof)
            else "normal",
            "window": " to ".join(str(w) for w in model.window[:2] if w is not None),
            "data hash": model.data_hash,
        }
    for r in inputs.stress.results:
        facts[f"shock {short_name(r.name)}"] = r.citation
    for result, run in zip(inputs.backtests, runs, strict=True):
        facts[f"trial {run.name}"] = result.trial_id
    facts |= {str(k): v for k, v in inputs.provenance.items()}
    rows = [[k, str(v)] for k, v in facts.items() if str(v)]
    return Table(
        "provenance",
        "Where every number comes from",
        ("Item", "Value"),
        rows,
        text=(0, 1),
    )


def frames(
    inputs: ReportInputs, runs: Sequence[Run], shown: Sequence[Table]
) -> dict[str, Any]:
    """Tables for the CSV files: numbers where there are numbers, else as shown."""
    import pandas as pd

    stress = inputs.stress
    found: dict[str, Any] = {
        t.key: pd.DataFrame(t.rows, columns=list(t.columns)) for t in shown
    }
    found["presets"] = stress.to_frame()
    if inputs.stress_after is not None:
        after = inputs.stress_after.to_frame().drop(columns=["shock", "distance"])
        found["presets"] = found["presets"].join(after.add_prefix("target_"))
    if inputs.realised is not None:
        found["presets"]["realised"] = inputs.realised.book_loss
        found["realised"] = pd.DataFrame(
            {
                "ticker": list(inputs.realised.by_asset),
                "return": [float(v) for v in inputs.realised.by_asset.values()],
            }
        )
    found["holdings"] = stress.holdings_frame()
    found["by_role"] = _roles_frame(inputs)
    if stress.results:
        roles, places, losses = role_country(inputs)
        found["role_country"] = pd.DataFrame(losses, columns=places).assign(role=roles)[
            ["role", *places]
        ]
    for by in ("country", "currency"):
        names = labels_of(inputs, stress.scenarios.assets, by)
        table = pd.DataFrame({by: names, "weight": stress.weights})
        for r in stress.results:
            table[f"loss:{short_name(r.name)}"] = r.by_asset
        table = table[table["weight"] != 0]
        found[f"by_{by}"] = table.groupby(by, sort=True).sum().reset_index()
    if inputs.proposal is not None:
        if inputs.proposal.limits:
            found["limits"] = pd.DataFrame([asdict(c) for c in inputs.proposal.limits])
        found["trades"] = inputs.proposal.to_frame()
        found["weights"] = pd.DataFrame(
            {
                "ticker": inputs.proposal.labels,
                "before": inputs.proposal.current,
                "after": inputs.proposal.target,
            }
        )
    if runs:
        found["walk_forward"] = pd.DataFrame(
            [{"strategy": r.name} | dict(r.metrics) for r in runs]
        )
        curve = {"date": runs[0].dates.astype(str)}
        curve |= {r.name: r.value for r in runs}
        found["value"] = pd.DataFrame(curve)
    if inputs.seeds is not None:
        found["seeds"] = inputs.seeds
    return found
