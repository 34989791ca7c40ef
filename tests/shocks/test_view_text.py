"""The parser of views: what it reads, and what it refuses."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import UsageError
from engine.shocks import View, Views, entropy_pool
from engine.shocks._view_text import Figure, view


def test_terms_of_both_sides_are_collected():
    v = view("mean(NVDA) - 2*mean(MSFT) <= 5% + mean(NVDA) * 0.5 - 0.01")
    assert v.terms == (
        (0.5, Figure("mean", ("NVDA",))),
        (-2.0, Figure("mean", ("MSFT",))),
    )
    assert v.operator == "<=" and v.value == pytest.approx(0.04)
    assert v.text == "mean(NVDA) - 2*mean(MSFT) <= 5% + mean(NVDA) * 0.5 - 0.01"


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("mean(BRK-B) >= 0", Figure("mean", ("BRK-B",))),
        ("volatility(005930.KS) == 0.3", Figure("vol", ("005930.KS",))),
        ("Correlation(CASH:EUR, ^N225) = 0.1", Figure("corr", ("CASH:EUR", "^N225"))),
        ("var(A, 0.99) <= 0.2", Figure("var", ("A",), 0.99)),
        ("CVaR(A, .95) == 1e-1", Figure("es", ("A",), 0.95)),
    ],
)
def test_tickers_and_names_of_figures(text, figure):
    assert view(text).terms == ((1.0, figure),)


def test_events_and_priors():
    v = view("prob(NVDA <= -0.1 and SMH > 0.05) >= 2 * prior(prob(NVDA<=-0.1)) - 1%")
    assert v.terms[0][1].event == (("NVDA", "<=", -0.1), ("SMH", ">", 0.05))
    assert v.prior_terms == ((2.0, Figure("prob", event=(("NVDA", "<=", -0.1),))),)
    assert v.value == pytest.approx(-0.01)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mean(NVDA)", "0 comparisons"),
        ("0 <= mean(NVDA) <= 1", "2 comparisons"),
        ("mean(NVDA) < 0", "strict"),
        ("mean(NVDA <= 0", "not closed"),
        ("maen(NVDA) <= 0", "did you mean mean"),
        ("var(NVDA) <= 0.1", "variance"),
        ("mean(NVDA) * mean(KO) <= 0", "not multiplied"),
        ("mean(NVDA) + <= 0", "a term is missing"),
        ("mean(NVDA) 2 <= 0", "operator is missing"),
        ("mean() <= 0", "asset"),
        ("<= 0", "one side is empty"),
        ("1 <= 2", "no figure"),
        ("corr(A) <= 0", "takes 2"),
        ("corr(A, A) <= 0.5", "itself"),
        ("corr(A, B) >= 1.2", "impossible correlation"),
        ("prob(A <= 0) >= 1.2", "impossible probability"),
        ("vol(A) <= -0.1", "impossible volatility"),
        ("es(A, 1.5) <= 0.1", "level"),
        ("es(A, x) <= 0.1", "not a number"),
        ("prob(A) >= 0.1", "event"),
        ("vol(A) + vol(B) <= 0.1", "cannot be combined"),
        ("es(A, 0.9) - es(B, 0.9) <= 0", "cannot be combined"),
        ("__import__('os') == 1", "cannot read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_text(text, words):
    with pytest.raises(UsageError, match=words):
        view(text)


def test_other_bad_input():
    with pytest.raises(UsageError, match="no view"):
        entropy_pool([])
    with pytest.raises(UsageError, match="text or a View"):
        entropy_pool([3])
    with pytest.raises(UsageError, match="views are"):
        entropy_pool(3)
    with pytest.raises(UsageError, match="method"):
        entropy_pool("mean(A) <= 0", method="guess")
    with pytest.raises(UsageError, match="operator"):
        Views().mean("A", "<", 0.0)
    with pytest.raises(UsageError, match="not a number"):
        Views().mean("A", "<=", float("nan"))
    with pytest.raises(UsageError, match="date"):
        entropy_pool("mean(A) <= 0", known_from="yesterday")


def test_views_travel():
    views = Views("mean(A) <= 0", "vol(B) >= 0.1")
    assert [str(v) for v in pickle.loads(pickle.dumps(views))] == list(map(str, views))
    assert isinstance(views.items[0], View)


@given(st.text(alphabet="mean(A) <>=-+*0.5%,prio", max_size=30))
def test_any_text_reads_or_is_refused(text):
    try:
        assert view(text).terms
    except UsageError:
        pass
