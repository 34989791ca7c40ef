"""What objects show of themselves in a notebook: escaped, finite, complete."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import engine
from engine import _display as show

EVIL = "<script>alert(1)</script>"


def svg(text: str) -> ET.Element:
    """The picture as XML: it must be well formed."""
    return ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])


def rects(picture: ET.Element) -> list[ET.Element]:
    return picture.findall("{http://www.w3.org/2000/svg}rect")


def test_bars_are_proportional_and_ordered():
    picture = svg(show.bars({"a": 0.02, "b": -0.04, "c": 0.0, "d": 0.01}, "Losses"))
    widths = [float(r.attrib["width"]) for r in rects(picture)]
    assert len(widths) == 3  # zero has no bar
    np.testing.assert_allclose(
        np.array(widths) / widths[0], [1.0, 0.5, 0.25], atol=2e-3
    )
    assert picture.attrib["aria-label"] == "Losses"


def test_bars_sum_what_they_leave_out():
    values = {f"n{i}": 0.01 * (20 - i) for i in range(20)}
    text = show.bars(values, "Many", rows=5)
    assert "16 others" in text
    rest = sum(sorted(values.values())[:16])
    assert f"{rest:.2%}" in text


def test_bars_stay_inside_the_picture():
    for values in ({"a": 1e-9, "b": -1.0}, {"a": 5.0}, {"a": -0.3, "b": -0.1}):
        for rect in rects(svg(show.bars(values, "x"))):
            left = float(rect.attrib["x"])
            assert 0 <= left <= left + float(rect.attrib["width"]) <= 620


def test_text_of_others_is_escaped():
    assert EVIL not in show.bars({EVIL: 1.0}, EVIL)
    assert EVIL not in show.paragraph(EVIL) + show.small(EVIL) + show.warnings([EVIL])


def test_line_keeps_extremes_of_long_series():
    y = np.sin(np.linspace(0, 20, 5000))
    y[3333] = 7.0
    text = show.line(y, "Value", first="2016", last="2025")
    [drawn] = svg(text).findall("{http://www.w3.org/2000/svg}polyline")
    points = drawn.attrib["points"]
    heights = [float(p.split(",")[1]) for p in points.split()]
    assert len(heights) < 1000
    assert min(heights) == pytest.approx(24.0)
    assert ">7<" in text


def test_line_refuses_what_cannot_be_drawn():
    assert show.line([1.0], "x", first="", last="") == ""
    assert show.line([1.0, np.nan], "x", first="", last="") == ""


@pytest.fixture(scope="module")
def shown():
    panel = engine.load_panel("reference", start="2023-01-02")
    tickers = ["NVDA", "VST", "AVGO", "JPM", "EFA", "TLT"]
    weights = {"NVDA": 0.5, "VST": 0.3, "CASH:USD": 0.2}
    book = engine.Portfolio.from_weights(weights, 1e6, "USD")
    model = engine.fit(panel, tickers=tickers)
    scenarios = engine.simulate(model, 2000, horizon=21, seed=1)
    shock = engine.CheapModelShock()
    priced = book.priced(panel)
    report = engine.stress(priced, scenarios, shock)
    limits = engine.Constraints(upper=0.6, stress_caps=(engine.StressCap(shock, 0.15),))
    proposal = engine.propose(priced, scenarios, limits, engine.Costs(), market=panel)
    return {
        "unpriced": book,
        "book": priced,
        "model": model,
        "scenarios": scenarios,
        "report": report,
        "proposal": proposal,
    }


@pytest.mark.parametrize("name", ["book", "report", "proposal"])
def test_charts_of_objects_are_well_formed(shown, name):
    assert svg(shown[name]._repr_html_()).attrib["role"] == "img"


@pytest.mark.parametrize(
    "name", ["unpriced", "book", "model", "scenarios", "report", "proposal"]
)
def test_objects_say_what_they_are(shown, name):
    text = shown[name]._repr_html_()
    assert type(shown[name]).__name__ in text
    if name in ("report", "proposal"):
        assert "SYNTHETIC" in text


def test_report_completes_its_shocks(shown):
    report = shown["report"]
    assert report._ipython_key_completions_() == [r.name for r in report.results]


def test_short_histories_are_left_out_only_when_asked():
    panel = engine.load_panel("reference")
    tickers = ["NVDA", "GEV", "JPM"]
    with pytest.raises(engine.DataError, match="GEV"):
        engine.fit(panel, tickers=tickers)
    model = engine.fit(panel, tickers=tickers, short_history="exclude")
    assert model.assets == ("NVDA", "JPM")
    assert any("GEV (first price 2024-03-27)" in n for n in model.notes)
    same = engine.fit(panel, tickers=["NVDA", "JPM"], short_history="exclude")
    assert not any("left out" in n for n in same.notes)
    np.testing.assert_array_equal(model.covariance, same.covariance)


def test_short_history_errors():
    panel = engine.load_panel("reference")
    with pytest.raises(engine.UsageError, match="short histories"):
        engine.fit(panel, short_history="drop")  # type: ignore[arg-type]
    with pytest.raises(engine.DataError, match="GEV"):
        engine.fit(panel, tickers=["GEV"], short_history="exclude")


def test_progress_is_a_callable_of_ones_own_a_bar_or_nothing(capsys):
    from engine._progress import reporter

    def mine(done, total, message):
        """Count."""

    assert reporter(mine, "x") is mine
    assert reporter(None, "x") is None and reporter(False, "x") is None
    show = reporter(True, "sweep")
    assert show is not None
    show(1, 2, "first")
    show(2, 2, "second")
    assert "sweep: 100%" in capsys.readouterr().err


def test_a_bar_changes_no_result():
    from backtests import backtest
    from strategies import EqualWeight

    panel = engine.load_panel("reference", ["NVDA", "JPM"], start="2025-01-02")
    quiet, shown = (backtest(EqualWeight(), panel, progress=p) for p in (None, True))
    np.testing.assert_array_equal(quiet.value, shown.value)
    text = quiet._repr_html_()
    assert "SYNTHETIC" in text and quiet.trial_id in text
    assert svg(text).attrib["aria-label"].startswith("Value")
