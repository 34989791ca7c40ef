"""Real funds as of 24 January 2025: direction and magnitude only, nothing tuned.

Roles are the shipped dated ones; names whose AI role has no date are left out, so no
hindsight is admitted. Bounds are what anyone knows of these funds, set wide.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from engine import CheapModelShock, fit, load_panel
from engine.data.exposures import read_exposures
from engine.data.roles import INFRASTRUCTURE
from engine.data.universe import universe_from
from engine.errors import ModelError
from engine.funds import style_weights

DATE = "2025-01-24"
FUNDS = ("SMH", "XLK", "XLU", "SPY", "QQQ", "EWT", "EWJ", "EFA")
SECTOR_FUND = "XLE"
SEMIS = ("accelerator", "semicap", "memory", "foundry")


@pytest.fixture(scope="module")
def panel(real_data):
    table = pd.read_csv(real_data / "metadata.csv")
    table = table[
        (table["panel"] == "prices_us_listed")
        & (table["first_date"] < "2023-06-01")
        & (table["last_date"] > DATE)
        & (
            table["asset_class"].isin(("equity", "adr"))
            | table["ticker"].isin((*FUNDS, SECTOR_FUND))
        )
    ]
    universe = universe_from(table).with_exposures(read_exposures())
    dated = [
        t
        for t, role, day in zip(
            universe.tickers, universe.role, universe.role_known_from, strict=True
        )
        if role in ("none", "unknown") or not np.isnat(day)
    ]
    return load_panel(
        real_data / "prices_us_listed.parquet",
        dated,
        "2023-06-01",
        "2025-02-28",
        universe=universe,
        price_basis="total_return",
    )


@pytest.fixture(scope="module", params=["weekly", "daily"])
def found(panel, request):
    view = panel.as_of(DATE)
    return {f: style_weights(view, f, step=request.param) for f in FUNDS}


def test_each_fund_is_what_it_is_known_to_be(found):
    smh, xlu, spy, ewt = (found[f] for f in ("SMH", "XLU", "SPY", "EWT"))
    assert smh.weight(*SEMIS) - 2 * smh.error(*SEMIS) > 0.5
    assert smh.weight(*SEMIS) > 0.7
    assert xlu.weight("utility", "power_gen", "none") > 0.7
    assert xlu.weight("utility", "power_gen") > 0.5
    assert spy.weight("none") > 0.5 > spy.weight(*INFRASTRUCTURE)
    assert max(ewt.labels, key=ewt.weight) == "foundry" and ewt.weight("foundry") > 0.25
    assert found["EWJ"].weight("none:Japan") > 0.4


def test_every_estimate_carries_its_error_and_date(found):
    for fund, e in found.items():
        assert e.method == "estimated" and str(e.known_from) == DATE
        assert e.weights.sum() == pytest.approx(1.0)
        assert 0.6 < e.r_squared < 1.0 and 0 < e.residual_volatility < 0.03
        assert np.isfinite(e.standard_errors).all()
        assert (e.standard_errors < 0.2).all()
        assert not {t for g in e.members for t in g} & set(FUNDS), fund


def test_the_day_itself_changes_nothing(panel, found):
    """Truncation: prices of 27 January and later do not enter."""
    rows = panel.dates > np.datetime64(DATE)
    prices = panel.prices.copy()
    prices[rows] *= 3.0
    bad = replace(panel, prices=prices, content_hash="")
    step = "daily" if found["SMH"].sessions == 1 else "weekly"
    for market, end in ((bad, DATE), (bad.as_of(DATE), None)):
        again = style_weights(market, "SMH", step=step, end=end)
        assert np.array_equal(again.weights, found["SMH"].weights)
        assert np.array_equal(again.draws, found["SMH"].draws)


@pytest.fixture(scope="module")
def model(panel):
    """As of the Friday, with nothing but what was known then."""
    names = [t for t in panel.tickers if t in (*FUNDS, SECTOR_FUND, "NVDA", "VRT")]
    return fit(panel.as_of(DATE), tickers=names, window=252)


def test_funds_reach_the_shock_by_what_they_hold(model):
    """Sane facts of the Friday before; 27 January is not looked at."""
    moves = CheapModelShock().moves(model.universe, model)
    held = {f: model.funds.get(f) for f in FUNDS}
    for i, asset in enumerate(moves.assets):
        print(f"{asset}: {moves.central[i]:.2%}, {moves.basis[i]}")
    assert all(e is not None and str(e.known_from) == DATE for e in held.values())
    assert held["SMH"].weight(*SEMIS) > 0.8
    assert held["EFA"].weight(*INFRASTRUCTURE) < 0.2
    assert held["XLK"].weight(*INFRASTRUCTURE) > held["SPY"].weight(*INFRASTRUCTURE)
    assert 0.2 < held["XLK"].weight(*SEMIS) < 0.6
    assert max(held["EWT"].labels, key=held["EWT"].weight) == "foundry"
    x = dict(zip(moves.assets, moves.central, strict=True))
    assert x["NVDA"] < x["SMH"] < x["XLK"] < x["SPY"] < x["EFA"] < 0
    for asset, text in zip(moves.assets, moves.basis, strict=True):
        if asset in FUNDS:
            assert text.startswith("estimated: R2 0.") and f"to {DATE}" in text
    splits = moves.through
    assert set(splits) == {*FUNDS, SECTOR_FUND}
    for fund, split in splits.items():
        assert sum(c for _, c in split.values()) == pytest.approx(x[fund])


def test_the_error_of_the_weights_is_small_beside_the_severity(model):
    moves = CheapModelShock().moves(model.universe, model)
    i = moves.assets.index("SMH")
    sure = replace(held := model.funds.get("SMH"), draws=np.empty((0, 0)))
    exact = replace(model, funds=replace(model.funds, exposures=(sure,)))
    certain = CheapModelShock().moves(model.universe, exact).draws[:, i]
    assert held.error(*SEMIS) < 0.1
    assert certain.std() < moves.draws[:, i].std() < 1.1 * certain.std()


def test_the_worst_lens_never_flatters_a_fund(model):
    shock = CheapModelShock()
    structural = shock.moves(model.universe, model)
    worst = shock.with_lens("worst").moves(model.universe, model)
    assert (worst.central <= structural.central + 1e-15).all()


def test_a_sector_fund_needs_baskets_by_sector(panel):
    """Oil is not the average company: refused by country, followed by sector."""
    view = panel.as_of(DATE)
    with pytest.raises(ModelError, match="XLE"):
        style_weights(view, SECTOR_FUND)
    oil = style_weights(view, SECTOR_FUND, remainder="sector")
    assert oil.weight("none:Energy") > 0.6 and oil.r_squared > 0.7
    assert oil.weight(*INFRASTRUCTURE) < 0.3
