"""The quality report finds planted faults and known ones; repairs leave a record."""

import json
import pickle

import numpy as np
import pytest

from engine import DataError, PricePanel, Universe, load_panel
from engine.data.actions import CorporateActions
from engine.data.adjust import raw_from_total_return, total_return
from engine.data.quality import QualityReport, check, read_accepted
from engine.data.quality_rules import CHECKS, Finding
from engine.data.repair import RepairStep, read_repairs, repair
from engine.errors import UsageError

T, N = 300, 8
DAYS = np.array(
    [
        d
        for d in np.arange("2023-01-02", "2024-06-01", dtype="datetime64[D]")
        if (d.astype(np.int64) + 3) % 7 < 5
    ][:T]
)


def clean(seed=0, *, currency="USD", basis="raw", venue="NYSE", tickers=None, **more):
    """Prices without a fault: 1% daily moves, one factor."""
    rng = np.random.default_rng(seed)
    moves = 0.004 * rng.standard_normal((T, 1)) + 0.01 * rng.standard_normal((T, N))
    names = tickers or tuple(f"S{i}" for i in range(N))
    return PricePanel(
        dates=DAYS,
        prices=100 * np.exp(np.cumsum(moves, axis=0)),
        universe=Universe(names, venue=(venue,) * N, quote_currency=(currency,) * N),
        price_basis=basis,
        base_currency=currency,
        source="planted",
        **more,
    )


def planted(change, **options):
    """Clean prices with one fault put in by ``change(prices)``."""
    base = clean(**options)
    prices = base.prices.copy()
    change(prices)
    return PricePanel(
        dates=base.dates,
        prices=prices,
        universe=base.universe,
        price_basis=base.price_basis,
        base_currency=base.base_currency,
        source=base.source,
        volume=base.volume,
    )


def split(k, ratio, column=2):
    def change(prices):
        prices[k:, column] /= ratio

    return change


def actions(kind, value, k=100, ticker="S2", currency=""):
    return CorporateActions(
        DAYS[[k]], (ticker,), (kind,), np.array([value]), currency=(currency,)
    )


def only(report, what, asset=None):
    """The single finding of a check."""
    (found,) = report.of(what, asset)
    return found


# Nothing wrong ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_clean_prices_have_no_finding(seed):
    report = check(clean(seed))
    assert report.findings == () and report.worst == "" and report.exit_status == 0
    assert report.to_frame().empty and report.counts() == {}


# Planted faults ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "severity"),
    [(2, "error"), (10, "error"), (0.1, "error"), (0.25, "error"), (1.5, "warning")],
)
def test_a_split_no_action_explains(ratio, severity):
    def change(prices):
        prices[100:, 2] = prices[100:, 2] / ratio * prices[99, 2] / prices[100, 2]

    found = only(check(planted(change)), "split_like")
    assert (found.severity, found.asset) == (severity, "S2")
    assert found.date == str(DAYS[100]) and found.value == pytest.approx(ratio)
    assert "no actions given" in found.detail
    told = only(check(planted(change), actions=CorporateActions.empty()), "split_like")
    assert "no action explains it" in told.detail


def test_ratios_are_written_as_people_do():
    def change(prices):
        prices[100:, 2] = prices[100:, 2] / 1.5 * prices[99, 2] / prices[100, 2]

    assert "3:2" in only(check(planted(change)), "split_like").detail


def test_a_recorded_split_explains_raw_prices():
    report = check(planted(split(100, 10)), actions=actions("split", 10.0))
    assert report.exit_status == 0 and not report.of("split_like")
    assert only(report, "jump").severity == "note"


@pytest.mark.parametrize("basis", ["split_adjusted", "total_return"])
def test_a_recorded_split_must_not_show_in_adjusted_prices(basis):
    panel = planted(split(100, 10), basis=basis)
    found = only(check(panel, actions=actions("split", 10.0)), "split_not_adjusted")
    assert found.severity == "error" and found.value == 10
    clear = check(clean(basis=basis), actions=actions("split", 10.0))
    assert clear.findings == ()


def test_a_small_split_left_in_adjusted_prices_is_found_below_a_jump():
    panel = planted(split(100, 1.2), basis="split_adjusted")
    report = check(panel, actions=actions("split", 1.2))
    assert only(report, "split_not_adjusted").severity == "error"


