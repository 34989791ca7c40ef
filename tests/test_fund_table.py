"""What funds hold as of a date: documents, estimates, and the words for neither."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fund_market import TRUE, make

from engine import DataError, Universe, UsageError, fit, load_panel
from engine.data.look_through import read_look_through
from engine.errors import ModelError
from engine.fund_table import FundTable, fund_table
from engine.funds import style_weights

COLUMNS = ["fund", "kind", "label", "weight", "known_from", "document"]
ROWS = [
    ("F", "role", "accelerator", 0.55, "2024-03-01", "sheet of February"),
    ("F", "role", "none", 0.35, "2024-03-01", "sheet of February"),
    ("FOF", "ticker", "acc0", 0.30, "2024-03-01", "holdings file"),
    ("FOF", "ticker", "pow1", 0.10, "2024-03-01", "holdings file"),
    ("FOF", "ticker", "MYST", 0.20, "2024-03-01", "holdings file"),
    ("BOND", "role", "neocloud", 1.0, "2024-03-01", "a joke"),
    ("OTHER", "role", "none", 1.0, "2024-03-01", "not in this market"),
]


@pytest.fixture(scope="module")
def panel():
    return make(7)


@pytest.fixture
def rows():
    return pd.DataFrame(ROWS, columns=COLUMNS)


def with_documents(panel, table):
    universe = panel.universe.with_look_through(read_look_through(table))
    return replace(panel, universe=universe)


def same(a, b):
    one = [(e.fund, e.labels, e.method, e.document, e.members) for e in a.exposures]
    two = [(e.fund, e.labels, e.method, e.document, e.members) for e in b.exposures]
    bits = all(
        x.weights.tobytes() == y.weights.tobytes()
        and x.draws.tobytes() == y.draws.tobytes()
        for x, y in zip(a.exposures, b.exposures, strict=True)
    )
    shares = a.companies.ai_share.tobytes() == b.companies.ai_share.tobytes()
    return one == two and a.refused == b.refused and bits and shares


def test_funds_are_estimated_where_no_document_is_known(panel):
    found = fund_table(panel, panel.tickers)
    assert [e.fund for e in found.exposures] == ["F", "FOF"]
    expected = style_weights(panel, "F", step="daily", draws=100)
    np.testing.assert_array_equal(found.get("F").weights, expected.weights)
    np.testing.assert_array_equal(found.get("F").draws, expected.draws)
    assert found.get("acc0") is None and found.get("BOND") is None
    assert found.refused == ()
    # Companies of the AI roles travel along, those of role none do not move.
    assert {r for r in found.companies.role} == {"accelerator", "power_gen", "software"}
    assert "2 estimated" in repr(found)
    frame = found.to_frame()
    assert set(frame["fund"]) == {"F", "FOF"} and (frame["weight"] > 0).all()


def test_markets_of_other_hours_are_read_weekly(panel):
    venue = ("TSE",) + ("NYSE",) * (len(panel.tickers) - 1)
    abroad = replace(panel, universe=replace(panel.universe, venue=venue))
    assert fund_table(abroad, ["F"]).get("F").sessions == 5
    assert fund_table(panel, ["F"]).get("F").sessions == 1


def test_a_document_beats_an_estimate_from_its_date_and_not_before(panel, rows):
    documented = with_documents(panel, rows)
    day = np.datetime64("2024-03-01")
    before = fund_table(documented.as_of(day - 1), ["F"], method="bands")
    assert before.get("F") is None and len(before) == 0
    view = documented.as_of(day)
    found = fund_table(view, panel.tickers, method="bands")
    assert found.get("F").method == "look-through"
    assert found.get("F").weight("accelerator") == 0.55
    assert found.get("F").document == "sheet of February"
    # The companies of the role stand for it.
    k = found.get("F").labels.index("accelerator")
    assert found.get("F").members[k] == ("acc0", "acc1", "acc2", "acc3")
    assert fund_table(documented, ["F"]).get("F").method == "look-through"


def test_holdings_keep_their_own_weights(panel, rows):
    found = fund_table(with_documents(panel, rows), ["FOF"]).get("FOF")
    held = dict(zip(found.labels, found.members, strict=True))
    parts = dict(zip(found.labels, found.member_weights, strict=True))
    assert held == {
        "accelerator": ("acc0",),
        "power_gen": ("pow1",),
        "unknown": ("MYST",),
    }
    assert parts["accelerator"] == (0.30,) and parts["unknown"] == (0.20,)


def test_hindsight_is_for_parameters_not_for_documents(panel, rows):
    later = rows.assign(known_from="2030-01-02")
    universe = panel.universe.with_look_through(read_look_through(later))
    assert universe.known_at(panel.dates[-1], hindsight=True).look_through == ()
    view = replace(panel, universe=universe).as_of(
        panel.dates[-1], hindsight_parameters=True
    )
    assert fund_table(view, ["F"]).get("F").method == "estimated"
    assert fund_table(view, ["F"], look_through=rows).get("F").method == "look-through"


def test_documents_stay_with_their_funds(panel, rows, tmp_path):
    path = tmp_path / "funds.csv"
    rows.to_csv(path, index=False)
    universe = with_documents(panel, rows).universe
    assert {r[0] for r in universe.look_through} == {"F", "FOF", "BOND"}
    assert {r[0] for r in universe.select(["F", "acc0"]).look_through} == {"F"}
    again = pickle.loads(pickle.dumps(universe))
    assert again.look_through == universe.look_through
    frame = pd.DataFrame({"date": ["2024-01-02", "2024-01-03"], "F": [1.0, 1.1]})
    loaded = load_panel(
        frame.set_index("date"),
        price_basis="total_return",
        currency="USD",
        look_through=path,
    )
    assert {r[2] for r in loaded.universe.look_through} == {"accelerator", "none"}


def test_bands_switch_the_estimate_off(panel):
    assert len(fund_table(panel, panel.tickers, method="bands")) == 0
    with pytest.raises(UsageError, match=r"treatment of funds.*'guess'.*estimated, ba"):
        fund_table(panel, ["F"], method="guess")


def test_why_a_fund_is_not_looked_through(panel):
    def why(changed, fund="F"):
        found = fund_table(changed, [fund])
        assert len(found) == 0
        return found.reason(fund)

    prices = panel.prices.copy()
    prices[:100, panel.index("F")] = np.nan
    short = replace(panel, prices=prices, content_hash="")
    assert "too short a history" in why(short) and "200 prices" in why(short)
    prices = panel.prices.copy()
    prices[:, panel.index("F")] = 1e4 / prices[:, panel.index("F")]
    inverse = replace(panel, prices=prices, content_hash="")
    assert "do not follow this fund" in why(inverse) and "R2 -" in why(inverse)
    assert "leveraged" in why(make(7, leverage=2.0))
    kinds = list(panel.universe.asset_class)
    kinds[panel.index("F")] = "etf_alternative"
    other = replace(
        panel, universe=replace(panel.universe, asset_class=tuple(kinds), role=())
    )
    assert why(other) == "not an equity fund (asset class etf_alternative)"
    bare = panel.select([t for t in panel.tickers if not t.startswith(("acc", "pow"))])
    bare = bare.select([t for t in bare.tickers if not t.startswith("sof")])
    assert "no company with an AI role" in why(bare)


def test_roles_are_those_of_the_shock_undated_ones_included(panel):
    """Whether undated roles may be used at all is for the strategy to refuse."""
    known = panel.universe.role_known_from
    undated = replace(panel.universe, role_known_from=np.full_like(known, "NaT"))
    bare = replace(panel, universe=undated)
    assert same(
        fund_table(bare.as_of(panel.dates[-1]), ["F"]), fund_table(panel, ["F"])
    )
    late = known.copy()
    late[[r == "power_gen" for r in panel.universe.role]] = panel.dates[-1] + 1
    later = replace(panel, universe=replace(panel.universe, role_known_from=late))
    assert "power_gen" not in fund_table(later, ["F"]).get("F").labels


def test_a_sector_fund_falls_back_to_baskets_by_sector():
    """Half of a country rises when the other half falls: only its sectors tell."""
    market = make(11)
    u, names = market.universe, np.array(market.tickers)
    oil = np.array([n in ("nonJ0", "nonJ1", "nonU0", "nonU1") for n in names])
    rest = np.array([n.startswith("non") for n in names]) & ~oil
    common = 0.02 * np.random.default_rng(0).standard_normal(len(market.dates))
    prices = market.prices * np.exp(np.cumsum(np.outer(common, 1.0 * oil - rest), 0))
    prices[:, market.index("F")] = prices[:, oil].mean(axis=1)
    market = replace(
        market,
        prices=prices,
        universe=replace(
            u,
            sector=tuple("Energy" if i else "Health" for i in oil),
            country=("United States",) * len(u),
        ),
        content_hash="",
    )
    with pytest.raises(ModelError, match="do not follow"):
        style_weights(market, "F", step="daily")
    assert fund_table(market, ["F"]).get("F").weight("none:Energy") > 0.9


def test_the_future_changes_nothing(panel, rows):
    """Prices, roles and documents of later dates: the table is the same to the bit."""
    t = panel.dates[-30]
    late = rows.assign(known_from=str(panel.dates[-29]))
    whole = fund_table(with_documents(panel, late).as_of(t), panel.tickers)
    prices = panel.prices.copy()
    prices[-29:] *= np.exp(np.random.default_rng(0).standard_normal((29, 1)))
    known = panel.universe.role_known_from.copy()
    later = replace(
        panel,
        prices=prices,
        universe=replace(panel.universe, role_known_from=known),
        content_hash="",
    )
    changed = late.assign(weight=late["weight"] / 3, label=late["label"][::-1].values)
    changed.loc[changed["kind"] == "role", "label"] = "neocloud"
    changed = changed.drop_duplicates(["fund", "kind", "label"])
    for other in (later, with_documents(later, changed), panel.between(None, t)):
        assert same(whole, fund_table(other.as_of(t), panel.tickers))
    assert all(e.known_from <= t for e in whole.exposures)
    assert not same(whole, fund_table(later, panel.tickers))


def test_the_model_carries_the_table_and_survives_pickling(panel, rows):
    names = ["F", "BOND", "acc0", "nonJ0"]
    model = fit(panel, tickers=names, window=100)
    # Baskets come from all companies of the market, not only from those modelled.
    assert same(model.funds, fund_table(panel, names))
    assert len(model.funds.get("F").members[0]) == 4
    again = pickle.loads(pickle.dumps(model))
    assert same(again.funds, model.funds)
    assert not again.funds.get("F").draws.flags.writeable
    assert len(fit(panel, tickers=names, window=100, funds="bands").funds) == 0
    given = fit(panel, tickers=names, window=100, look_through=rows).funds
    assert given.get("F").method == "look-through"
    assert given.get("BOND") is None  # a documented zero stays one
    with pytest.raises(DataError, match="unknown AI role"):
        fit(
            panel,
            tickers=names,
            window=100,
            look_through=rows.replace("accelerator", "gpu"),
        )
    assert FundTable().get("F") is None and FundTable().reason("F") == ""


def test_a_stated_role_needs_no_estimate_and_a_document_replaces_it(panel, rows):
    role = list(panel.universe.role)
    role[panel.index("F")] = "accelerator"
    stated = replace(panel, universe=replace(panel.universe, role=tuple(role)))
    assert fund_table(stated, ["F"]).get("F") is None
    assert fund_table(stated, ["F"], look_through=rows).get("F") is not None


def test_estimates_recover_the_mix(panel):
    found = fund_table(panel, ["F"]).get("F")
    for label, weight in TRUE.items():
        assert found.weight(label) == pytest.approx(
            weight, abs=3 * found.error(label) + 1e-3
        )


def test_a_universe_of_no_assets_can_be_chosen():
    assert len(Universe(("A",)).select([])) == 0
