"""Prices of limits against re-solving, and what a proposal says in words."""

import numpy as np
import pytest
from proposal_cases import W0, Fixed, book, random_set, solve_with

from engine import (
    Constraints,
    Costs,
    GroupLimit,
    Portfolio,
    Proposal,
    StressCap,
    propose,
)

H = 1e-4
OPEN = {"minimum_trade": 0.0, "cash": (0.0, 0.06)}
SEVERITIES = np.linspace(0.2, 1.8, 2001)[:, None] * np.array(
    [0.0, -0.02, -0.05, -0.1, -0.2, -0.3, 0.0]
)


def value(proposal):
    return sum(proposal.objective_parts.values())


def solved(objective="cost_and_active_risk", **limits):
    return solve_with(Costs(half_spread_bps=20.0), objective, **(OPEN | limits))


CASES = {
    "stress:fixed": lambda x: {
        "stress_caps": StressCap(
            Fixed([0.0, -0.02, -0.05, -0.1, -0.2, -0.3, 0.0]), 0.11 + x, "central"
        )
    },
    "expected shortfall": lambda x: {"stress_caps": (), "es_cap": 0.09 + x},
    "country:TW": lambda x: {
        "stress_caps": (),
        "groups": GroupLimit("country", "TW", upper=0.4 + x),
    },
    "country:US (least)": lambda x: {
        "stress_caps": (),
        "groups": GroupLimit("country", "US", lower=0.5 - x),
    },
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "objective", ["cost_and_active_risk", "minimum_cost", "minimum_variance"]
)
def test_a_price_is_what_relaxing_the_limit_saves(name, objective):
    before, here, after = (
        value(solved(objective, **CASES[name](x))) for x in (-H, 0.0, H)
    )
    found = solved(objective, **CASES[name](0.0))
    price = found.prices[name]
    assert here == pytest.approx(value(found))
    # A piecewise-linear value has a price on either side; the dual is between them.
    steeper, flatter = (before - here) / H, (here - after) / H
    slack = 2e-2 * abs(steeper) + 2e-4
    assert flatter - slack <= price <= steeper + slack
    check = next(c for c in found.limits if c.name == name)
    assert check.price == price


@pytest.mark.parametrize(
    ("name", "limit", "objective"),
    [
        ("turnover", 0.05, "cost_and_active_risk"),
        ("tracking_error", 0.03, "minimum_cost"),
    ],
)
def test_turnover_and_tracking_error_have_prices_too(name, limit, objective):
    """Towards an equal-weight benchmark: as far as turnover, or error, allows."""

    def at(limit):
        return propose(
            book(W0),
            random_set(),
            Constraints(minimum_trade=0.0, cash=(0.0, 1.0), **{name: limit}),
            Costs(half_spread_bps=20.0),
            benchmark={f"A{i}": 1 / 6 for i in range(6)},
            objective=objective,
            active_risk_aversion=10.0,
        )

    low, mid, high = (at(limit + x) for x in (-H, 0.0, H))
    slope = (value(low) - value(high)) / (2 * H)
    assert slope > 1e-3
    assert mid.prices[name.replace("_", " ")] == pytest.approx(slope, rel=2e-2)


def test_the_price_of_a_quantile_cap_is_close_to_the_slope():
    """The hyperplane is the mean of severities near the quantile: 5% is its error."""
    shock = Fixed(SEVERITIES)

    def at(limit):
        return solved(stress_caps=StressCap(shock, limit, 0.9))

    h = 2e-3
    slope = (value(at(0.14 - h)) - value(at(0.14 + h))) / (2 * h)
    assert at(0.14).prices["stress:fixed"] == pytest.approx(slope, rel=5e-2)


def test_a_limit_that_does_not_bind_has_no_price():
    found = solved(turnover=0.9, es_cap=0.9)
    frame = found.prices_frame().set_index("limit")
    assert frame.loc["turnover", "price"] == 0.0
    assert frame.loc["expected shortfall", "bp_per_point"] == 0.0
    assert frame.loc["stress:fixed", "price"] > 1e-4
    assert frame.index[0] in found.prices
    assert not any("turnover saves" in s for s in found.sentences())


def test_standard_errors_are_those_of_the_severity_quantile():
    shock = Fixed(SEVERITIES)
    found = solved(stress_caps=StressCap(shock, 0.14, 0.9))
    losses = -(shock.draws @ W0)  # scenarios have mean zero
    rng = np.random.default_rng(0)
    boot = [
        np.quantile(rng.choice(losses, losses.size), 0.9, method="inverted_cdf")
        for _ in range(4000)
    ]
    # 4,000 resamples give a standard deviation to 1.1%.
    assert found.stress_error_before["fixed"] == pytest.approx(np.std(boot), rel=0.04)
    ratio = found.stress_after["fixed"] / found.stress_before["fixed"]
    assert found.stress_error_after["fixed"] == pytest.approx(
        ratio * found.stress_error_before["fixed"], rel=1e-6
    )
    central = solved()
    assert central.stress_error_before == {"fixed": 0.0}
    few = solved(stress_caps=StressCap(Fixed(SEVERITIES[::100]), 0.14, 0.9))
    assert few.stress_error_before == {}


