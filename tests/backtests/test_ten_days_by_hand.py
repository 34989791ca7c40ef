"""Ten days, two currencies, a split, a dividend, a delisting: every number by hand."""

import numpy as np
import pandas as pd
from ledger_cases import TEN_BPS, Targets, check_identity, make_panel
from test_corporate_actions import actions

from backtests import backtest

NAN = float("nan")

# A in dollars splits 2 for 1 on the 4th. B in euros pays 1.00 on the 5th, of which 15%
# is withheld. C trades last on the 9th at 18 and pays 15 when it ends. Ten basis
# points a trade; cash earns 3.65% a year, one basis point a day, three over a weekend.
#         A      B (EUR)  C    dollars a euro
MARKET = [
    (100.0, 50.0, 20.0, 1.10),  # Mon 1: decide 50% A, 30% B, 10% C of 10,000
    (101.0, 51.0, 20.0, 1.10),  # Tue 2: buy 50 A, 54 B (54.5 rounded down), 50 C
    (102.0, 50.0, 21.0, 1.10),
    (52.0, 50.0, 20.0, 1.11),  # Thu 4: 100 A at 52, 51 before
    (53.0, 49.0, 19.0, 1.12),  # Fri 5: 54 x 1.00 x 1.12 x 0.85 = 51.408
    (54.0, 50.0, 18.0, 1.15),  # Mon 8
    (52.0, 51.0, 18.0, 1.15),
    (53.0, 52.0, NAN, 1.14),  # Wed 10: 50 C become 750 in cash
    (55.0, 50.0, NAN, 1.16),
    (54.0, 52.0, NAN, 1.16),
]
# price      currency  interest   dividend  costs    cash           value
LEDGER = [
    (0.00, 0.00, 0.0000000, 0.000, 0.0000, 10000.0000000, 10000.0000000),
    (0.00, 0.00, 1.0000000, 0.000, 9.0794, 912.5206000, 9991.9206000),
    (40.60, 0.00, 0.0912521, 0.000, 0.0000, 912.6118521, 10032.6118521),
    (50.00, 27.00, 0.0912612, 0.000, 0.0000, 912.7031132, 10109.7031132),
    (-9.94, 26.46, 0.0912703, 51.408, 0.0000, 964.2023836, 10177.7223836),
    (110.48, 81.00, 0.2892607, 0.000, 0.0000, 964.4916443, 10369.4916443),
    (-137.90, 0.00, 0.0964492, 0.000, 0.0000, 964.5880934, 10231.6880934),
    (12.10, -28.08, 0.0964588, 0.000, 0.0000, 1714.6845522, 10215.8045522),
    (76.88, 54.00, 0.1714685, 0.000, 0.0000, 1714.8560207, 10346.8560207),
    (25.28, 0.00, 0.1714856, 0.000, 0.0000, 1715.0275063, 10372.3075063),
]
UNITS = [
    (0, 0, 0),
    (50, 54, 50),
    (50, 54, 50),
    (100, 54, 50),
    (100, 54, 50),
    (100, 54, 50),
    (100, 54, 50),
    (100, 54, 0),
    (100, 54, 0),
    (100, 54, 0),
]


def test_every_day_of_ten_by_hand():
    dates = pd.bdate_range("2024-01-01", periods=10).to_numpy().astype("datetime64[D]")
    panel = make_panel(
        [row[:3] for row in MARKET],
        dates,
        tickers=("A", "B", "C"),
        currency=("USD", "EUR", "USD"),
        price_basis="raw",
        actions=actions(
            ("2024-01-04", "A", "split", 2.0),
            ("2024-01-05", "B", "dividend", 1.0),
            ("2024-01-09", "C", "delisting", 15.0),
        ),
        fx_currencies=("EUR",),
        fx=[row[3:] for row in MARKET],
        cash_currencies=("USD",),
        cash_rates=[[0.0365]] * 10,
    )
    rule = Targets({"2024-01-01": {"A": 0.5, "B": 0.3, "C": 0.1, "CASH:USD": 0.1}})
    r = backtest(
        rule,
        panel,
        schedule="once",
        costs=TEN_BPS,
        initial_value=10_000.0,
        withholding=0.15,
    )
    check_identity(r)
    names = ("price_pnl", "fx_pnl", "interest", "dividends", "costs", "cash", "value")
    got = np.column_stack([getattr(r, n) for n in names])
    # The table is rounded to seven places, and roundings of interest add up.
    np.testing.assert_allclose(got, LEDGER, rtol=0, atol=2e-7)
    np.testing.assert_array_equal(r.units, UNITS)
    assert not r.taxes.any()
    assert [(f.ticker, f.status, f.cost) for f in r.fills[-1:]] == [
        ("C", "delisting", 0.0)
    ]
