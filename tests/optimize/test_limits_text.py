"""Limits as text: what is read, what it stands for, and what is refused."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proposal_cases import CAP, book, random_set, solve_with

from engine import Constraints, Costs, GroupLimit, LinearLimit, Universe, propose
from engine.data.look_through import FundExposure
from engine.errors import DataError, UsageError
from engine.fund_table import FundTable
from engine.limit_text import parse_limit
from engine.linear_limits import Labels

UNIVERSE = Universe(
    ("NVDA", "TSM", "005930.KS", "BRK-B", "XLU", "Energy", "CASH:USD"),
    country=(
        "United States",
        "Taiwan",
        "South Korea",
        "United States",
        "",
        "Japan",
        "",
    ),
    region=("America", "Asia", "Asia", "America", "America", "Japan", ""),
    sector=("Tech", "Tech", "Tech", "Financials", "Utilities", "Energy", ""),
    role=("accelerator", "foundry", "memory", "none", "unknown", "power_gen", "none"),
    asset_class=("equity", "adr", "equity", "equity", "etf_equity", "equity", "cash"),
    quote_currency=("USD", "USD", "KRW", "USD", "USD", "JPY", "USD"),
)


def row(text, universe=UNIVERSE, funds=None):
    (found,) = Constraints.parse(text).rows(universe, funds)
    return found


@pytest.mark.parametrize(
    ("text", "coefficients", "low", "high"),
    [
        ("Taiwan + Korea <= 0.15", [0, 1, 1, 0, 0, 0, 0], -np.inf, 0.15),
        ("Taiwan+Korea<=15%", [0, 1, 1, 0, 0, 0, 0], -np.inf, 0.15),
        ("role:power_gen <= 0.05", [0, 0, 0, 0, 0, 1, 0], -np.inf, 0.05),
        ("NVDA <= 0.08", [1, 0, 0, 0, 0, 0, 0], -np.inf, 0.08),
        ("0.1 <= country:Japan <= 0.3", [0, 0, 0, 0, 0, 1, 0], 0.1, 0.3),
        ("0.3 >= country:Japan >= 0.1", [0, 0, 0, 0, 0, 1, 0], 0.1, 0.3),
        ("0.3 >= foundry", [0, 1, 0, 0, 0, 0, 0], -np.inf, 0.3),
        ("sector:Tech - role:foundry <= 0.2", [1, 0, 1, 0, 0, 0, 0], -np.inf, 0.2),
        ("Tech + Asia <= 1", [1, 2, 2, 0, 0, 0, 0], -np.inf, 1.0),
        ("BRK-B >= 0.01", [0, 0, 0, 1, 0, 0, 0], 0.01, np.inf),
        ("NVDA -BRK-B <= 0", [1, 0, 0, -1, 0, 0, 0], -np.inf, 0.0),
        ("Taiwan <= 2 * Korea + 0.01", [0, 1, -2, 0, 0, 0, 0], -np.inf, 0.01),
        ("005930.KS == 0.02", [0, 0, 1, 0, 0, 0, 0], 0.02, 0.02),
        ("CASH:USD <= 0.1", [0, 0, 0, 0, 0, 0, 1], -np.inf, 0.1),
        ("-0.5 * NVDA >= -1e-1", [0.5, 0, 0, 0, 0, 0, 0], -np.inf, 0.1),
        ('"BRK-B" + "country:Taiwan" ≤ 1', [0, 1, 0, 1, 0, 0, 0], -np.inf, 1.0),
        ("asset_class:adr<=0.3", [0, 1, 0, 0, 0, 0, 0], -np.inf, 0.3),
    ],
)
def test_what_a_text_stands_for(text, coefficients, low, high):
    found = row(text)
    np.testing.assert_array_equal(found.coefficients, coefficients)
    assert (found.lower, found.upper) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Taiwn <= 0.1", "unknown label; received 'Taiwn'. Did you mean Taiwan?"),
        ("nvda <= 0.1", "Did you mean NVDA?"),
        ("country:taiwan <= 0.1", "no asset has country 'taiwan'"),
        ("role:power <= 0.1", "Did you mean power_gen?"),
        ("contry:Taiwan <= 0.1", "unknown grouping; received 'contry'"),
        ("NVDA-TSM <= 0.1", "put spaces around the minus"),
        (
            "Energy <= 0.1",
            "found as ticker and as sector. Write ticker:Energy or sector",
        ),
        ("Japan <= 0.1", "found as country and as region"),
        ("Taiwan + Tiwan <= 0.1", "'Tiwan'"),
        ("Taiwan - country:Taiwan <= 0.1", "touches no asset"),
    ],
)
def test_labels_that_mean_nothing_or_several_things(text, words):
    with pytest.raises(UsageError) as caught:
        Constraints.parse([text], UNIVERSE)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot read a limit"),
        ("NVDA", "one relation"),
        ("NVDA < 0.1", "write <= or >="),
        ("NVDA =< 0.1", "Write <= for =<"),
        ("NVDA <= ", "beside each sign"),
        ("NVDA + + TSM <= 1", "beside each sign"),
        ("0.1 <= 0.2", "no label"),
        ("NVDA <= TSM <= 0.1", "number <= labels <= number"),
        ("0.1 <= NVDA >= 0.2", "number <= labels <= number"),
        ("0.3 <= NVDA <= 0.2", "crossed"),
        ("NVDA - NVDA <= 0.2", "no label"),
        ("2 * 3 * NVDA <= 1", "number * label"),
        ("NVDA <= 1e999", "too large"),
        ("__import__('os') <= x", "unknown label"),
        ("2 * turnover <= 0.1", "bounded alone"),
        ("turnover + NVDA <= 0.1", "bounded alone"),
        ("turnover >= 0.1", "bounded from above only"),
        ("minimum position <= 0.1", "bounded from below"),
        ("names <= 2.5", "whole number"),
        ("names <= -1", "whole number"),
        ("turnover <= -0.1", "must not be negative"),
        (["turnover <= 0.1", "turnover <= 0.2"], "given twice"),
        (["es:base <= 0.1", "es <= 0.2"], "limited twice"),
        (["es:x <= 0.1", "es:x <= 0.2"], "given twice"),
        (["NVDA <= 0.1", "NVDA >= 0.2"], "contradict each other"),
        (["5 <= names <= 4"], "crossed"),
        ([7], "a limit is text"),
    ],
)
def test_what_cannot_be_read(text, words):
    with pytest.raises(UsageError) as caught:
        Constraints.parse(text, UNIVERSE)
    assert words in str(caught.value)


def test_figures_of_the_whole_proposal_set_their_attribute():
    made = Constraints.parse(
        [
            "turnover <= 0.1",
            "5 <= names <= 30",
            "gross <= 1.5",
            "-0.1 <= net <= 0.9",
            "tracking error <= 4%",
            "expected_shortfall <= 0.08",
            "es:bad leg <= 0.2",
            "trades <= 12",
            "minimum position >= 0.5%",
            "liquidity <= 0.1",
            "0.01 <= cash <= 0.05",
        ],
        upper=0.2,
    )
    assert made.limits == ()
    assert made.turnover == 0.1 and made.upper == 0.2
    assert (made.min_names, made.max_names) == (5, 30)
    assert made.gross == 1.5 and made.net == (-0.1, 0.9)
    assert made.tracking_error == 0.04
    assert made.es_cap == 0.08 and made.es_caps == {"bad leg": 0.2}
    assert made.max_trades == 12 and made.minimum_position == 0.005
    assert made.liquidity == 0.1 and made.cash == (0.01, 0.05)


def test_a_label_spelt_like_a_figure_must_be_qualified():
    universe = Universe(("gross", "B"), quote_currency=("USD",) * 2)
    assert Constraints.parse("gross <= 1.5").gross == 1.5
    np.testing.assert_array_equal(
        row("ticker:gross <= 0.5", universe).coefficients, [1, 0]
    )
    with pytest.raises(UsageError, match="ambiguous"):
        Constraints.parse("gross <= 1.5", universe)


def test_limits_on_one_expression_are_intersected():
    found = row(["NVDA <= 0.3", "NVDA >= 0.1", "NVDA <= 0.2"])
    assert (found.lower, found.upper) == (0.1, 0.2)


def test_text_and_objects_give_one_proposal():
    texts = solve_with(limits=["TW <= 0.4", "A0 - A1 <= 0.02"])
    objects = solve_with(
        limits=(
            LinearLimit("TW", {"country:TW": 1.0}, upper=0.4),
            LinearLimit("A0 - A1", {"A0": 1.0, "A1": -1.0}, upper=0.02),
        )
    )
    np.testing.assert_array_equal(texts.target, objects.target)
    assert texts.target[4] + texts.target[5] <= 0.4 + 1e-6
    assert texts.target[0] - texts.target[1] <= 0.02 + 1e-6
    by_group = solve_with(groups=GroupLimit("country", "TW", upper=0.4))
    by_text = solve_with(limits="country:TW <= 0.4")
    np.testing.assert_allclose(by_group.target, by_text.target, atol=1e-6)


def test_a_linear_limit_binds_and_its_price_is_the_saving():
    free = solve_with()
    spread = free.target[0] - free.target[1]
    got = solve_with(limits=f"A0 - A1 <= {spread - 0.02}", minimum_trade=0.0)
    assert got.target[0] - got.target[1] <= spread - 0.02 + 1e-6
    check = next(c for c in got.limits if c.name == "A0 - A1")
    assert check.satisfied and check.price is not None and check.price > 0


FUNDS = FundTable(
    exposures=(
        FundExposure(
            "XLU",
            ("power_gen", "utility"),
            np.array([0.4, 0.5]),
            np.full(2, np.nan),
            "look-through",
            np.datetime64("2025-01-01"),
            "a document",
        ),
    ),
    refused=(("NVDA", "too short a history"),),
)


def test_a_fund_counts_by_what_it_holds_and_the_check_says_so():
    found = row("role:power_gen <= 0.05", funds=FUNDS)
    np.testing.assert_allclose(found.coefficients, [0, 0, 0, 0, 0.4, 1, 0])
    assert "XLU counts 40% by look-through" in found.note
    assert "NVDA counts as unknown: too short a history" in found.note
    # What no document names is unknown, and a role that only a fund holds exists.
    np.testing.assert_allclose(
        row("role:unknown <= 0.05", funds=FUNDS).coefficients[4], 0.1
    )
    np.testing.assert_allclose(
        row("utility <= 0.05", funds=FUNDS).coefficients, [0, 0, 0, 0, 0.5, 0, 0]
    )
    assert row("role:power_gen <= 0.05").note == ""
    np.testing.assert_array_equal(row("role:unknown <= 1").coefficients[4], 1.0)


def test_a_fund_counts_in_a_country_by_its_latest_document():
    from dataclasses import replace

    known = replace(
        UNIVERSE,
        look_through=(
            ("XLU", "country", "Taiwan", 0.9, "2024-01-01", "old"),
            ("XLU", "country", "Taiwan", 0.25, "2025-01-01", "new"),
            ("XLU", "country", "Brazil", 0.5, "2025-01-01", "new"),
        ),
    )
    np.testing.assert_allclose(
        row("Taiwan <= 0.1", known).coefficients, [0, 1, 0, 0, 0.25, 0, 0]
    )
    assert row("Brazil <= 0.1", known).coefficients[4] == 0.5


@settings(max_examples=60)
@given(
    factors=st.lists(
        st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3), min_size=1, max_size=5
    ),
    bound=st.floats(-1, 1),
    spaces=st.sampled_from(["", " ", "  "]),
)
def test_writing_and_reading_is_the_identity(factors, bound, spaces):
    labels = UNIVERSE.tickers[: len(factors)]
    words = f" {'+'}{spaces}".join(
        f"{f!r}{spaces}*{spaces}ticker:{k}"
        for f, k in zip(factors, labels, strict=True)
    )
    found = row(f"{words} <= {bound!r}")
    expected = np.zeros(len(UNIVERSE))
    expected[: len(factors)] = factors
    if max(factors) < 0:  # all negative reads as a bound from below on the positive
        np.testing.assert_allclose(found.coefficients, -expected)
        assert found.lower == pytest.approx(-bound) and found.upper == np.inf
    else:
        np.testing.assert_allclose(found.coefficients, expected)
        assert found.upper == pytest.approx(bound) and found.lower == -np.inf
    again = parse_limit(parse_limit(f"{words} <= {bound!r}").name + " <= 1")
    assert [k for _, k in again.terms] == [f"ticker:{k}" for k in labels]


@settings(max_examples=300)
@given(text=st.text(alphabet="AB+-*<>=:\" .0123456789e%'()", max_size=24))
def test_any_text_is_read_or_refused_with_a_typed_error(text):
    try:
        read = parse_limit(text)
    except UsageError:
        return
    assert read.lower <= read.upper and read.terms
    assert all(np.isfinite(f) and f for f, _ in read.terms)


def test_linear_limits_that_cannot_be_right():
    for bad in (
        {"coefficients": {}},
        {"coefficients": {"A0": np.nan}, "upper": 1.0},
        {"coefficients": {"A0": 1.0}},
        {"coefficients": {"A0": 1.0}, "upper": np.nan},
        {"coefficients": {"A0": 1.0}, "lower": 0.2, "upper": 0.1},
    ):
        with pytest.raises(UsageError):
            LinearLimit("x", **bad)
    with pytest.raises(UsageError, match="two different limits have one name"):
        Constraints(
            limits=(
                LinearLimit("x", {"NVDA": 1.0}, upper=1.0),
                LinearLimit("x", {"TSM": 1.0}, upper=1.0),
            )
        ).rows(UNIVERSE)


def test_constraints_travel():
    made = Constraints.parse(["A0 <= 0.3", "turnover <= 0.5", "es:base <= 0.9"])
    back = pickle.loads(pickle.dumps(made))
    assert back.turnover == 0.5 and back.es_caps == {"base": 0.9}
    np.testing.assert_array_equal(
        back.rows(random_set().universe)[0].coefficients,
        made.rows(random_set().universe)[0].coefficients,
    )


def test_expected_shortfall_of_each_leg():
    scenarios = random_set(S=400)
    bad = scenarios.returns.copy()
    bad[200:] -= 0.02
    bad[:, -1] = 0.0
    from dataclasses import replace

    legs = replace(
        scenarios,
        returns=bad,
        leg=np.repeat([0, 1], 200).astype(np.int16),
        legs=("base", "stress leg"),
    )
    w0 = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.33, 0.02])

    def worst_ten(w, rows):
        return np.sort(-(bad[rows] @ w))[::-1][:10].mean()

    caps = [0.8 * worst_ten(w0, rows) for rows in (slice(0, 200), slice(200, 400))]
    got = propose(
        book(w0),
        legs,
        Constraints(
            es_caps={"base": caps[0], "stress leg": caps[1]}, minimum_trade=0.0
        ),
        Costs(),
    )
    for cap, rows in zip(caps, (slice(0, 200), slice(200, 400)), strict=True):
        assert worst_ten(got.target, rows) <= cap + 1e-6
    names = {c.name for c in got.limits}
    assert {"expected shortfall:base", "expected shortfall:stress leg"} <= names
    with pytest.raises(UsageError, match="Did you mean stress leg"):
        propose(book(w0), legs, Constraints(es_caps={"stres leg": 0.1}), Costs())


def test_labels_of_an_empty_text_are_no_label():
    with pytest.raises(UsageError):
        Labels(UNIVERSE).find("")
    with pytest.raises((UsageError, DataError)):
        solve_with(stress_caps=CAP, groups=GroupLimit("country", "", upper=0.1))