def test_sentences_carry_the_numbers():
    found = solved("minimum_cost")
    price = found.prices["stress:fixed"]
    text = "\n".join(found.sentences())
    assert (
        f"One more point of permitted loss under fixed saves {price * 100:.2g} bp of "
        "cost." in text
    )
    each = (found.stress_before["fixed"] - found.stress_after["fixed"]) / found.turnover
    assert found.loss_per_turnover == {"fixed": pytest.approx(each)}
    assert f"each point of turnover avoids {each:.2f} points" in text
    assert found.to_dict()["sentences"] == list(found.sentences())
    quiet = solved(stress_caps=())
    assert quiet.sentences() == ("No limit has a price: none of them binds.",)
    assert quiet.loss_per_turnover == {}


def test_a_rule_has_neither_prices_nor_sentences():
    start = Portfolio.from_weights({"A0": 1.0}, 1.0, "USD")
    found = Proposal.from_weights(start, {"A0": 0.4, "CASH:USD": 0.6})
    assert found.sentences() == () and found.prices_frame().empty


def test_parts_of_the_objective_are_its_terms():
    found = solved()
    X = random_set().returns
    active = (found.target - W0) * (1.0 - found.cost)
    X = X - X.mean(axis=0)
    assert found.objective_parts["cost"] == pytest.approx(found.cost, abs=1e-8)
    assert found.objective_parts["active risk"] == pytest.approx(
        (X @ active).var() * 12, rel=1e-3
    )


# Reasons ----------------------------------------------------------------------


def reasons_of(proposal):
    """Of sales and purchases above what solvers leave."""
    return {t.ticker: t.reason for t in proposal.trades if t.value < -10.0}, {
        t.ticker: t.reason for t in proposal.trades if t.value > 10.0
    }


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("objective", ["cost_and_active_risk", "minimum_cost"])
def test_a_sale_names_a_limit_that_has_a_price_and_that_it_relieves(seed, objective):
    rng = np.random.default_rng(seed)
    w0 = np.r_[rng.dirichlet(np.ones(6)) * 0.95, 0.05]
    losses = -rng.uniform(0.0, 0.4, (2, 6))
    shocks = [Fixed(np.r_[x, 0.0], name=f"s{k}") for k, x in enumerate(losses)]
    caps = tuple(
        StressCap(s, 0.85 * float(-s.draws[0] @ w0), "central") for s in shocks
    )
    found = propose(
        book(w0),
        random_set(seed, country=("US",) * 4 + ("TW", "TW", "")),
        Constraints(stress_caps=caps, minimum_trade=1e-6),
        Costs(half_spread_bps=20.0),
        objective=objective,
    )
    sales, purchases = reasons_of(found)
    prices = found.prices
    bought = np.maximum(found.target - w0, 0.0)
    bought /= bought.sum()
    for ticker, reason in sales.items():
        named = [k for k in ("s0", "s1") if f"under {k};" in reason]
        assert len(named) == 1
        k = int(named[0][1])
        i = int(ticker[1])
        assert prices[f"stress:{named[0]}"] > 1e-6
        mine, theirs = -losses[k, i], float(-np.r_[losses[k], 0.0] @ bought)
        assert mine > theirs
        assert f"loses {mine:.1%} under" in reason
        # No other limit is relieved more by this sale.
        other = 1 - k
        pulls = [
            prices[f"stress:s{j}"]
            * (-losses[j, i] - float(-np.r_[losses[j], 0.0] @ bought))
            for j in (k, other)
        ]
        assert pulls[0] >= pulls[1] - 1e-9
    for ticker, reason in purchases.items():
        if not ticker.startswith("CASH"):
            for k in ("s0", "s1"):
                if prices[f"stress:{k}"] > 1e-6:
                    assert f" under {k}" in reason


def test_reasons_of_other_limits_and_objectives():
    sales, purchases = reasons_of(
        solved(stress_caps=(), groups=GroupLimit("country", "TW", upper=0.4))
    )
    assert set(sales.values()) == {"brings country:TW within its limit"}
    assert all(r.startswith("unknown: restores risk") or "takes what leaves" in r
               for r in purchases.values())  # fmt: skip
    sales, purchases = reasons_of(
        solved(stress_caps=(), groups=GroupLimit("ticker", "A0", lower=0.2))
    )
    assert purchases["A0"] == "unknown: brings ticker:A0 up to its least"
    assert set(sales.values()) <= {
        "makes room for ticker:A0",
        "lowers risk against the benchmark",
    }
    sales, purchases = reasons_of(solved("minimum_variance", stress_caps=()))
    assert set(sales.values()) == {"lowers variance"}
    assert set(purchases.values()) == {"unknown: lowers variance"}
    sales, _ = reasons_of(solved(stress_caps=(), es_cap=0.09))
    assert all("under expected shortfall; what is bought" in r for r in sales.values())


def test_what_turnover_holds_back_says_so():
    found = solved("minimum_variance", stress_caps=(), turnover=0.05)
    assert found.prices["turnover"] > 1e-6
    assert all(
        t.reason.endswith("as far as turnover allows")
        for t in found.trades
        if not t.ticker.startswith("CASH")
    )
