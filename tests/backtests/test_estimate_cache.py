"""The cache of estimates: the same bits with and without, each date estimated once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, dataclass, fields, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtests import EstimateCache, backtest, run_sweep
from backtests._estimates import ShownDigest, estimation_settings
from backtests._written import DamagedError, NotWritableError, from_bytes, to_bytes
from engine import Costs, DataError, Outcome, StoreError, UsageError
from engine.data.panel import PricePanel
from engine.data.universe import Universe
from engine.proposal import Proposal
from strategies import (
    DriftBand,
    EqualWeight,
    MinimumShortfall,
    MinimumVariance,
    Momentum,
    RiskParity,
    StressTriggered,
)


def make_panel(T=140, N=4, seed=3):
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2024-01-02", periods=T).to_numpy().astype("datetime64[D]")
    return PricePanel(
        dates=dates,
        prices=100 * np.exp(np.cumsum(rng.normal(0, 0.01, (T, N)), axis=0)),
        universe=Universe(tuple("ABCD"[:N]), quote_currency=("USD",) * N),
        price_basis="total_return",
        base_currency="USD",
        cash_currencies=("USD",),
        cash_rates=np.full((T, 1), 0.03),
    )


PANEL = make_panel()
OPTIONS = {"start": PANEL.dates[70], "schedule": "monthly"}


def rule(upper=0.5, **options):
    return MinimumVariance(upper=upper, window=60, **options)


def same(one, two):
    np.testing.assert_array_equal(one.value, two.value)
    np.testing.assert_array_equal(one.units, two.units)
    assert one.trial_id == two.trial_id
    assert one.fills == two.fills
    for a, b in zip(one.decisions, two.decisions, strict=True):
        assert a[:4] == b[:4]
        np.testing.assert_array_equal(a.proposal.target, b.proposal.target)


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("make", [rule, lambda: MinimumShortfall(window=60, upper=0.5),
                                  lambda: DriftBand(rule(), 0.02)])  # fmt: skip
def test_results_are_the_same_bit_for_bit(tmp_path, make, on_disk):
    cache = EstimateCache(tmp_path if on_disk else None)
    bare = backtest(make(), PANEL, **OPTIONS)
    same(bare, backtest(make(), PANEL, cache=cache, **OPTIONS))
    n = len(bare.decisions)
    assert cache.counts == (0, n, 0, 0)
    same(bare, backtest(make(), PANEL, cache=cache, **OPTIONS))
    assert cache.counts == (n, n, 0, 0)
    if on_disk:
        other = EstimateCache(tmp_path)
        same(bare, backtest(make(), PANEL, cache=other, **OPTIONS))
        assert other.counts == (n, 0, 0, 0)


def test_a_sweep_over_what_is_proposed_estimates_each_date_once(tmp_path):
    cache = EstimateCache()
    grid = {"upper": [0.4, 0.5, 0.6], "aversion": [10.0, 50.0]}
    bare = run_sweep(rule, grid, PANEL, **OPTIONS)
    swept = run_sweep(rule, grid, PANEL, cache=cache, **OPTIONS)
    n = len(swept.cells[0].result.decisions)
    assert cache.counts == (5 * n, n, 0, 0)
    for a, b in zip(bare.cells, swept.cells, strict=True):
        same(a.result, b.result)
        assert a.key == b.key  # where estimates come from is no part of a trial
    files = run_sweep(rule, grid, PANEL, cache=tmp_path, **OPTIONS)
    assert len(list(tmp_path.rglob("*.npz"))) == n
    assert not list(tmp_path.rglob("*.part"))
    same(files.cells[-1].result, bare.cells[-1].result)


@pytest.mark.slow
def test_processes_share_a_folder(tmp_path):
    grid = {"upper": [0.4, 0.5]}
    bare = run_sweep(rule, grid, PANEL, **OPTIONS)
    swept = run_sweep(
        MinimumVariance, grid | {"window": [60]}, PANEL, cache=tmp_path,
        executor="processes", n_jobs=2, **OPTIONS,
    )  # fmt: skip
    for a, b in zip(bare.cells, swept.cells, strict=True):
        np.testing.assert_array_equal(a.result.value, b.result.value)
    one = backtest(rule(), PANEL, cache=tmp_path / "x", executor="processes", n_jobs=2,
                   **OPTIONS)  # fmt: skip
    same(one, backtest(rule(), PANEL, cache=tmp_path / "x", **OPTIONS))


def test_a_panel_longer_by_a_day_keeps_every_earlier_estimate():
    cache = EstimateCache()
    before = backtest(
        rule(), PANEL.between(None, PANEL.dates[-2]), cache=cache, **OPTIONS
    )
    made = cache.counts.made
    after = backtest(rule(), PANEL, cache=cache, **OPTIONS)
    assert cache.counts == (made, made, 0, 0)
    np.testing.assert_array_equal(after.value[:-1], before.value)


def changed(row, column=0):
    prices = PANEL.prices.copy()
    prices[row, column] *= 1.0 + 1e-12
    return replace(PANEL, prices=prices, content_hash="")


def test_a_changed_past_is_another_key_and_a_changed_future_is_not():
    t = PANEL.dates[100]
    base = ShownDigest()(PANEL.as_of(t))
    assert ShownDigest()(changed(101).as_of(t)) == base
    assert ShownDigest()(changed(100).as_of(t)) != base
    assert ShownDigest()(changed(0, 3).as_of(t)) != base
    assert ShownDigest()(PANEL.as_of(t, hindsight_parameters=True)) != base
    role = replace(PANEL.universe, sector=("x", "", "", ""))
    assert ShownDigest()(replace(PANEL, universe=role).as_of(t)) != base
    rates = PANEL.cash_rates + 0.001
    assert ShownDigest()(replace(PANEL, cash_rates=rates).as_of(t)) != base


@given(st.lists(st.integers(5, 139), min_size=1, max_size=8))
def test_the_running_digest_is_that_of_the_view(rows):
    """Whatever was asked for before, forwards, backwards or of another panel."""
    running, other = ShownDigest(), changed(3)
    for i, row in enumerate(rows):
        panel = other if i % 3 == 2 else PANEL
        view = panel.as_of(panel.dates[row])
        assert running(view) == ShownDigest()(view)


SETTINGS = [
    rule(), rule(covariance="sample"), replace(rule(), window=61),
    replace(rule(), tickers=("A", "B")), RiskParity(window=60),
    MinimumShortfall(window=60), MinimumShortfall(window=60, mean="sample"),
    Momentum(lookback=60), Momentum(lookback=60, skip=5), EqualWeight(),
    DriftBand(rule()), DriftBand(replace(rule(), window=61)),
    StressTriggered(rule(), 0.1, window=60), StressTriggered(rule(), 0.1, window=61),
    StressTriggered(EqualWeight(("A",)), 0.1), StressTriggered(EqualWeight(), 0.1),
]  # fmt: skip


def test_settings_that_estimate_differently_have_different_keys():
    keys = [estimation_settings(s) for s in SETTINGS]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    free = [rule(0.3), rule(costs=Costs(half_spread_bps=9.0)), rule(name="other")]
    assert {estimation_settings(s) for s in free} == {keys[0]}
    assert estimation_settings(DriftBand(rule(0.3), 0.01)) == keys[10]


@dataclass(frozen=True)
class Child(MinimumVariance):
    """Reads more than its parent says, and does not say so: all fields count."""

    shift: float = 0.0

    def estimate(self, view):
        model = super().estimate(view)
        return replace(model, cash_rate=model.cash_rate + self.shift)


@dataclass
class Free:
    """Estimates into things of any kind."""

    made: object = None
    function: object = None
    name: str = "free"

    def estimate(self, view):
        return self.made

    def propose(self, view, portfolio, estimate=None):
        return Proposal.from_weights(portfolio, {"A": 1.0})


def test_what_a_key_cannot_tell_apart_is_not_cached():
    assert estimation_settings(Child(shift=0.0)) != estimation_settings(
        Child(shift=1.0)
    )
    number = 3
    assert estimation_settings(Free(function=lambda: number)) is None
    assert estimation_settings(Free(made=object())) is None
    assert estimation_settings(Free(made={"a": (1, object())})) is None
    strange = Free()
    strange.hidden = 1
    assert estimation_settings(strange) is None
    with pytest.warns(UserWarning, match="'free' are not cached"):
        backtest(strange, PANEL, cache=EstimateCache(), **OPTIONS)


def test_estimates_that_only_pickle_could_write_stay_in_memory(tmp_path):
    cache = EstimateCache(tmp_path)
    with pytest.warns(UserWarning, match="kept in memory only: pandas"):
        cache.put("a" * 32, {"s": pd.Series([1.0])}, of="x")
    found, value = cache.get("a" * 32)
    assert found and value["s"].iloc[0] == 1.0
    value["s"].iloc[0] = 7.0  # a reader's own copy
    assert cache.get("a" * 32)[1]["s"].iloc[0] == 1.0
    assert not list(tmp_path.rglob("*.npz"))


def test_a_damaged_entry_is_computed_again(tmp_path):
    bare = backtest(rule(), PANEL, cache=tmp_path, **OPTIONS)
    files = sorted(tmp_path.rglob("*.npz"))
    files[0].write_bytes(files[0].read_bytes()[:-200])
    files[1].write_bytes(b"")
    whole = bytearray(files[2].read_bytes())
    for i in range(len(whole) // 3, 2 * len(whole) // 3):
        whole[i] ^= 0xFF
    files[2].write_bytes(bytes(whole))
    cache = EstimateCache(tmp_path)
    same(bare, backtest(rule(), PANEL, cache=cache, **OPTIONS))
    assert cache.counts.repaired == 3
    assert cache.counts.made == 3
    again = EstimateCache(tmp_path)
    same(bare, backtest(rule(), PANEL, cache=again, **OPTIONS))
    assert again.counts.repaired == 0


def test_an_entry_under_another_name_is_not_taken(tmp_path):
    content = to_bytes(1.0, "one")
    assert from_bytes(content, "one") == 1.0
    with pytest.raises(DamagedError, match="another key"):
        from_bytes(content, "two")


def test_nothing_but_our_own_classes_is_made():
    import io
    import json

    def file(tree):
        out = io.BytesIO()
        text = json.dumps({"key": "k", "value": tree}).encode()
        np.savez(out, tree=np.frombuffer(text, dtype=np.uint8))
        return out.getvalue()

    for tree in (["o", "os:system", []], ["o", "engine.errors:DataError", []],
                 ["e", "subprocess:Popen", "x"], ["z"],
                 ["o", "engine:nothing", []]):  # fmt: skip
        with pytest.raises(DamagedError):
            from_bytes(file(tree), "k")


def test_writers_beside_each_other_leave_whole_files(tmp_path):
    value = (np.arange(5000.0), "text")
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(lambda _: EstimateCache(tmp_path).put("k" * 32, value), range(40))
        )
    found, read = EstimateCache(tmp_path).get("k" * 32)
    assert found
    np.testing.assert_array_equal(read[0], value[0])
    assert len(list(tmp_path.rglob("*"))) == 2  # one folder, one file


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4),
    st.sampled_from([np.float64(0.1), np.datetime64("2024-01-02"), Outcome.HELD,
                     np.arange(6.0).reshape(2, 3).T, np.array([True]),
                     Costs(impact=2.0)]),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


def shown(value):
    """Text that differs where anything does, memory order and flags included."""
    if isinstance(value, np.ndarray):
        flags = value.flags
        return f"{value.dtype}{value.shape}{value.tobytes('A')}{flags.f_contiguous}"
    if isinstance(value, (list, tuple)):
        return f"{type(value)}{[shown(v) for v in value]}"
    if isinstance(value, dict):
        return str([(k, shown(v)) for k, v in value.items()])
    return f"{type(value)}{value!r}"


@given(TREES)
def test_what_is_written_comes_back(value):
    assert shown(from_bytes(to_bytes(value, "k"), "k")) == shown(value)


@pytest.mark.parametrize(
    "value",
    [{1, 2}, object(), np.array([object()]), np.arange(9.0)[::2], int, lambda: 0,
     pd.Series([1.0]), type("Own", (tuple,), {})((1,))],
    ids=lambda v: type(v).__name__)  # fmt: skip
def test_what_has_no_plain_form_is_refused(value):
    with pytest.raises(NotWritableError):
        to_bytes((value,), "k")


def test_bad_caches(tmp_path):
    with pytest.raises(UsageError, match="cache"):
        backtest(rule(), PANEL, cache=3, **OPTIONS)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be made"):
        backtest(rule(), PANEL, cache=tmp_path / "file", **OPTIONS)


# Windows of the walk-forward.


@dataclass(frozen=True)
class Records:
    """Keeps what its estimate was shown, through the proposal's note."""

    tickers: tuple[str, ...] | None = None
    window: int = 60
    name: str = "records"

    def estimate(self, view):
        return (str(view.date), view.panel.dates.size, self.window)

    def propose(self, view, portfolio, estimate=None):
        return Proposal.from_weights(portfolio, {"A": 1.0}, notes=(repr(estimate),))


