"""Conditional shocks on the law of 24 January 2025 against the closes of the 27th."""

import numpy as np
import pytest

from engine import fit, load_panel
from engine.shocks import conditional, conditional_law
from engine.shocks._conditional import AI_BASKET

TEN = ("NVDA", "AVGO", "MSFT", "AAPL", "META", "VST", "ANET", "VRT", "ORCL", "TSM")
OTHERS = (
    "AMD", "MRVL", "MU", "CIEN", "COHR", "ETN", "CEG", "SMCI", "DELL", "AMAT", "LRCX",
    "ASML", "AMZN", "GOOGL", "CRM", "NOW", "JPM", "JNJ", "PG", "WMT", "XOM", "DUK",
)  # fmt: skip


@pytest.fixture(scope="module")
def market(real_data):
    panel = load_panel(
        real_data / "prices_us_listed.parquet",
        [*TEN, *OTHERS],
        "2023-06-01",
        "2025-01-27",
        universe=real_data / "metadata.csv",
        price_basis="total_return",
    )
    frame = panel.to_frame()
    realised = frame.loc["2025-01-27"] / frame.loc["2025-01-24"] - 1
    view = panel.as_of("2025-01-24")
    model = fit(view, covariance="sample", window=250, hindsight_parameters=True)
    return model, realised, frame.loc[:"2025-01-24"]


def test_the_ten_name_shock_has_the_published_distance(market):
    """Methods 2.4: 12.5 with a 250-day covariance, of simple returns."""
    frame, realised = market[2][list(TEN)], market[1][list(TEN)].to_numpy()
    X = frame.pct_change().iloc[1:].to_numpy()[-250:]
    S = np.cov(X.T)
    law = conditional_law(X.mean(axis=0), S, np.eye(10), realised)
    assert law.distance == pytest.approx(12.5, abs=0.1)


def test_the_basket_explains_more_of_the_day_than_nvda_alone(market):
    model, realised, _ = market
    y = realised[list(model.assets)].to_numpy()

    def explained(moves, without):
        x = conditional(moves).moves(model.universe, model).central
        keep = np.array([a not in without for a in model.assets])
        error = ((y - x)[keep] ** 2).sum()
        return 1 - error / ((y[keep] - y[keep].mean()) ** 2).sum(), (x - y)[keep].mean()

    with pytest.warns(UserWarning, match="NVDA alone"):
        alone, gap = explained({"NVDA": float(realised["NVDA"])}, ("NVDA",))
    nineteen = [
        a
        for a, r in zip(model.assets, model.universe.role, strict=True)
        if r not in ("none", "unknown", "hyperscaler", "software", "device", "utility")
    ]
    basket = float(np.expm1(np.log1p(realised[nineteen]).mean()))
    whole, _ = explained({AI_BASKET: basket}, ())
    assert gap > 0.02  # two points and more too mild on average
    assert whole > alone + 0.15
