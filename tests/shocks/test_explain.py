"""Moves in words, and price-earnings ratios before and after."""

import pickle
import re

import numpy as np
import pytest

from engine import CheapModelShock, DataError, UsageError
from engine.shocks import ShockMoves
from tests.shocks.roles_world import companies


def explained(role, share=None, **arguments):
    universe = companies((role,), None if share is None else (share,))
    return CheapModelShock(**arguments).moves(universe).explain(f"{role}0")


def test_a_seller_of_compute_by_link():
    """dlnH = -0.1844: demand -16.8%; 80% of revenue: -13.5%; .865^1.76 = .775."""
    text = explained("network", 0.80)
    assert text.startswith("network0 -21.9% (5-95% band ")
    for words in (
        "80% of revenue follows AI capital spending",
        "a model 20 times cheaper, believed to 50%, is a log surprise of 0.92",
        "compute demand falls 16.8% and revenue with it 13.5%",
        "Pass-through 1.1 and operating leverage 1.6",
        "earnings gap of -22.5%",
        "opens over 3 years: present value ratio 0.969",
        "By link, compounding: compute demand -21.9%",
    ):
        assert words in text, words
    assert "Severity" not in text and "month" not in text


def test_numbers_in_words_are_those_of_the_moves():
    moves = CheapModelShock("substitution", severity=1.3).moves(companies())
    for i, asset in enumerate(moves.assets):
        found = re.match(
            rf"{asset} ([+-]?[\d.]+)% \(5-95% band ([+-]?[\d.]+)% to ([+-]?[\d.]+)%\)",
            moves.explain(asset),
        )
        assert found, moves.explain(asset)
        low, high = np.quantile(moves.draws[:, i], [0.05, 0.95])
        for text, value in zip(
            found.groups(), (moves.central[i], low, high), strict=True
        ):
            assert float(text) == pytest.approx(100 * value, abs=0.0501)


@pytest.mark.parametrize(
    ("role", "arguments", "words"),
    [
        ("network", {"preset": "jevons"}, "compute demand rises 20.3%"),
        ("network", {"capex_cut": 0.2}, "20% of announced capital plans is cut"),
        (
            "accelerator",
            {"previous_generation_share": 0.3},
            "30% of that demand moves to older processors at 40% of the price, which "
            "takes another 18.0% of AI revenue",
        ),
        (
            "accelerator",
            {"training_cost_before": 100e6, "training_cost_after": 5e6},
            "20 times cheaper (USD 100m to 5m of training)",
        ),
        ("neocloud", {"open_source_share": 0.6}, "erode by 0.110 per unit"),
        ("neocloud", {"open_source_share": 0.6}, "60% of model demand on open weights"),
        ("software", {}, "Cheaper models help adoption: 0.025 per unit"),
        ("overseas_efficient", {"overseas_rerating": 0.1}, "re-rates it by +10.5%"),
        ("network", {"severity": 2.0}, "Severity 2 multiplies the log move"),
        ("network", {"horizon": "month"}, "after a month: 83% of the event's log move"),
        ("network", {"horizon": "next_day"}, "by the next close: 80%"),
        (
            "software",
            {"preset": "substitution_persistent"},
            "re-rates it by -76.3%",
        ),
        (
            "network",
            {"preset": "substitution_persistent"},
            "log fall times 4, with no rebound",
        ),
        (
            "overseas_efficient",
            {"horizon": "persistent"},
            "a rise is kept as it is",
        ),
        ("none", {}, "role none: no AI exposure stated"),
        ("unknown", {}, "By link, compounding: replay or band"),
        (
            "hyperscaler",
            {"kappa": 0.5, "ai_capex": {"hyperscaler0": 0.02}, "capex_cut": 0.2},
            "spends 2.0% of its market value a year on AI and keeps 50% of what it "
            "saves: +0.5%",
        ),
    ],
)
def test_each_dial_has_a_sentence(role, arguments, words):
    assert words in explained(role, **arguments)


def test_an_asset_without_a_move_is_named():
    moves = CheapModelShock().moves(companies(("network",)))
    with pytest.raises(DataError, match=r"no move of this asset.*NVDA.*network0"):
        moves.explain("NVDA")


