"""Figures, warnings and order of tables of a report, against numbers made by hand."""

import csv
import re
from dataclasses import replace

import matplotlib.style
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests.report import ReportInputs, write_report
from backtests.report._inputs import MINUS, loss_text, money, percent
from backtests.report._losses import role_country, waterfall
from backtests.report._runs import dated
from backtests.report._style import PALETTE, drawing, themed, thinned
from backtests.report._tables import Table, sort_number
from backtests.report._through_time import SHOWN, exposures, intervals_of
from backtests.report._warnings import css_string, flags, warnings_of
from engine import CheapModelShock, Portfolio, simulate, stress
from tests.backtests.report_cases import BOOK, DATES, EVIL, full, made_parts, run_of


@pytest.fixture(scope="module")
def parts():
    return made_parts()


@pytest.fixture(scope="module")
def written(parts, tmp_path_factory):
    """A whole report with a stamp that tries to leave its place."""
    stamps = ('X"} </style><script>alert(2)</script>: by hand',)
    folder = tmp_path_factory.mktemp("figures")
    return write_report(folder / "r.html", full(parts, stamps=stamps))


def loss_of(text):
    value = float(re.sub(r"[^\d.]", "", text.removesuffix(".")))
    return -value if "gain" in text else value


# Order of tables --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("9.46%", 9.46),
        ("gain 10.61%", -10.61),
        (f"{MINUS}3.8% ± 4.7%", -3.8),
        ("+1.2%", 1.2),
        ("USD 94,609", 94609.0),
        ("gain USD 106,096", -106096.0),
        ("2 of 2,088", 2.0),
        ("0 (slack)", 0.0),
        ("2024-01-02 to 2024-02-03", None),
        ("n/a", None),
        ("buy", None),
        ("3M", 3.0),
        (EVIL, None),
    ],
)
def test_a_cell_sorts_by_the_number_it_opens_with(cell, wanted):
    assert sort_number(cell) == wanted


def test_a_column_of_names_and_numbers_sorts_as_text():
    table = Table("t", "T", ("a", "b"), [["3M", "1.00%"], ["AMD", "n/a"]])
    assert table.order() == [[None, 1.0], [None, None]]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8))
def test_the_order_is_that_of_the_numbers_worded(values):
    for show in (loss_text, percent, lambda v: money(v, "USD")):
        keys = [sort_number(show(v)) for v in values]
        order = sorted(range(len(values)), key=lambda i: values[i])
        ranked = [keys[i] for i in order]
        assert ranked == sorted(ranked)  # equal where they print the same


# Theme ------------------------------------------------------------------------------


def test_a_colour_outside_the_palette_is_refused():
    assert themed('style="fill: #222222"') == 'style="fill: var(--f-ink)"'
    with pytest.raises(ValueError, match="#123456"):
        themed('style="stroke: #123456"')


def test_no_picture_keeps_a_colour_of_its_own(written):
    page = written.read_text()
    names = {v[0] for v in PALETTE.values()}
    assert len(names) == len(PALETTE)
    for picture in re.findall(r"<svg.*?</svg>", page, re.S):
        assert not re.search(r"(?:fill|stroke|color): ?#", picture)
        assert set(re.findall(r"var\(--f-([a-z]+)\)", picture)) <= names
        words = re.search(r'aria-describedby="([^"]+)"', picture)
        assert words is not None
        listed = re.search(rf'<ul id="{words.group(1)}">(.*?)</ul>', page, re.S)
        assert listed is not None and "<li>" in listed.group(1)
    for block, column in (("@media screen and (prefers-color", 2), (":root", 1)):
        rules = page[page.index(block) :]
        for name, *values in PALETTE.values():
            assert f"--f-{name}: {values[column - 1]};" in rules


def test_thinning_keeps_ends_and_extremes():
    x = np.cumsum(np.random.default_rng(0).standard_normal(5000))
    at = thinned(x, 400)
    assert at.size <= 402 and at[0] == 0 and at[-1] == 4999
    assert (np.diff(at) > 0).all()
    assert {int(x.argmin()), int(x.argmax())} <= set(at.tolist())
    assert thinned(x[:300], 400).tolist() == list(range(300))


def test_the_readers_own_plot_settings_do_not_enter(parts, tmp_path):
    inputs = ReportInputs("A", parts[False][0])
    first = write_report(tmp_path / "a.html", inputs).read_bytes()
    with matplotlib.style.context("dark_background"):
        matplotlib.rcParams["font.size"] = 31
        second = write_report(tmp_path / "b.html", inputs).read_bytes()
        assert matplotlib.rcParams["font.size"] == 31
    assert first == second


# Losses -----------------------------------------------------------------------------


def test_the_map_of_roles_and_countries_sums_to_the_loss(parts):
    now = parts[True][0]
    roles, places, table = role_country(ReportInputs("A", now))
    assert np.nansum(table) == pytest.approx(now.results[0].loss)
    i, j = roles.index("accelerator"), places.index("United States")
    chip = now.scenarios.assets.index("CHIP")
    assert table[i, j] == pytest.approx(now.results[0].by_asset[chip])
    assert np.isnan(table[i, places.index("Taiwan")])


def test_the_waterfall_ends_at_the_loss_of_the_book(parts):
    now = parts[True][0]
    with drawing():
        picture = waterfall(ReportInputs("A", now))
    assert picture is not None
    sums = [
        loss_of(line.split(", ")[-1].removesuffix(" so far.")) for line in picture.words
    ]
    assert sums[-1] == pytest.approx(100 * now.results[0].loss, abs=0.005)
    sizes = [loss_of(line.split(": ")[-1].split(", ")[0]) for line in picture.words]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == pytest.approx(sums[-1], abs=0.005 * len(sizes))


