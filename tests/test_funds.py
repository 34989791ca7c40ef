"""Funds: look-through tables, weights estimated from returns, moves under a shock."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fund_market import SIZE, TRUE, make

from engine import DataError
from engine.data.look_through import (
    FundExposure,
    documented_exposure,
    look_through_at,
    read_look_through,
)
from engine.errors import LookAheadError, ModelError, UsageError
from engine.funds import Styles, style_weights


@pytest.fixture(scope="module")
def panel():
    return make(7)


def same(a: FundExposure, b: FundExposure) -> bool:
    return (a.labels, a.members) == (b.labels, b.members) and all(
        np.array_equal(getattr(a, x), getattr(b, x), equal_nan=True)
        for x in ("weights", "standard_errors", "draws", "r_squared", "known_from")
    )


@pytest.mark.parametrize("step", ["weekly", "daily"])
def test_known_weights_are_recovered_within_their_error(panel, step):
    found = style_weights(panel, "F", step=step, window=252)
    assert found.labels == tuple(sorted(SIZE)) and found.method == "estimated"
    truth = np.array([TRUE.get(x, 0.0) for x in found.labels])
    error = found.standard_errors
    assert (np.abs(found.weights - truth) <= 2 * error + 1e-3).all()
    assert (found.weights >= 0).all() and found.weights.sum() == pytest.approx(1)
    assert found.draws.min() >= 0
    assert found.draws.sum(axis=1) == pytest.approx(1)
    assert found.r_squared > 0.9 and found.known_from == panel.dates[-1]
    if step == "daily":
        assert found.residual_volatility == pytest.approx(0.002, rel=0.15)
    assert found.weight("none") == pytest.approx(0.35, abs=2 * found.error("none"))
    for i, label in enumerate(found.labels):
        assert found.error(label) == pytest.approx(error[i])
    assert (found.error_scale > 1.1) == (step == "weekly")
    assert "estimated" in repr(found)


def test_the_weights_are_those_of_a_slow_reference(panel):
    import cvxpy as cp

    found = style_weights(panel, "F", step="daily", window=200, draws=2)
    moves = panel.prices[1:] / panel.prices[:-1] - 1
    column = dict(zip(panel.tickers, moves[-200:].T, strict=True))
    X = np.column_stack([np.mean([column[t] for t in g], 0) for g in found.members])
    D = X - column["F"][:, None]
    D = (D - D.mean(axis=0)) * 100
    w = cp.Variable(D.shape[1], nonneg=True)
    cp.Problem(cp.Minimize(cp.sum_squares(D @ w)), [cp.sum(w) == 1]).solve(
        solver="CLARABEL"
    )
    assert found.weights == pytest.approx(w.value, abs=1e-5)


@pytest.mark.parametrize(
    ("step", "low", "high"), [("daily", 0.8, 1.25), ("weekly", 0.8, 1.25)]
)
def test_errors_are_calibrated_over_seeds(step, low, high):
    """z-scores of interior weights: spread near one, little bias."""
    scores = []
    for seed in range(40):
        found = style_weights(
            make(1000 + seed), "F", step=step, roles=("accelerator", "power_gen")
        )
        truth = np.array([TRUE.get(x, 0.0) for x in found.labels])
        scores.append((found.weights - truth) / found.standard_errors)
    z = np.array(scores)
    assert (np.abs(z) < 2).mean() > 0.88
    assert low < z.std() < high
    assert np.abs(z.mean(axis=0)).max() < 3 * z.std() / np.sqrt(40)


def test_the_order_of_the_panel_changes_nothing(panel):
    order = np.random.Generator(np.random.Philox(key=1)).permutation(panel.tickers)
    mixed = panel.select([str(t) for t in order])
    assert same(style_weights(mixed, "F"), style_weights(panel, "F"))


def test_equal_baskets_share_their_weight(panel):
    """No unique answer without the ridge: it splits evenly, and says so by error."""
    prices = panel.prices.copy()
    names = [panel.index(f"sof{j}") for j in range(3)]
    prices[:, names] = prices[:, [panel.index(f"pow{j}") for j in range(3)]]
    found = style_weights(replace(panel, prices=prices, content_hash=""), "F")
    assert found.weight("software") == pytest.approx(
        found.weight("power_gen"), abs=1e-4
    )
    assert found.weight("software", "power_gen") == pytest.approx(0.25, abs=0.05)


def test_the_same_seed_gives_the_same_bits_and_pickling_keeps_them(panel):
    one = style_weights(panel, "F", seed=3)
    assert same(one, style_weights(panel, "F", seed=3))
    assert same(one, pickle.loads(pickle.dumps(one)))
    assert not same(one, style_weights(panel, "F", seed=4))


def test_nothing_after_the_end_enters(panel):
    """Truncation: the future is cut off, or corrupted, and no bit changes."""
    cut = panel.dates[-30]
    prices = panel.prices.copy()
    prices[-29:] *= np.exp(np.random.default_rng(0).standard_normal((29, 1)))
    prices[-10:, panel.index("acc0")] = np.nan
    prices[-20:, panel.index("F")] = np.nan
    bad = replace(panel, prices=prices, content_hash="")
    whole = style_weights(panel, "F", end=cut)
    assert whole.known_from == cut
    assert same(whole, style_weights(bad, "F", end=cut))
    assert same(whole, style_weights(bad.as_of(cut), "F"))
    assert same(whole, style_weights(bad.as_of(panel.dates[-5]), "F", end=cut))
    assert same(whole, style_weights(panel.between(None, cut), "F"))
    later = style_weights(panel.as_of(cut), "F", end=panel.dates[-1])
    assert same(whole, later)  # a view does not see beyond itself
    assert not same(whole, style_weights(panel, "F"))


def test_a_role_known_later_has_no_basket_yet(panel):
    known = panel.universe.role_known_from.copy()
    known[[r == "power_gen" for r in panel.universe.role]] = panel.dates[-3]
    late = replace(panel, universe=replace(panel.universe, role_known_from=known))
    before = style_weights(late, "F", end=panel.dates[-4])
    assert "power_gen" not in before.labels
    assert "power_gen" in style_weights(late, "F").labels
    view = late.as_of(panel.dates[-4])  # a later end reveals no role to it
    assert "power_gen" not in style_weights(view, "F", end=panel.dates[-1]).labels
    early = late.between(None, panel.dates[-4])
    assert "power_gen" not in style_weights(early, "F").labels
    undated = np.full_like(known, "NaT")
    bare = replace(panel, universe=replace(panel.universe, role_known_from=undated))
    with pytest.raises(LookAheadError, match="undated"):
        style_weights(bare, "F", end=panel.dates[-4])
    admitted = style_weights(bare, "F", end=panel.dates[-4], hindsight_parameters=True)
    assert "power_gen" in admitted.labels


def test_no_fund_is_ever_in_a_basket(panel):
    inside = {t for g in style_weights(panel, "F").members for t in g}
    assert not inside & {"F", "FOF", "BOND"}
    company = style_weights(
        panel, "acc0", min_r_squared=0.0
    )  # nor what is asked about, whatever it is
    assert "acc0" not in {t for g in company.members for t in g}
    with pytest.raises(DataError, match="FOF"):
        style_weights(panel, "F", others={"funds": ["FOF"]})


def test_a_bond_basket_explains_what_shares_cannot(panel):
    """A fund half in bonds: without them the residual is larger."""
    half = make(5, weights={"accelerator": 0.5}, noise=0.0)
    bond = half.prices[:, half.index("BOND")]
    change = np.diff(bond, prepend=50.0) / np.r_[50.0, bond[:-1]]
    prices = half.prices.copy()
    old = prices[:, half.index("F")]
    own = np.diff(old, prepend=50.0) / np.r_[50.0, old[:-1]]
    prices[:, half.index("F")] = 50 * np.cumprod(1 + own + 0.5 * change)
    half = replace(half, prices=prices, content_hash="")
    with_bonds = style_weights(half, "F", others={"bonds": ["BOND"]})
    assert with_bonds.weight("other:bonds") == pytest.approx(0.5, abs=0.03)
    assert with_bonds.weight("accelerator") == pytest.approx(0.5, abs=0.03)
    alone = style_weights(half, "F", min_r_squared=-9.0)
    assert alone.r_squared < with_bonds.r_squared - 0.02


def test_a_stale_or_late_company_leaves_its_basket(panel):
    prices = panel.prices.copy()
    prices[:100, panel.index("acc0")] = np.nan
    prices[-12:, panel.index("acc1")] = np.nan
    found = style_weights(replace(panel, prices=prices, content_hash=""), "F")
    assert dict(zip(found.labels, found.members, strict=True))["accelerator"] == (
        "acc2",
        "acc3",
    )


def test_small_countries_are_pooled_by_region(panel):
    found = style_weights(panel, "F", min_members=5)
    assert "none:other places" in found.labels and "none:Japan" not in found.labels


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"window": 299}, DataError, "F"),
        ({"window": 10}, UsageError, "window"),
        ({"step": "monthly"}, UsageError, "monthly"),
        ({"draws": 1}, UsageError, "draws"),
        ({"block": 400}, UsageError, "block"),
        ({"roles": ()}, ModelError, "F.*; |AI role"),
    ],
)
def test_what_cannot_be_estimated_is_refused(panel, change, kind, word):
    with pytest.raises(kind, match=word):
        style_weights(panel, "F", **change)


def test_refusals_name_the_fund(panel):
    few = panel.select([t for t in panel.tickers if not t.startswith(("acc", "pow"))])
    few = few.select([t for t in few.tickers if not t.startswith("sof")])
    with pytest.raises(ModelError, match=r"no company with an AI role.*F"):
        style_weights(few, "F")
    prices = panel.prices.copy()
    prices[-11:, panel.index("F")] = np.nan
    with pytest.raises(DataError, match=r"asset F.*recent"):
        style_weights(replace(panel, prices=prices, content_hash=""), "F")
    prices[:, panel.index("F")] = np.nan
    with pytest.raises(DataError, match=r"asset F.*0 prices"):
        style_weights(replace(panel, prices=prices, content_hash=""), "F")
    prices[:, panel.index("F")] = 10.0
    with pytest.raises(DataError, match=r"does not move.*F"):
        style_weights(replace(panel, prices=prices, content_hash=""), "F")
    with pytest.raises(ModelError, match="tell the baskets apart"):
        one = panel.universe
        country = tuple(f"C{i % 9}" for i in range(len(one)))
        wide = replace(panel, universe=replace(one, country=country))
        style_weights(wide, "F", window=20, min_members=1)
    venue = ("TSE",) + ("NYSE",) * (len(panel.tickers) - 1)
    abroad = replace(panel, universe=replace(panel.universe, venue=venue))
    with pytest.raises(UsageError, match="different hours"):
        style_weights(abroad, "F", step="daily")
    assert style_weights(abroad, "F").r_squared > 0.8


def test_a_fund_that_the_baskets_do_not_follow_stays_unknown(panel):
    with pytest.raises(ModelError, match=r"asset BOND.*R2 -"):
        style_weights(panel, "BOND")
    prices = panel.prices.copy()
    prices[:, panel.index("F")] = 1e4 / prices[:, panel.index("F")]  # inverse fund
    with pytest.raises(ModelError, match=r"asset F.*R2 -"):
        style_weights(replace(panel, prices=prices, content_hash=""), "F")


@pytest.mark.parametrize("step", ["weekly", "daily"])
def test_a_leveraged_fund_is_refused_though_it_is_followed(step):
    """Its mix explains three quarters of the variance, and half of every move."""
    twice = make(7, leverage=2.0)
    with pytest.raises(
        ModelError, match=r"leveraged; at asset F; received [12]\.\d+ t"
    ):
        style_weights(twice, "F", step=step)
    assert style_weights(twice, "F", step=step, max_slope=9.0).r_squared > 0.6
    assert style_weights(make(7, leverage=1.2), "F", step=step).r_squared > 0.9


def test_bootstrap_weights_are_those_of_the_resampled_returns(panel):
    """Each sample solved by itself, from its own rows of returns."""
    window, block, draws = 252, 15, 7
    found = style_weights(panel, "F", window=window, draws=draws, seed=5)
    levels = panel.prices[-(window + 5) :]
    moves = levels[5:] / levels[:-5] - 1
    column = dict(zip(panel.tickers, moves.T, strict=True))
    X = np.column_stack([np.mean([column[t] for t in g], 0) for g in found.members])
    rng = np.random.Generator(np.random.Philox(key=5))
    starts = rng.integers(window, size=(draws, -(-window // block)))
    for b in range(draws):
        rows = (starts[b][:, None] + np.arange(block)).ravel()[:window] % window
        D = (X - column["F"][:, None])[rows]
        D = D - D.mean(axis=0)
        w = found.draws[b]
        slope = D.T @ (D @ w) / np.trace(D.T @ D)
        assert w @ slope - slope.min() < 1e-8  # first-order conditions on the simplex
        assert w.min() >= 0 and w.sum() == pytest.approx(1.0)


def test_baskets_shared_by_funds_change_no_bit(panel):
    styles = Styles(panel)
    first, again = styles.of("FOF"), styles.of("F")
    assert same(again, style_weights(panel, "F"))
    assert same(first, style_weights(panel, "FOF"))
    inside = styles.of("F").members[0][0]  # a company is never in its own basket
    with pytest.raises(ModelError, match="do not follow"):
        Styles(panel, min_r_squared=1.0).of(inside)
    assert same(styles.of("F"), again)


def test_baskets_that_are_alike_still_resample():
    """Companies that hardly differ: products lose their digits, returns do not."""
    alike = make(3, noise=0.0)
    prices = alike.prices.copy()
    for i in range(len(alike.tickers)):
        prices[:, i] = prices[:, 0] * (1 + 1e-9 * i * np.sin(np.arange(len(prices))))
    prices[:, alike.index("F")] = prices[:, 0]
    found = style_weights(replace(alike, prices=prices, content_hash=""), "F", draws=5)
    assert found.draws.sum(axis=1) == pytest.approx(1.0)


# Documents ---------------------------------------------------------------------------

ROWS = [
    ("SMH", "role", "accelerator", 0.45, "2024-10-31", "fact sheet Q3 2024"),
    ("SMH", "role", "foundry", 0.15, "2024-10-31", "fact sheet Q3 2024"),
    ("SMH", "role", "accelerator", 0.50, "2025-01-31", "fact sheet Q4 2024"),
    ("SMH", "country", "United States", 0.80, "2024-10-31", "fact sheet Q3 2024"),
    ("EWT", "ticker", "acc0", 0.25, "2024-09-30", "holdings file"),
    ("EWT", "ticker", "acc1", 0.05, "2024-09-30", "holdings file"),
    ("EWT", "ticker", "MYST", 0.30, "2024-09-30", "holdings file"),
]
COLUMNS = ["fund", "kind", "label", "weight", "known_from", "document"]


@pytest.fixture
def frame():
    return pd.DataFrame(ROWS, columns=COLUMNS)


def test_a_document_counts_from_its_date_and_the_latest_wins(frame, tmp_path):
    path = tmp_path / "funds.csv"
    frame.to_csv(path, index=False)
    table = read_look_through(path)
    pd.testing.assert_frame_equal(table, read_look_through(frame))
    assert look_through_at(table, "2024-09-29").empty
    assert set(look_through_at(table, "2024-09-30")["fund"]) == {"EWT"}
    now = documented_exposure(table, "SMH", "2025-01-24")
    assert now.labels == ("accelerator", "foundry") and now.method == "look-through"
    assert now.known_from == np.datetime64("2024-10-31")
    assert now.weight("accelerator") == 0.45 and np.isnan(now.standard_errors).all()
    later = documented_exposure(table, "SMH", "2025-02-03")
    assert later.labels == ("accelerator",) and later.document == "fact sheet Q4 2024"
    place = documented_exposure(table, "SMH", "2025-02-03", kind="country")
    assert place.labels == ("United States",)  # a new role sheet drops no country
    assert documented_exposure(table, "SPY", "2025-01-24") is None


def test_holdings_are_summed_by_the_role_known_then(frame, panel):
    table = read_look_through(frame)
    assert documented_exposure(table, "EWT", "2025-01-24") is None
    found = documented_exposure(table, "EWT", "2025-01-24", universe=panel.universe)
    assert found.weight("accelerator") == pytest.approx(0.30)
    assert found.weight("unknown") == pytest.approx(0.30)
    late = replace(
        panel.universe,
        role_known_from=np.full(len(panel.universe), "2025-01-25", "datetime64[D]"),
    )
    then = documented_exposure(table, "EWT", "2025-01-24", universe=late)
    assert then.labels == ("unknown",) and then.weights.sum() == pytest.approx(0.6)


def test_a_document_goes_before_an_estimate(frame, panel):
    table = read_look_through(frame.replace("SMH", "F"))
    for day, method in (("2024-10-30", "estimated"), ("2024-10-31", "look-through")):
        found = documented_exposure(table, "F", day) or style_weights(panel, "F")
        assert found.method == method


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (("BAD", "sector", "x", 0.1, "2024-01-02", "d"), "kind"),
        (("BAD", "role", "gpu", 0.1, "2024-01-02", "d"), "unknown AI role.*gpu"),
        (("BAD", "role", "", 0.1, "2024-01-02", "d"), "no label"),
        (("BAD", "role", "memory", -0.1, "2024-01-02", "d"), "fraction.*-0.1"),
        (("BAD", "role", "memory", "a lot", "2024-01-02", "d"), "fraction.*a lot"),
        (("BAD", "role", "memory", None, "2024-01-02", "d"), "fraction"),
        (("BAD", "role", "memory", 45.0, "2024-01-02", "d"), "fraction.*45"),
        (("BAD", "role", "memory", 0.1, "soon", "d"), "known_from.*soon"),
        (("BAD", "role", "memory", 0.1, None, "d"), "known_from"),
        (("BAD", "role", "memory", 0.1, "2024-01-02", None), "no document"),
        (("BAD", "role", "network", 0.1, "2024-01-01", "d"), "twice.*network"),
        (("BAD", "role", "memory", 0.6, "2024-01-01", "d"), "more than one"),
    ],
)
def test_a_bad_row_is_refused_by_fund(frame, row, word):
    good = ("BAD", "role", "network", 0.5, "2024-01-01", "d")
    bad = pd.DataFrame([*ROWS, good, row], columns=COLUMNS)
    with pytest.raises(DataError, match=word) as error:
        read_look_through(bad)
    assert error.value.asset == "BAD"
    read_look_through(bad.iloc[:-1])


def test_a_table_without_a_column_or_fund_is_refused(frame):
    with pytest.raises(DataError, match="document"):
        read_look_through(frame.drop(columns="document"))
    frame.loc[0, "fund"] = " "
    with pytest.raises(DataError, match="no fund"):
        read_look_through(frame)


def exposure(weights):
    return FundExposure(
        fund="F",
        labels=tuple(weights),
        weights=np.array(list(weights.values())),
        standard_errors=np.full(len(weights), np.nan),
        method="look-through",
        known_from=np.datetime64("2025-01-24"),
        document="sheet",
    )


def test_weights_that_cannot_be_right_are_refused():
    with pytest.raises(DataError, match=r"sum to at most one.*F"):
        exposure({"accelerator": 0.7, "memory": 0.5})
    with pytest.raises(DataError, match="at most one"):
        exposure({"accelerator": -0.1})
    with pytest.raises(ValueError, match="read-only"):
        exposure({"accelerator": 0.5}).weights[0] = 1.0