def notes(**options):
    result = backtest(Records(), PANEL, **OPTIONS, **options)
    return [eval(d.proposal.notes[0]) for d in result.decisions], result


def test_rolling_and_expanding_windows_purged():
    bare, one = notes()
    rolling, _ = notes(window=30, purge=5, embargo=2)
    expanding, two = notes(window="expanding", purge=5, embargo=2)
    for a, b, c in zip(bare, rolling, expanding, strict=True):
        assert b[1] == c[1] == a[1] - 7
        assert b[0] == str(PANEL.dates[a[1] - 8])
        assert (a[2], b[2]) == (60, 30)
        assert c[2] == c[1] - 1  # every return that it is shown
    assert one.trial_id != two.trial_id


@pytest.mark.parametrize("window", [30, "expanding"])
def test_a_windowed_rule_is_the_rule_with_that_window(window):
    start = PANEL.dates[80]
    one = backtest(rule(), PANEL, start=start, schedule="once", window=window)
    n = 30 if window == 30 else 80
    two = backtest(replace(rule(), window=n), PANEL, start=start, schedule="once")
    np.testing.assert_array_equal(one.value, two.value)


def test_purged_sessions_do_not_reach_the_estimate():
    """Changing them changes nothing; changing the one before does."""
    start = PANEL.dates[80]
    options = {"schedule": "once", "purge": 3, "end": start, "start": start}
    base = backtest(rule(), PANEL, **options).decisions[0].proposal.target
    for row, equal in ((78, True), (79, True), (77, False)):
        prices = PANEL.prices.copy()
        prices[row, 0] *= 1.3
        other = replace(PANEL, prices=prices, content_hash="")
        made = backtest(rule(), other, **options).decisions[0].proposal.target
        assert np.array_equal(made, base) == equal, row


