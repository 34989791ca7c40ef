"""Value types cannot be changed from outside; errors say where, what and what to do."""

import copy
import pickle

import numpy as np
import pytest

from engine import (
    CheapModelShock,
    Portfolio,
    PricePanel,
    Proposal,
    ScenarioSet,
    Universe,
    errors,
)
from engine._base import check_labels, frozen_array

DATES = np.arange("2024-01-01", "2024-01-05", dtype="datetime64[D]")


def examples():
    universe = Universe(
        ("A", "B"), quote_currency=("USD", "USD"), ai_share=np.full((2, 3), 0.5)
    )
    panel = PricePanel(
        dates=DATES,
        prices=np.ones((4, 2)),
        universe=universe,
        price_basis="raw",
        base_currency="USD",
        volume=np.ones((4, 2)),
        open=np.ones((4, 2)),
        cash_currencies=("USD",),
        cash_rates=np.zeros((4, 1)),
    )
    return [
        universe,
        panel,
        panel.as_of("2024-01-03"),
        Portfolio.from_weights({"A": 0.5, "CASH:USD": 0.5}, 100.0, "USD"),
        Proposal(("A", "CASH:USD"), np.array([1.0, 0.0]), np.array([0.5, 0.5])),
        ScenarioSet(
            assets=("A", "B"),
            returns=np.zeros((3, 2)),
            p=np.full(3, 1 / 3),
            horizon=1,
            universe=universe,
            base_currency="USD",
            periods_per_year=252.0,
            paths=np.zeros((3, 1, 2)),
        ),
        CheapModelShock("jevons").moves(universe),
    ]


def arrays_of(value):
    for name in value.__dataclass_fields__:
        field = getattr(value, name)
        if isinstance(field, np.ndarray):
            yield name, field


@pytest.mark.parametrize("value", examples(), ids=lambda v: type(v).__name__)
@pytest.mark.parametrize(
    "passed_through",
    [
        lambda v: v,
        copy.copy,
        copy.deepcopy,
        lambda v: pickle.loads(pickle.dumps(v)),
        lambda v: pickle.loads(pickle.dumps(v, protocol=2)),
    ],
    ids=["as made", "copy", "deepcopy", "pickle", "pickle 2"],
)
def test_arrays_stay_read_only(value, passed_through):
    again = passed_through(value)
    assert type(again) is type(value)
    for name, array in arrays_of(again):
        assert not array.flags.writeable, name
        np.testing.assert_array_equal(array, getattr(value, name))
        if array.size:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
    with pytest.raises((AttributeError, TypeError)):
        again.extra = 1


@pytest.mark.parametrize("value", examples(), ids=lambda v: type(v).__name__)
def test_fields_cannot_be_assigned_and_text_is_one_line_of_html(value):
    first = next(iter(value.__dataclass_fields__))
    with pytest.raises(AttributeError):
        setattr(value, first, None)
    assert value._repr_html_().startswith("<")


@pytest.mark.parametrize(
    "made",
    [
        lambda a: a,
        lambda a: a[:],
        lambda a: a[::-1][::-1],
        lambda a: np.asfortranarray(a),
        lambda a: a.T.copy().T,
        lambda a: memoryview(a),
    ],
    ids=["itself", "view", "reversed", "fortran", "transposed", "memoryview"],
)
def test_a_callers_array_cannot_change_the_object(made):
    mine = np.array([[1.0, 2.0], [3.0, 4.0]])
    frozen = frozen_array(made(mine), name="x", ndim=2)
    mine[0, 0] = 99.0
    assert frozen[0, 0] == 1.0
    assert mine.flags.writeable  # and freezing took nothing from the caller


def test_a_read_only_view_of_a_writable_array_is_copied():
    mine = np.arange(3.0)
    view = mine.view()
    view.setflags(write=False)
    frozen = frozen_array(view, name="x", ndim=1)
    mine[0] = 99.0
    assert frozen[0] == 0.0


def test_an_already_frozen_array_is_shared():
    frozen = frozen_array([1.0, 2.0], name="x", ndim=1)
    assert frozen_array(frozen, name="x", ndim=1) is frozen