def test_a_split_that_raw_prices_do_not_show():
    report = check(clean(), actions=actions("split", 4.0))
    assert only(report, "split_without_jump").severity == "error"
    spin_off = check(clean(), actions=actions("split", 1.03))
    assert spin_off.findings == ()


def test_one_split_recorded_twice():
    twice = CorporateActions(
        DAYS[[100, 110]], ("S2", "S2"), ("split", "split"), np.array([0.1, 0.1])
    )
    found = only(check(clean(basis="total_return"), actions=twice), "repeated_split")
    assert (found.date, found.severity) == (str(DAYS[110]), "warning")


def test_a_jump_with_and_without_an_action():
    panel = planted(split(100, 1 / 1.77))
    assert only(check(panel), "jump").value == pytest.approx(0.77, abs=0.05)
    assert only(check(panel), "jump").severity == "warning"
    merged = check(panel, actions=actions("merger", 30.0))
    assert only(merged, "jump").severity == "note"
    # A small dividend explains no jump, a special one explains its fall.
    small = check(panel, actions=actions("dividend", 0.5))
    assert only(small, "jump").severity == "warning"
    fallen = planted(split(100, 1.9))
    special = actions("dividend", float(fallen.prices[99, 2]) * 0.47)
    assert only(check(fallen, actions=special), "jump").severity == "note"


def test_an_impossible_dividend():
    report = check(clean(), actions=actions("dividend", 1e4))
    assert only(report, "impossible_dividend").severity == "error"


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_change_of_unit_is_not_called_a_split(factor):
    report = check(planted(split(100, 1 / factor)))
    found = only(report, "unit_change")
    assert found.severity == "error" and found.value == pytest.approx(factor, rel=0.01)
    assert not report.of("split_like")


def test_a_bad_print_comes_back():
    def change(prices):
        prices[150, 3] *= 1.09

    found = only(check(planted(change)), "reversal", "S3")
    assert found.date == str(DAYS[150]) and found.value == pytest.approx(0.09, abs=0.03)


def test_a_step_that_overshoots_is_not_a_spike():
    def change(prices):
        prices[150:, 3] *= 1.07
        prices[151:, 3] *= 0.88

    assert not check(planted(change)).of("reversal", "S3")


def test_a_day_of_the_whole_market_is_nobodys_bad_print():
    def change(prices):
        prices[150] *= 0.93

    assert not check(planted(change)).of("reversal")


def test_gaps_stale_runs_and_thin_names():
    def change(prices):
        prices[50:53, 0] = np.nan
        prices[80:95, 1] = np.nan
        prices[100:107, 2] = prices[100, 2]
        prices[100:125, 3] = prices[100, 3]
        for t in range(1, T, 6):
            prices[t, 4] = prices[t - 1, 4]

    report = check(planted(change))
    short, long = only(report, "gap", "S0"), only(report, "gap", "S1")
    assert (short.severity, short.value, short.date) == ("warning", 3, str(DAYS[50]))
    assert (long.severity, long.value) == ("error", 15)
    assert (only(report, "stale", "S2").severity) == "warning"
    assert only(report, "stale", "S2").value == 7
    assert only(report, "stale", "S3").severity == "error"
    thin = only(report, "thin", "S4")
    assert thin.value == pytest.approx(1 / 6, abs=0.01) and thin.severity == "warning"


def test_a_week_of_equal_closes_is_stale_and_four_days_are_not():
    def change(prices):
        prices[100:105, 2] = prices[100, 2]
        prices[100:104, 3] = prices[100, 3]

    report = check(planted(change))
    assert only(report, "stale").asset == "S2" and only(report, "stale").value == 5


def test_no_price_lately_is_an_end_not_a_gap():
    def change(prices):
        prices[-3:, 1] = np.nan

    report = check(planted(change))
    assert only(report, "ended").value == 3 and not report.of("gap")


def test_assets_that_ended_do_not_make_later_dates_sparse():
    def change(prices):
        prices[150:, :5] = np.nan

    assert not check(planted(change)).of("sparse_date")


def test_a_holiday_of_the_venue_is_no_gap():
    def change(prices):
        prices[50] = np.nan

    assert check(planted(change)).findings == ()


def test_late_starters_early_ends_and_survivors():
    def change(prices):
        prices[:40, 0] = np.nan
        prices[200:, 1] = np.nan

    panel = planted(change)
    report = check(panel)
    assert only(report, "late_start", "S0").value == 40
    ended = only(report, "ended", "S1")
    assert (ended.severity, ended.date) == ("warning", str(DAYS[199]))
    gone = actions("delisting", np.nan, k=200, ticker="S1")
    assert only(check(panel, actions=gone), "ended", "S1").severity == "note"