def test_too_short_a_history_names_the_asset_and_the_date():
    prices = PANEL.prices.copy()
    prices[:60, 2] = np.nan
    panel = replace(PANEL, prices=prices, content_hash="")
    with pytest.raises(DataError, match="too short a history") as caught:
        backtest(rule(), panel, min_history=30, **OPTIONS)
    assert caught.value.asset == "C"
    assert caught.value.date == str(PANEL.dates[70])
    assert "minimum variance" in str(caught.value)
    backtest(replace(rule(), tickers=("A", "B")), panel, min_history=30, **OPTIONS)


@pytest.mark.parametrize(
    "options",
    [{"window": 1}, {"window": "rolling"}, {"purge": -1}, {"embargo": 1.5},
     {"min_history": True}],
    ids=str,
)  # fmt: skip
def test_bad_windows(options):
    with pytest.raises(UsageError):
        backtest(rule(), PANEL, **OPTIONS, **options)
    with pytest.raises(UsageError, match="no window"):
        backtest(EqualWeight(), PANEL, window=30)
    with pytest.raises(DataError, match="leave no session"):
        backtest(rule(), PANEL, purge=500, **OPTIONS)


def test_fields_named_are_the_fields_read():
    """`estimated_from` of every shipped strategy, by watching what `estimate` reads."""
    import strategies as shipped

    view = PANEL.as_of(PANEL.dates[100], hindsight_parameters=True)
    watched = 0
    for name in shipped.__all__:
        kind = getattr(shipped, name)
        if "estimated_from" not in getattr(kind, "__dict__", {}):
            continue
        names = {f.name for f in fields(kind)}
        given = {"book": {"A": 0.5}, "strategy": rule(), "limit": 0.1,
                 "weights": {"A": 1.0}, "window": 60, "lookback": 60,
                 "into": "B", "short": "B"}  # fmt: skip
        made = kind(**{k: v for k, v in given.items() if k in names})
        assert all(f.default is not MISSING or f.default_factory is not MISSING
                   or f.name in given for f in fields(kind))  # fmt: skip
        read: set[str] = set()

        class Watched(kind):
            def __getattribute__(self, attribute, _read=read, _names=names):
                if attribute in _names:
                    _read.add(attribute)
                return super().__getattribute__(attribute)

        spy = object.__new__(Watched)
        spy.__dict__.update(made.__dict__)
        read.clear()
        spy.estimate(view)
        assert read <= set(kind.estimated_from), name
        watched += 1
    assert watched >= 17