def test_panel_slices_share_memory_and_stay_frozen():
    panel = examples()[1]
    part = panel.between("2024-01-02", "2024-01-03")
    assert np.shares_memory(part.prices, panel.prices)
    assert not part.prices.flags.writeable


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (["a", "b"], {"ndim": 1}, "x is not numeric"),
        ([None, 1.0], {"ndim": 1}, "x is not numeric"),
        ([[1.0], [2.0, 3.0]], {"ndim": 2}, "x is not numeric"),
        ([1 + 1j], {"ndim": 1}, "x is not numeric"),
        (np.array(["2020-01-01"], "datetime64[D]"), {"ndim": 1}, "not numeric"),
        ([1.0], {"ndim": 2}, "wrong number of axes; received shape (1,)"),
        ([1.0], {"ndim": 1, "shape": (2,)}, "wrong shape; received (1,); expected (2,"),
        ([0.0, np.nan], {"ndim": 1}, "non-finite number; received nan at position (1"),
        ([np.inf], {"ndim": 1}, "received inf at position (0"),
    ],
)
def test_what_cannot_be_a_number_array_is_refused(values, options, words):
    with pytest.raises(errors.DataError) as caught:
        frozen_array(values, name="x", **options)
    assert words in str(caught.value)


def test_a_masked_value_is_a_gap_and_not_its_hidden_number():
    masked = np.ma.array([1.0, 777.0], mask=[False, True])
    with pytest.raises(errors.DataError, match="non-finite"):
        frozen_array(masked, name="x", ndim=1)
    gap = frozen_array(masked, name="x", ndim=1, finite=False)
    assert gap[0] == 1.0 and np.isnan(gap[1])


def test_labels_must_be_distinct_texts():
    assert check_labels(["A", "B"], name="x") == ("A", "B")
    with pytest.raises(errors.DataError, match="duplicate asset in x; at asset A"):
        check_labels(["A", "B", "A"], name="x")
    for bad in ([""], ["  "], [None], [1], [float("nan")]):
        with pytest.raises(errors.DataError, match="empty or non-text label"):
            check_labels(bad, name="x")
    with pytest.raises(errors.DataError, match="must be a list of labels"):
        check_labels("NVDA", name="x")


KINDS = {
    errors.DataError: ValueError,
    errors.UsageError: ValueError,
    errors.ModelError: ValueError,
    errors.InfeasibleError: ValueError,
    errors.SolverError: RuntimeError,
    errors.WorkerError: RuntimeError,
    errors.LookAheadError: RuntimeError,
    errors.StoreError: OSError,
}


@pytest.mark.parametrize(("kind", "builtin"), KINDS.items())
def test_each_error_is_also_the_fitting_builtin(kind, builtin):
    with pytest.raises(builtin) as caught:
        raise kind("wrong", asset="NVDA")
    assert isinstance(caught.value, errors.BallastError)
    assert str(caught.value) == "wrong; at asset NVDA"


def test_no_error_class_is_left_out_of_the_table():
    made = {
        v
        for v in vars(errors).values()
        if isinstance(v, type) and issubclass(v, errors.BallastError)
    }
    assert made == {errors.BallastError, *KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_errors_cross_process_borders_whole(kind):
    error = kind(
        "a price is wrong",
        asset="NVDA",
        date=np.datetime64("2025-01-27"),
        received=-1.0,
        expected="more",
        fix="Correct it.",
    )
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert str(again) == str(error)
        assert (again.asset, again.date, again.received) == ("NVDA", "2025-01-27", -1.0)
        assert again.fix == "Correct it."
    assert str(error) == (
        "a price is wrong; at asset NVDA, date 2025-01-27; received -1.0; "
        "expected more. Correct it."
    )


def test_an_infeasible_error_keeps_its_conflict_when_pickled():
    error = errors.InfeasibleError("no", conflict=("a", "b"), relaxation=("raise a",))
    again = pickle.loads(pickle.dumps(error))
    assert again.conflict == ("a", "b")
    assert again.relaxation == ("raise a",)


@pytest.mark.parametrize(
    "date",
    [
        np.datetime64("2025-01-27"),
        np.datetime64("2025-01-27T00:00:00.000000000"),
        "2025-01-27 00:00:00",
    ],
)
def test_dates_in_messages_are_plain(date):
    assert str(errors.DataError("x", date=date)) == "x; at date 2025-01-27"
