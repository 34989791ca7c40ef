"""The validation: metrics against peers, no look-ahead, and the figures as measured."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score

from backtests.report import read_validation
from backtests.report._validation import common_scores, roles_table, verdict
from backtests.validation import load_prices, validate, write_page
from backtests.validation._predictors import baselines, fit_line, same_day
from backtests.validation._validate import EVENT, metrics

MOVE = st.integers(-400, 400).map(lambda k: k / 1000)


@pytest.fixture(scope="module")
def panel(real_data):
    return load_prices(
        [
            real_data / "prices_us_listed.parquet",
            real_data / "prices_asia_local.parquet",
        ],
        universe=real_data / "metadata.csv",
    )


@pytest.fixture(scope="module")
def result(panel):
    return validate(panel)


def test_metrics_against_scipy_and_sklearn():
    rng = np.random.default_rng(0)
    y, x = rng.normal(-0.02, 0.05, (2, 80))
    found = metrics(y, x)
    assert found["r2"] == pytest.approx(r2_score(y, x))
    assert found["mae"] == pytest.approx(mean_absolute_error(y, x))
    assert found["spearman"] == pytest.approx(spearmanr(x, y).statistic)
    up = np.mean(x[y > 0] > 0)
    down = np.mean(x[y < 0] < 0)
    assert found["balanced_hits"] == pytest.approx((up + down) / 2)


@given(st.lists(st.tuples(MOVE, MOVE), min_size=5, max_size=30, unique=True))
def test_metrics_ignore_order_and_rank_ignores_scale(pairs):
    y, x = np.array(pairs).T
    if np.ptp(y) < 1e-3 or np.ptp(x) < 1e-3 or not y.any():
        return
    one, two = metrics(y, x), metrics(y[::-1], x[::-1])
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert metrics(y, 2 * x)["spearman"] == pytest.approx(one["spearman"])
    assert metrics(y, y)["r2"] == 1.0
    assert metrics(y, -x)["spearman"] == pytest.approx(-one["spearman"])


def test_everything_falls_scores_a_half():
    y = np.array([-0.1, -0.2, -0.3, 0.01])
    assert metrics(y, np.full(4, -0.1))["balanced_hits"] == 0.5
    assert metrics(y, np.zeros(4))["balanced_hits"] == 0.0


def test_fit_and_role_mean_by_hand():
    X = np.array([[1.0], [2.0], [3.0], [np.nan]])
    y = np.array([3.0, 5.0, 7.0, 9.0])
    np.testing.assert_allclose(fit_line(X, y, X), [3, 5, 7, np.nan])
    found = same_day(("a", "a", "a", "b"), np.array([1.0, 2.0, 6.0, 4.0]))
    np.testing.assert_allclose(found.values, [4.0, 3.5, 1.5, np.nan])


def test_figures_as_measured(result):
    """To rounding; the aims of 0.75, 0.55 and 5.5 points are missed, 70% is met."""
    flat = result.table.loc["structural, flat"]
    assert flat["n"] == 155
    assert set(result.dropped) == {"SNDK", "CRWV"}
    assert flat["spearman"] == pytest.approx(0.672, abs=6e-4)
    assert flat["r2"] == pytest.approx(0.183, abs=6e-4)
    assert flat["mae"] == pytest.approx(0.061, abs=6e-4)
    assert flat["balanced_hits"] == pytest.approx(0.779, abs=6e-4)
    assert sum("NOT met" in w for w in result.words()) == 3
    assert result.percentile() > 0.99
    assert result.late["2330.TW"] == "2025-02-03"
    assert (result.risers()["realised"] > 0).all()
    assert len(result.risers()) == (result.realised > 0).sum()


def test_no_coefficient_sees_the_day(panel, result):
    """Prices after 24 January may be anything: no prediction without the day moves."""
    prices = panel.prices.copy()
    later = panel.dates > np.datetime64("2025-01-24")
    prices[later] *= np.random.default_rng(1).uniform(0.5, 2.0, prices[later].shape)
    corrupted = replace(panel, prices=prices, content_hash="")
    returns = dict(zip(result.names, result.realised, strict=True))
    returns["SPY"] = -0.0141
    one, two = (
        baselines(
            p.between("2021-11-01", None).as_of(
                "2025-01-24", hindsight_parameters=True
            ),
            result.names,
            returns,
        )
        for p in (panel, corrupted)
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
    again = validate(corrupted)
    for a, b in zip(result.predictors[:4], again.predictors[:4], strict=True):
        np.testing.assert_array_equal(a.values, b.values)


def test_page_stands_alone(result, tmp_path):
    text = write_page(tmp_path / "v.html", result).read_text()
    assert "meets 1 of 4 aims" in text and "NOT met" in text
    assert "<svg" in text and "width=device-width" in text
    assert "http://" not in text.replace("http://www.w3.org", "")
    for ticker in result.risers()["asset"]:
        assert ticker in text
    assert EVENT in text
    assert isinstance(result.table, pd.DataFrame)


def test_no_table_of_the_page_is_wider_than_the_page(result, tmp_path):
    """At most eight columns, each in a container that scrolls, named cell by cell."""
    text = write_page(tmp_path / "v.html", result).read_text()
    tables = re.findall(r"<table>.*?</table>", text, flags=re.S)
    assert len(tables) == text.count("<div class='scroll'><table>") == 9
    for table in tables:
        head = re.findall(r"<th [^>]*>([^<]*)", table)
        assert 3 < len(head) <= 8
        first = table[table.index("<tbody>") :]
        assert re.findall(r'data-label="([^"]*)"', first)[: len(head)] == head


def test_the_json_beside_the_page_is_what_a_report_reads(result, tmp_path):
    write_page(tmp_path / "v.html", result)
    from_file, direct = read_validation(tmp_path), read_validation(result)
    assert verdict(from_file) == verdict(direct)
    assert common_scores(from_file) == common_scores(direct)
    assert roles_table(from_file) == roles_table(direct)
    assert from_file.names == len(from_file.by_name) == 155
    realised = {row["asset"]: row["realised"] for row in from_file.by_name}
    assert realised["NVDA"] == pytest.approx(-0.1697, abs=5e-5)
    best = max(result.common["r2"].items(), key=lambda pair: pair[1])[0]
    assert any(f"{best} is best by" in line for line in verdict(direct))