def test_a_long_panel_without_an_end_has_survivors_only():
    days = np.arange("2015-01-02", "2020-01-01", 7, dtype="datetime64[D]")
    rng = np.random.default_rng(1)
    moves = 0.01 * rng.standard_normal((days.size, 25))
    panel = PricePanel(
        dates=days,
        prices=np.exp(np.cumsum(moves, axis=0)),
        universe=Universe(
            tuple(f"S{i}" for i in range(25)), quote_currency=("USD",) * 25
        ),
        price_basis="raw",
        base_currency="USD",
    )
    found = only(check(panel), "survivorship")
    assert found.severity == "warning" and found.asset == ""


def test_rows_outside_the_calendar():
    base = clean()
    saturday = np.flatnonzero(np.diff(DAYS) == np.timedelta64(3, "D"))[0]
    days = np.insert(DAYS, saturday + 1, DAYS[saturday] + 1)
    prices = np.insert(base.prices, saturday + 1, base.prices[saturday] * 1.001, axis=0)
    panel = PricePanel(
        dates=days,
        prices=prices,
        universe=base.universe,
        price_basis="raw",
        base_currency="USD",
    )
    found = only(check(panel), "off_calendar")
    assert found.severity == "error" and found.date == str(days[saturday + 1])
    # A calendar knows better than the weekend: Riyadh trades on Sundays.
    assert not check(panel, sessions=lambda v, d: np.ones(d.size, bool)).of(
        "off_calendar"
    )
    holiday = check(clean(), sessions=lambda v, d: d != DAYS[20])
    assert only(holiday, "off_calendar").date == str(DAYS[20])


def test_a_date_that_most_of_a_venue_lacks():
    def change(prices):
        prices[60, 2:] = np.nan

    found = only(check(planted(change)), "sparse_date")
    assert found.date == str(DAYS[60]) and found.value == pytest.approx(2 / 8)


def test_currency_surprises():
    names = ("A", "B", "C", "D", "E", "F", "SHEL.L", "7203.T")
    report = check(clean(tickers=names, venue=""))
    assert {f.asset for f in report.of("currency")} == {"SHEL.L", "7203.T"}
    assert "GBP" in only(report, "currency", "SHEL.L").detail
    venue = check(clean(venue="TSE"))
    assert len(venue.of("currency")) == N and venue.exit_status == 0
    paid = check(clean(), actions=actions("dividend", 0.1, currency="EUR"))
    assert only(paid, "currency").severity == "error"


def test_the_same_asset_twice():
    def change(prices):
        prices[:, 5] = 3 * prices[:, 1]
        wobble = 1 + 1e-4 * np.random.default_rng(2).standard_normal(T)
        prices[:, 7] = prices[:, 4] * wobble

    report = check(planted(change))
    assert only(report, "duplicate", "S1").severity == "error"
    assert "S5" in only(report, "duplicate", "S1").detail
    assert only(report, "duplicate", "S4").severity == "note"


def test_prices_without_volume():
    volume = np.full((T, N), 100.0)
    volume[10, 0] = 0
    volume[10:30, 1] = 0
    report = check(clean(volume=volume))
    assert only(report, "zero_volume", "S0").severity == "note"
    found = only(report, "zero_volume", "S1")
    assert (found.severity, found.value) == ("warning", 20)


def test_the_future_changes_no_finding_about_the_past():
    panel = planted(split(100, 10))
    parts = (panel, panel.between(None, DAYS[200]))
    whole, part = (
        {(f.asset, f.date, f.what) for f in check(p).findings} for p in parts
    )
    assert whole == part and {a for a, _, _ in whole} == {"S2"}


# The report -------------------------------------------------------------------


def test_the_report_is_a_table_and_json_and_worst_first():
    panel = planted(split(100, 10), volume=np.full((T, N), 0.0))
    report = check(panel)
    assert report.worst == "error" and report.exit_status == 1
    rank = {"error": 0, "warning": 1, "note": 2}
    order = [rank[f.severity] for f in report.findings]
    assert order == sorted(order)
    assert list(report.to_frame().columns)[:5] == [
        "severity", "asset", "date", "what", "value",
    ]  # fmt: skip
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["exit_status"] == 1 and plain["content_hash"] == panel.content_hash
    assert set(report.counts()) <= set(CHECKS)
    assert "1 errors" in repr(report)
    again = pickle.loads(pickle.dumps(report))
    assert isinstance(again, QualityReport) and isinstance(again.findings[0], Finding)
    assert "S2" in repr(again.findings[0])


