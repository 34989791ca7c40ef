"""Was it worth it: the page says what `judge` found, and why a part is absent."""

import html
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backtests import backtest, judge
from backtests._judgement_data import section_or_reason
from backtests.report import ReportInputs, judgement_section, write_report
from backtests.report._inputs import MINUS, number, percent, signed
from backtests.report._worth_words import sentences
from engine.data.load import load_panel
from engine.data.universe import Universe
from engine.errors import DataError
from strategies.equal import EqualWeight
from strategies.hold import Hold
from tests.backtests.report_cases import (
    EVIL,
    FORMULA,
    NAMES,
    full,
    made_parts,
    run_of,
    section,
)

PARTS = made_parts()
N = 100


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(11)
    index = pd.bdate_range("2024-06-03", periods=200, name="date")
    moves = rng.normal(0.0004, 0.015, (200, 3)) + rng.normal(0, 0.01, (200, 1))
    prices = pd.DataFrame(50 * np.exp(moves.cumsum(axis=0)), index, list("ABC"))
    made = load_panel(prices, price_basis="split_adjusted", currency="USD")
    return replace(
        made,
        volume=np.full(made.prices.shape, 1e5),
        universe=Universe(
            tuple("ABC"),
            role=("accelerator", "none", "memory"),
            country=("United States", "Japan", "Korea"),
            quote_currency=("USD",) * 3,
        ),
    )


@pytest.fixture(scope="module")
def runs(market):
    start = "2024-10-01"
    return (
        backtest(Hold({"A": 0.8, "B": 0.2}), market, start=start),
        backtest(EqualWeight(), market, start=start),
    )


@pytest.fixture(scope="module")
def shown(runs, market, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    inputs = inputs_of(runs, judgement_section(runs, market, n=N))
    text = write_report(folder / "report.html", inputs).read_text(encoding="utf-8")
    return text, folder / "report_tables"


def inputs_of(runs, judged):
    return ReportInputs("A", PARTS[False][0], backtests=runs, judgement=judged)


def cells(page, key):
    table = re.search(rf'<table id="table-{key}".*?</table>', page, re.S)
    assert table is not None, key
    rows = re.findall(r"<tr>(.*?)</tr>", table.group(0), re.S)
    return [
        [
            html.unescape(re.sub(r"<[^>]+>", "", c))
            for c in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)
        ]
        for row in rows
    ]


def words(page):
    body = re.search(r'<section id="worth">(.*?)</section>', page, re.S)
    assert body is not None
    return html.unescape(re.sub(r"<[^>]+>", " ", body.group(1)))


def test_the_figures_are_those_of_judge(shown, runs, market):
    page, folder = shown
    found = judge(runs, market, n=N).tables
    metrics = found["metrics"].set_index("strategy")
    gap = found["differences"].iloc[0]
    deflated = found["deflation"].set_index("strategy")["deflated_sharpe"]
    head, *rows = cells(page, "sharpe")
    assert head[-2:] == ["Deflated", "Years needed"]
    for row in rows:
        m = metrics.loc[row[0]]
        errors = m["sharpe"], m["sharpe_se"], m["sharpe_hac_se"]
        assert row[1:4] == [number(x) for x in errors]
        assert row[-2] == percent(deflated[row[0]], 1)
    assert rows[0][4:7] == ["-"] * 3
    assert rows[1][4].lstrip("+") == number(gap["difference"])
    assert rows[1][5] == f"{number(gap['low'])} to {number(gap['high'])}"
    assert float(rows[1][6]) == pytest.approx(gap["p_value"], abs=0.005)
    kept = pd.read_csv(folder / "sharpe.csv").set_index("strategy")
    assert kept["sharpe_hac_se"].to_numpy() == pytest.approx(
        metrics["sharpe_hac_se"].to_numpy()
    )
    assert pd.read_csv(folder / "differences.csv")["p_value"][0] == pytest.approx(
        gap["p_value"]
    )