# Through time -----------------------------------------------------------------------


def test_exposures_are_the_weights_of_the_roles(parts):
    chip = run_of("chips", 1, 0.0)
    half = replace(
        run_of("half", 1, 0.0), money=0.5 * chip.value[:, None], cash=0.5 * chip.value
    )
    late = replace(
        chip,
        name="late",
        money=np.where(np.arange(DATES.size)[:, None] < 2, 0.0, chip.money),
        cash=np.where(np.arange(DATES.size) < 2, chip.value, 0.0),
    )
    found = exposures(full(parts, backtests=[chip, half, late]))
    assert [f.name for f in found] == ["chips", "half", "late"]
    assert found[0].families == ("chips",)
    assert found[0].theme == pytest.approx(1.0)
    assert found[1].families == ("chips", "cash")
    assert found[1].theme == pytest.approx(0.5)
    assert found[1].weights.sum(axis=1) == pytest.approx(1.0)
    assert found[2].dates[0] == DATES[2]


def test_intervals_hold_the_record_and_short_records_have_none():
    runs = [run_of("a", 1, 0.001), run_of("b", 2, 0.0)]
    found = intervals_of(runs)
    for one in found:
        assert set(one) == set(SHOWN)
        assert one["volatility"].low < one["volatility"].estimate
        assert one["volatility"].estimate < one["volatility"].high
    short = [replace_dates(r, 40) for r in runs]
    assert intervals_of(short) == []
    assert intervals_of([]) == []
    # A book of cash alone has no ratio to resample.
    flat = replace(runs[0], value=np.full(DATES.size, 1e6))
    assert intervals_of([flat]) == []


def replace_dates(run, n):
    fields = {
        name: getattr(run, name)[:n]
        for name in run.__dataclass_fields__
        if isinstance(getattr(run, name), np.ndarray)
    }
    return replace(run, **fields)


def test_a_generated_path_is_not_dated_by_history(parts):
    from backtests.report._inputs import read_run

    synthetic = full(parts)
    runs = [read_run(r) for r in synthetic.backtests]
    marks = dated(synthetic, runs)
    low = int(np.argmax(runs[0].drawdown))
    assert [m[1] for m in marks] == [DATES[low]]
    assert marks[0][0] < marks[0][1] and "hold" in marks[0][2]
    years = np.arange("2019-01-01", "2019-05-01", dtype="datetime64[D]")
    real = full(parts, synthetic=False)
    long = [r._replace(dates=np.linspace(0, 1600, DATES.size).astype("timedelta64[D]")
            + years[0]) for r in runs]  # fmt: skip
    assert [m[2] for m in dated(real, long)] == ["COVID-19", "rise of interest rates"]


# Warnings ---------------------------------------------------------------------------


def stressed(parts, **changes):
    now = parts[False][0]
    model = replace(now.scenarios.model, **changes)
    book = Portfolio.from_weights(BOOK, 1e6, "USD")
    scenarios = simulate(model, 300, horizon=5, seed=1)
    return stress(book, scenarios, [CheapModelShock()], hindsight_parameters=True)


def test_few_scenarios_are_said_at_the_top_and_beside_the_figures(parts):
    few = ReportInputs("A", stressed(parts))
    assert ("FEW SCENARIOS", "the 300 scenarios count as 300; tails and shortfall are "
            "rough.") in warnings_of(few)  # fmt: skip
    assert any("FEW SCENARIOS" in line for line in flags(few, "plausibility"))
    assert flags(few, "walk") == ()
    enough = ReportInputs("A", parts[False][0])
    assert "FEW SCENARIOS" not in dict(warnings_of(enough))


def test_a_reweighting_that_rests_on_few_scenarios_is_named(parts):
    now = parts[False][0]
    thin = replace(now.results[1], effective_share=0.05)
    inputs = ReportInputs("A", replace(now, results=(now.results[0], thin)))
    said = dict(warnings_of(inputs))["FEW SCENARIOS"]
    assert thin.name in said and "100" in said and "5.0%" in said


def test_stale_prices_are_said(parts):
    def window(last):
        day = np.datetime64(last)
        return ReportInputs("A", stressed(parts, window=(day - 500, day, 400)))

    said = dict(warnings_of(window("2025-01-10")))
    assert "of 2025-01-10, 14 days before 2025-01-24" in said["STALE PRICES"]
    assert "STALE PRICES" not in dict(warnings_of(window("2025-01-17")))


def test_survivorship_stands_beside_every_picture_of_the_past(written):
    page = written.read_text()
    assert "SURVIVORSHIP" in page[: page.index('<section id="summary">')]
    for key in ("walk", "around", "exposure", "costs", "intervals"):
        figure = re.search(rf'<figure id="picture-{key}">.*?<svg', page, re.S)
        assert figure is not None and "SURVIVORSHIP" in figure.group()
    assert "@bottom-left" in page and "SURVIVORSHIP" in page[: page.index("</style>")]


def test_a_warning_on_paper_cannot_leave_its_string():
    hostile = '";} </style><script>alert(1)</script> \\ é\n'
    text = css_string(hostile)
    assert re.fullmatch(r'"(?:[A-Za-z0-9 ]|\\[0-9a-f]+ )*"', text)
    back = re.sub(r"\\([0-9a-f]+) ", lambda m: chr(int(m.group(1), 16)), text[1:-1])
    assert back == hostile


def test_a_hostile_stamp_stays_text_everywhere(written):
    page = written.read_text()
    assert page.count("<script") == 1 and page.count("</style>") == 1
    folder = written.parent / "r_tables"
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    assert not re.match(r"[=@\t\r]|[+-](?!\d|\.|inf)", cell), path
    assert {"intervals", "exposure", "role_country"} <= {
        p.stem for p in folder.glob("*.csv")
    }