def test_a_finding_without_a_number_is_null_in_json():
    names = ("A", "B", "C", "D", "E", "F", "G", "7203.T")
    report = check(clean(tickers=names, venue=""))
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["findings"][0]["value"] is None


def test_what_was_accepted_stays_as_a_note():
    def change(prices):
        prices[100:, 2] *= 2 * prices[99, 2] / prices[100, 2]

    panel = planted(change)
    assert check(panel).exit_status == 1
    report = check(panel, accepted=[("S2", DAYS[100], "split_like")])
    assert report.exit_status == 0
    assert only(report, "split_like").detail.startswith("accepted: ")


def test_accepted_findings_from_a_file(tmp_path):
    path = tmp_path / "accepted.csv"
    path.write_text("asset,date,what\nNA,2022-07-19,split_like\n,,survivorship\n")
    assert read_accepted(path) == (
        ("NA", "2022-07-19", "split_like"),
        ("", "", "survivorship"),
    )
    path.write_text("asset,date,what\nA,2022-07-19,ugly\n")
    with pytest.raises(DataError, match="no such check"):
        read_accepted(path)
    path.write_text("asset,date\nA,2022-07-19\n")
    with pytest.raises(DataError, match="need the columns"):
        read_accepted(path)
    with pytest.raises(DataError, match="cannot read"):
        read_accepted(tmp_path / "absent.csv")


# Repairs ----------------------------------------------------------------------


def test_repairs_are_named_recorded_and_complete():
    volume = np.full((T, N), 100.0)
    panel = planted(split(100, 10), volume=volume)
    mended, log = repair(
        panel,
        [
            RepairStep("scale_before", "S2", str(DAYS[100]), 0.1, "split of 10:1"),
            {
                "step": "blank_cell",
                "asset": "S3",
                "date": str(DAYS[5]),
                "reason": "bad print",
            },
            RepairStep("drop_asset", "S7", reason="not wanted"),
        ],
    )
    np.testing.assert_allclose(mended.prices[:, 2] * 10, clean().prices[:, 2])
    assert mended.volume is not None
    assert mended.volume[99, 2] == 1000 and mended.volume[100, 2] == 100
    assert np.isnan(mended.prices[5, 3]) and np.isnan(mended.volume[5, 3])
    assert "S7" not in mended.tickers and "repairs made: 3" in mended.source
    assert [e["step"] for e in log] == ["scale_before", "blank_cell", "drop_asset"]
    assert [e["cells"] for e in log] == [100, 1, T]
    assert log[0]["hash_before"] == panel.content_hash
    assert log[0]["hash_after"] == log[1]["hash_before"]
    assert log[-1]["hash_after"] == mended.content_hash
    assert log[0]["after"] == pytest.approx(log[0]["before"] / 10)
    json.dumps(log, allow_nan=False)
    assert not check(mended).of("split_like")
    assert np.array_equal(panel.prices, planted(split(100, 10)).prices)  # untouched


def test_a_repair_that_changes_nothing_is_refused():
    panel = clean()
    for step in (
        RepairStep("blank_cell", "S1", "2023-01-01", reason="a Sunday"),
        RepairStep("scale_before", "S1", str(DAYS[0]), 2.0, "before the first date"),
    ):
        with pytest.raises(DataError, match="changes nothing"):
            repair(panel, [step])
    with pytest.raises(DataError, match="no prices for this ticker"):
        repair(panel, [RepairStep("drop_asset", "S99", reason="x")])
    with pytest.raises(DataError, match="leaves nothing"):
        repair(panel.select(["S1"]), [RepairStep("drop_asset", "S1", reason="x")])
    same, log = repair(panel, [])
    assert same is panel and log == ()


@pytest.mark.parametrize(
    "entry",
    [
        {"step": "fill", "asset": "A", "reason": "x"},
        {"step": "drop_asset", "asset": "A"},
        {"step": "drop_asset", "asset": "A", "reason": " "},
        {"step": "scale_before", "asset": "A", "date": "2023-01-02", "reason": "x"},
        {"step": "drop_asset", "asset": "A", "reason": "x", "colour": 1},
        {"asset": "A"},
    ],
)
def test_a_step_must_say_what_and_why(entry):
    with pytest.raises(UsageError):
        RepairStep.from_dict(entry)