def test_windows_and_groups_are_those_of_judge(shown, runs, market):
    page, folder = shown
    found = judge(runs, market, n=N).tables
    regimes = found["regimes"].set_index(["strategy", "window"])
    _, *rows = cells(page, "regimes")
    assert len(rows) == len(regimes) / 2 and rows[-1][1] == "other days"
    for row in rows:
        held, other = (regimes.loc[(r.name, row[0])] for r in runs)
        fall = [percent(x["worst_fall"], 1) for x in (held, other)]
        assert row[4] == f"{signed(held['return'], 1)} [{fall[0]}]"
        assert row[5] == f"{signed(other['difference'], 1)} [{fall[1]}]"
    for by in ("role", "country", "currency"):
        kept = pd.read_csv(folder / f"attribution_{by}.csv")
        total = kept.groupby("strategy")["contribution"].sum()
        for run in runs:
            gain = run.value[-1] / run.initial_value - 1
            assert total[run.name] == pytest.approx(gain, abs=1e-9)
    roles = {row[0]: row for row in cells(page, "attribution_role")[1:]}
    table = found["attribution_role"].set_index(["strategy", "role"])
    mine = table.loc[(runs[0].name, "accelerator")]
    weight = percent(mine["average_weight"], 0)
    assert roles["accelerator"][1] == f"{signed(mine['contribution'], 1)} [{weight}]"


def test_factor_holdings_and_capacity_are_those_of_judge(shown, runs, market):
    page, _ = shown
    found = judge(runs, market, n=N).tables
    for k, run in enumerate(runs):
        factor = found["ai_factor"].set_index("strategy").loc[run.name]
        row = cells(page, "ai_factor")[k + 1]
        assert row[1].startswith(number(factor["beta"]))
        assert row[3] == signed(factor["factor_return"], 1)
        assert row[4].startswith(signed(factor["rest_return"], 1))
        held = found["exposure"].set_index("strategy").loc[run.name]
        row = cells(page, "held")[k + 1]
        assert row[1] == percent(held["ai_weight"], 1)
        assert row[5] == number(held["effective_names"], 1)
        sized = found["capacity"].set_index("strategy").loc[run.name]
        row = cells(page, "capacity")[k + 1]
        assert row[2] == f"USD {sized['by_participation']:,.0f}"


def test_the_words_say_the_numbers_and_their_doubt(shown, runs):
    text = words(shown[0])
    a, b = (r.metrics() for r in runs)
    assert (
        f"({percent(b['annual_return'], 1)} against {percent(a['annual_return'], 1)})"
        in text
    )
    assert "distinguishable from luck" in text and "(p " in text
    assert f"{N:,} resamples" in text and "Counting 2 trials" in text
    assert "they hold no shock that is not in it" in text
    assert not re.search(rf"[-{MINUS}]0(?:\.0+)?(?![\d.])", text)
    assert "nan" not in text.lower().replace("finan", "") and "None" not in text


@pytest.mark.parametrize(
    ("earned", "fell", "p", "wanted"),
    [
        (0.02, -0.1, 0.001, "earned 2.0 points a year more than hold"),
        (0.02, -0.1, 0.001, "fell 10.0 points less at worst"),
        (
            0.02,
            -0.1,
            0.001,
            "is distinguishable from luck at 5%, taken alone (p 0.001)",
        ),
        (0.02, -0.1, 0.0001, "(p <0.001)"),
        (-0.02, 0.1, 0.4, "earned 2.0 points a year less than hold"),
        (-0.02, 0.1, 0.4, "fell 10.0 points more at worst"),
        (-0.02, 0.1, 0.4, "is not distinguishable from luck (p 0.40)"),
        (0.0, 0.0, 0.4, "earned about as much as hold"),
        (0.0, 0.0, 0.4, "fell about as much at worst"),
        (np.nan, 0.0, 0.4, "earned an unknown amount"),
    ],
)
def test_more_and_less_are_the_right_way_round(earned, fell, p, wanted):
    judged = section()
    metrics = judged["tables"]["metrics"].copy()
    metrics["annual_return"] = [0.1, 0.1 + earned, 0.1]
    metrics["max_drawdown"] = [0.3, 0.3 + fell, 0.3]
    gaps = judged["tables"]["differences"].assign(p_value=p)
    tables = judged["tables"] | {"metrics": metrics, "differences": gaps}
    inputs = full(PARTS)
    inputs = replace(inputs, judgement=judged | {"tables": tables})
    assert wanted in sentences(inputs)[0]


