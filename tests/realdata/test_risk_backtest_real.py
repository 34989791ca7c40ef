"""Models of risk on real prices: a short version of the model-checking table."""

import pytest

from engine import load_panel
from engine.risk import backtest

CHOSEN = ("historical", "normal", "filtered_ewma", "filtered_garch")


@pytest.mark.parametrize("tickers", [("SPY",), ("NVDA", "AVGO", "ANET", "ETN")])
def test_a_year_of_stress_tells_the_models_apart(real_data, tickers):
    panel = load_panel(
        real_data / "prices_us_listed.parquet",
        list(tickers),
        universe=real_data / "metadata.csv",
        price_basis="total_return",
    )
    found = backtest(
        panel,
        dict.fromkeys(tickers, 1 / len(tickers)),
        models=CHOSEN,
        start="2019-06-03",
        end="2020-12-31",
    )
    assert len(found.dates) == 401 and not found.excluded.size
    table = found.table().set_index("model")
    # March 2020: a constant normal law is far too short, a filter is not.
    assert table.loc["normal", "exceptions"] > 2.5 * table.loc["normal", "expected"]
    assert not table.loc["normal", "survives"]
    assert table.loc["normal", "score"] > table.loc["filtered_garch", "score"]
    assert table.loc["filtered_garch", "kupiec_p"] > table.loc["normal", "kupiec_p"]