def test_repairs_from_a_file(tmp_path):
    path = tmp_path / "repairs.json"
    path.write_text('[{"step": "drop_asset", "asset": "S1", "reason": "why"}]')
    (step,) = read_repairs(path)
    assert (step.step, step.reason) == ("drop_asset", "why")
    for text in ("{", "{}", "[1]"):
        path.write_text(text)
        with pytest.raises(DataError):
            read_repairs(path)
    with pytest.raises(DataError):
        read_repairs(tmp_path / "absent.json")
    with pytest.raises(DataError, match="not a date"):
        RepairStep("blank_cell", "A", "soon", reason="x")


# Real data --------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_report(real_data):
    panel = load_panel(
        real_data / "prices_us_listed.parquet",
        price_basis="total_return",
        universe=real_data / "metadata.csv",
    )
    known = CorporateActions.read(
        real_data / "corporate_actions.csv.gz", dividend_basis="split_adjusted"
    )
    return check(panel, actions=known)


@pytest.mark.parametrize(
    ("asset", "date", "what", "value"),
    [
        ("BBAI", "2023-01-12", "jump", 2.605),
        ("LEU", "2016-03-08", "jump", 1.151),
        ("APLD", "2022-07-19", "jump", 1.0),
        ("NIO", "2018-09-13", "jump", 0.758),
        ("GSK", "2022-07-19", "reversal", 0.07),
    ],
)
def test_known_oddities_of_the_real_prices(real_report, asset, date, what, value):
    found = [f for f in real_report.of(what, asset) if f.date == date]
    assert len(found) == 1 and found[0].value == pytest.approx(value, abs=0.01)
    assert found[0].severity == "warning"


def test_thin_names_late_starters_and_survivors(real_report):
    thin = {f.asset for f in real_report.of("thin") if f.severity == "warning"}
    assert {"BIL", "SGOV", "MFG", "BKLN"} <= thin
    assert only(real_report, "thin", "BIL").value == pytest.approx(0.3148, abs=1e-3)
    late = {f.asset: f.date for f in real_report.of("late_start")}
    assert late["GEV"] == "2024-03-27" and late["ARM"] == "2023-09-14"
    assert len(late) == 58
    assert only(real_report, "survivorship").severity == "warning"


def test_the_one_error_in_the_real_prices_is_a_true_doubling(real_data, real_report):
    errors = [f for f in real_report.findings if f.severity == "error"]
    assert [(f.asset, f.date, f.what) for f in errors] == [
        ("APLD", "2022-07-19", "split_like")
    ]
    # No recorded split is left in the prices, nor any gap or row out of calendar.
    for what in ("split_not_adjusted", "gap", "off_calendar", "currency", "ended"):
        assert not real_report.of(what)


def test_closes_as_traded_show_every_recorded_split(real_data):
    known = CorporateActions.read(
        real_data / "corporate_actions.csv.gz", dividend_basis="split_adjusted"
    )
    adjusted = load_panel(
        real_data / "prices_us_listed.parquet",
        price_basis="total_return",
        universe=real_data / "metadata.csv",
    )
    named = set(known.ticker)
    adjusted = adjusted.select([t for t in adjusted.tickers if t in named])
    raw = raw_from_total_return(adjusted, known)
    report = check(raw, actions=known)
    assert report.exit_status == 0 and len(raw.tickers) == 138
    explained = [f for f in report.of("jump") if "explained by a split" in f.detail]
    assert len(explained) == 38
    np.testing.assert_allclose(
        total_return(raw, known).prices, adjusted.prices, rtol=1e-13
    )


def test_local_asian_prices(real_data):
    panel = load_panel(
        real_data / "prices_asia_local.parquet",
        price_basis="total_return",
        universe=real_data / "metadata.csv",
        base_currency="HKD",
        fx=real_data / "fx_usd_per_unit.csv.gz",
        tickers=["0700.HK", "9988.HK", "0981.HK", "1024.HK", "3690.HK"],
    )
    known = CorporateActions.read(
        real_data / "corporate_actions.csv.gz", dividend_basis="split_adjusted"
    )
    report = check(panel, actions=known)
    assert report.exit_status == 0 and not report.of("gap")
    # The vendor lists the consolidation of December 2016 twice.
    assert only(report, "repeated_split").asset == "0981.HK"