def test_names_are_escaped_and_formulas_neutral(tmp_path):
    path = write_report(tmp_path / "r.html", full(PARTS))
    page = path.read_text(encoding="utf-8")
    assert EVIL not in page
    assert any(row[0] == f"aware {EVIL}" for row in cells(page, "sharpe"))
    assert "without bound" in words(page)
    why = f"No capacity of aware {EVIL}: no trading volume is known (CHIP)."
    assert why in words(page)
    for name in ("sharpe", "regimes", "capacity", "held", "attribution_role"):
        kept = (tmp_path / "r_tables" / f"{name}.csv").read_text(encoding="utf-8")
        assert not re.search(r"(?:^|,)\"?=", kept, re.M)
    assert f"'{FORMULA} on" in (tmp_path / "r_tables" / "capacity.csv").read_text()
    assert "SYNTHETIC prices hold none of it" in words(page)


def test_one_strategy_is_set_against_nothing(runs, market, tmp_path):
    alone = runs[:1]
    inputs = inputs_of(alone, section_or_reason(alone, market, n=N))
    page = write_report(tmp_path / "r.html", inputs).read_text(encoding="utf-8")
    assert f"Only {alone[0].name} was walked forward" in words(page)
    head = cells(page, "sharpe")[0]
    assert head == ["Strategy", "Sharpe ratio", "± iid", "± HAC", "Years needed"]
    assert len(cells(page, "regimes")[0]) == 5
    assert 'id="picture-regimes"' not in page
    assert "trials" not in words(page) and "Ledoit" not in words(page)


def test_none_leaves_no_section(market, tmp_path):
    assert section_or_reason((), market) is None
    inputs = ReportInputs("A", PARTS[False][0])
    page = write_report(tmp_path / "r.html", inputs).read_text(encoding="utf-8")
    assert 'id="worth"' not in page and 'href="#worth"' not in page


def test_what_cannot_be_judged_says_why(market, tmp_path):
    short = [backtest(EqualWeight(), market, start=market.dates[-10])]
    inputs = inputs_of(short, section_or_reason(short, market))
    page = write_report(tmp_path / "r.html", inputs).read_text(encoding="utf-8")
    assert "could not be judged: too few returns to judge" in words(page)
    assert 'id="table-sharpe"' not in page


def test_without_volume_the_reason_is_said_once(runs, market, tmp_path):
    dry = replace(market, volume=None)
    inputs = inputs_of(runs, section_or_reason(runs, dry, n=N))
    page = write_report(tmp_path / "r.html", inputs).read_text(encoding="utf-8")
    names = " and ".join(r.name for r in runs)
    assert words(page).count(f"No capacity of {names}:") == 1
    assert 'id="table-capacity"' not in page


def test_a_book_of_cash_is_judged_as_far_as_it_goes(market, tmp_path):
    idle = replace(run_of(*NAMES[0]), name="cash")
    flat = np.full(idle.value.size, idle.initial_value)
    zero = np.zeros_like(idle.money)
    idle = replace(idle, value=flat, cash=flat, money=zero, units=zero)
    verdict = judge([run_of(*NAMES[1]), idle], n=N)
    assert any(n.startswith("no intervals of cash:") for n in verdict.notes)
    assert set(verdict.tables["intervals"]["strategy"]) == {NAMES[1][0]}
    assert any(n.startswith("no difference for cash:") for n in verdict.notes)


def test_a_judgement_of_others_is_refused(runs, market):
    judged = judgement_section(runs, market, n=N)
    with pytest.raises(DataError, match="not of the backtests shown"):
        inputs_of(runs[:1], judged)


def test_intervals_are_computed_once(runs, market, tmp_path, monkeypatch):
    """With the report's own number of resamples the judgement's intervals are read."""
    from backtests.report import _through_time

    own = _through_time.intervals_of(runs)
    judged = judgement_section(runs, market)

    def refuse(*_, **__):
        raise AssertionError("resampled twice")

    monkeypatch.setattr(_through_time, "metric_intervals", refuse)
    assert _through_time.intervals_of(runs, judged) == own