def test_a_shock_without_a_chain_is_explained_by_its_parts():
    moves = ShockMoves(
        assets=("A",),
        central=np.array([-0.1]),
        draws=np.full((4, 1), -0.1),
        driver=np.zeros(4),
        basis=("own return on 27 January 2025",),
        parts={"replay": np.log1p([-0.1])},
    )
    assert moves.explain("A") == (
        "A -10.0% (5-95% band -10.0% to -10.0%): own return on 27 January 2025. "
        "By link, compounding: replay -10.0%."
    )
    assert np.isnan(moves.earnings_gap).all()
    assert np.isnan(moves.price_earnings({"A": 20})["after_gap"]).all()


# Price-earnings ratios --------------------------------------------------------


def test_the_ratio_compresses_at_once_and_recovers_as_earnings_fall():
    """ln price = 1.76 L ln R, ln earnings = 1.76 ln R: the ratio ends at R^-0.0543."""
    moves = CheapModelShock().moves(companies(("network",), (0.8,)))
    row = moves.price_earnings({"network0": 40.0}).loc["network0"]
    s = 0.5 * np.log(20) - 0.25 * np.log(10)
    revenue = np.log(1 - 0.8 + 0.8 * np.exp(-0.2 * s))
    L = 0.9691699
    assert row["at_once"] == pytest.approx(40 * np.exp(1.76 * L * revenue), rel=1e-6)
    assert row["after_gap"] == pytest.approx(
        40 * np.exp(1.76 * (L - 1) * revenue), rel=1e-6
    )
    assert row["earnings_change"] == pytest.approx(np.expm1(1.76 * revenue), rel=1e-6)
    assert row["at_once"] < row["before"] < row["after_gap"]


def test_fees_and_severity_are_in_earnings_and_a_new_multiple_is_not():
    universe = companies(("hyperscaler", "overseas_efficient"))
    shock = CheapModelShock(severity=2.0, overseas_rerating=0.1)
    s = shock.cost_surprise
    gap = shock.moves(universe).earnings_gap
    np.testing.assert_allclose(gap, [2 * (0.01 - 0.02) * s, 2 * 0.02 * s], rtol=1e-12)
    # The rebound is a price; the persistent version is in earnings too.
    month = shock.with_horizon("month").moves(universe).earnings_gap
    np.testing.assert_allclose(month, gap)
    deep = shock.with_horizon("persistent").moves(universe).earnings_gap
    np.testing.assert_allclose(deep, gap * [4, 1])


def test_earnings_and_prices_give_the_same_ratio():
    moves = CheapModelShock().moves(companies(("network", "unknown")))
    a = moves.price_earnings({"network0": 25.0}, basis="forward")
    b = moves.price_earnings(
        earnings={"network0": 4.0}, prices={"network0": 100.0}, basis="forward"
    )
    assert a.equals(b) and a.loc["network0", "basis"] == "forward"
    # An unknown exposure says nothing of earnings.
    other = moves.price_earnings({"unknown1": 10.0}).loc["unknown1"]
    assert np.isnan(other["after_gap"]) and other["at_once"] < 10.0
    assert moves.price_earnings({}).empty


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, UsageError, "price-earnings ratios, or earnings and prices"),
        ({"earnings": {"network0": 1.0}}, UsageError, "earnings with prices"),
        (
            {"pe": {"network0": 9.0}, "prices": {"network0": 1.0}},
            UsageError,
            "expected pe alone",
        ),
        ({"pe": {"network0": 9.0}, "basis": "cyclical"}, UsageError, "trailing, f"),
        ({"pe": {"network0": -9.0}}, DataError, "above zero.*network0.*-9.0"),
        ({"pe": {"network0": np.nan}}, DataError, "above zero"),
        ({"pe": {"network0": "dear"}}, DataError, "received 'dear'"),
        ({"pe": {"X": 9.0}}, DataError, "no move of this asset.*X"),
        (
            {"earnings": {"network0": 0.0}, "prices": {"network0": 1.0}},
            DataError,
            "earnings must be above zero",
        ),
        (
            {"earnings": {"network0": 1.0}, "prices": {}},
            DataError,
            "earnings without a price.*network0",
        ),
    ],
)
def test_ratios_that_cannot_be_formed(arguments, error, words):
    moves = CheapModelShock().moves(companies(("network",)))
    with pytest.raises(error, match=words):
        moves.price_earnings(**arguments)


def test_explanations_survive_pickling():
    moves = CheapModelShock(training_cost_after=4e6).moves(companies())
    again = pickle.loads(pickle.dumps(moves))
    assert again.explain("network4") == moves.explain("network4")
    assert not again.earnings_gap.flags.writeable
