"""Kinds of a scenario file: what is read is what the library makes, and reads back."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import CheapModelShock, UsageError, stress
from engine.errors import DataError, InfeasibleError, ModelError
from engine.shocks import (
    conditional,
    entropy_pool,
    from_toml,
    library,
    mix,
    moves_of,
    read_scenarios,
    read_shock,
    replay,
    resolved,
    reverse,
    to_toml,
    worst_case,
)
from engine.shocks._kinds_lazy import BookSearch
from engine.shocks._kinds_mix import Mixture
from engine.shocks._kinds_tables import quoted
from tests.shocks.test_replay import a_panel
from tests.test_stress import SCENARIOS, WEIGHTS, model

PROPERTY = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MODEL = model(cash_rate=0.04)
BASKET = "[shock.moves]\nai_basket = -0.15\n"


def one(text):
    (shock,) = from_toml("[shock]\n" + text)
    return shock


def losses(shock):
    return stress(WEIGHTS, SCENARIOS, shock).results[0].by_asset


# What is read is what the library makes ---------------------------------------


def test_a_replay_without_prices_is_that_of_the_library():
    shock = one('kind = "replay"\nepisode = "deepseek-monday"\n')
    plain = replay("deepseek-monday")
    assert (shock.name, shock.known_from) == (plain.name, plain.known_from)
    known = MODEL.universe.select(["NVDX", "NETX", "PWRX"])
    np.testing.assert_array_equal(shock.moves(known).draws, plain.moves(known).draws)
    with pytest.raises(ModelError, match="scenarios: shock: no way to replay"):
        shock.moves(MODEL.universe)


def test_a_replay_takes_the_prices_it_is_given():
    panel = a_panel()
    start, end = (np.datetime64(d) for d in ("2025-01-27", "2025-01-27"))
    shock = one('kind = "replay"\nwindow = [2025-01-27, 2025-01-27]\ncitation = "us"')
    found = resolved(shock, market=panel)
    plain = replay((start, end), panel=panel)
    np.testing.assert_array_equal(found.values, plain.values)
    assert (found.name, found.known_from) == (plain.name, plain.known_from)
    assert found.citation == f"us; {plain.citation}"
    with pytest.raises(UsageError, match=r"shock: window: replay of a window needs p"):
        shock.moves(MODEL.universe)


def test_moves_views_and_mixtures_are_those_of_the_library():
    t = one(f'kind = "conditional"\ndistribution = "student_t"\ndof = 4\n{BASKET}')
    plain = conditional({"ai_basket": -0.15}, distribution="student_t", dof=4.0)
    np.testing.assert_array_equal(losses(t), losses(plain))
    text = 'views = ["mean(NVDX) <= -0.05", "corr(NVDX, NETX) >= 0.8"]\n'
    for method in ("sequential", "one_step"):
        views = one(f'kind = "entropy"\nmethod = "{method}"\n{text}')
        plain = entropy_pool(
            ["mean(NVDX) <= -0.05", "corr(NVDX, NETX) >= 0.8"], method=method
        )
        np.testing.assert_array_equal(losses(views), losses(plain))
        assert views.pool(SCENARIOS).method == method


def test_searches_are_found_for_the_book_that_is_stressed():
    worst = one('kind = "worst-case"\nradius = 2.5\nsystematic = false\n')
    plain = worst_case(MODEL, WEIGHTS, radius=2.5, systematic=False)
    np.testing.assert_allclose(losses(worst), losses(plain), rtol=1e-12, atol=1e-15)
    other = {"FOOD": 0.5, "SOFX": 0.3, "CASH:USD": 0.2}
    mine = stress(other, SCENARIOS, worst).results[0].loss
    # No other scenario of the radius, such as that of the first book, is worse.
    assert mine > stress(other, SCENARIOS, plain).results[0].loss
    text = 'kind = "reverse"\nloss = 0.2\ndistribution = "student_t"\nhorizon = 5\n'
    back = one(text)
    options = {"distribution": "student_t", "horizon": 5}
    found = resolved(back, weights=WEIGHTS, model=MODEL)
    plain = reverse(MODEL, WEIGHTS, 0.2, **options)
    assert found.repriced == pytest.approx(0.2, abs=1e-9)
    np.testing.assert_allclose(found.factors, plain.factors, atol=1e-12)
    for approximation in ("linear", "quadratic"):
        stated = one(f'{text}approximation = "{approximation}"\n')
        plain = reverse(MODEL, WEIGHTS, 0.2, approximation=approximation, **options)
        np.testing.assert_allclose(
            losses(stated), losses(plain), rtol=1e-12, atol=1e-15
        )
    with pytest.raises(UsageError, match="worst-case is found for a book by a model"):
        moves_of(worst, SCENARIOS)
    for text in ("loss = 3.0", "loss = 0.96"):  # 95% is invested
        with pytest.raises(InfeasibleError, match=r"shock: loss: no scenario of the"):
            stress(WEIGHTS, SCENARIOS, one(f'kind = "reverse"\n{text}\n'))
    with pytest.raises(InfeasibleError, match=r"shock: loss: no scenario of the model"):
        text = 'kind = "reverse"\nloss = 3.0\napproximation = "quadratic"\n'
        stress(WEIGHTS, SCENARIOS, one(text))


MIXED = f"""
[[shock]]
kind = "mix"
name = "states"
[shock.probabilities]
cheap = 0.3
"cut | cheap" = [0.4, 0.6]
[shock.states]
"cheap and cut" = "cheap-model:substitution"
cheap = "unwind"
"cut and not cheap" = "none"

[[shock]]
kind = "cheap-model"
preset = "substitution"
alone = false

[[shock]]
kind = "conditional"
name = "unwind"
{BASKET}
"""


def test_a_mixture_is_that_of_the_library_wherever_its_shocks_stand():
    states, unwind = from_toml(MIXED)  # the part that is not alone is not shown
    assert (states.name, unwind.name) == ("states", "unwind")
    plain = mix(
        {"cheap": 0.3, "cut | cheap": (0.4, 0.6)},
        {
            "cheap and cut": CheapModelShock("substitution"),
            "cheap": conditional({"ai_basket": -0.15}, name="unwind"),
        },
    )
    np.testing.assert_allclose(losses(states), losses(plain), rtol=1e-12, atol=1e-15)
    # Mean over the states: the probability of each times its own loss.
    legs = dict(states.coherent.legs())
    expected = sum(
        p * (losses(s) if s else -np.array(list(WEIGHTS.values())) * BASE)
        for s, p in legs.items()
    )
    np.testing.assert_allclose(losses(states), expected, atol=1e-14)


BASE = SCENARIOS.leg_mean("base")


def test_a_search_inside_a_mixture_is_found_too():
    text = MIXED.replace(
        'kind = "cheap-model"\npreset = "substitution"',
        'kind = "worst-case"\nradius = 3.0',
    ).replace("cheap-model:substitution", "worst-case")
    states, _ = from_toml(text)
    found = worst_case(MODEL, WEIGHTS, radius=3.0)
    plain = mix(
        {"cheap": 0.3, "cut | cheap": (0.4, 0.6)},
        {
            "cheap and cut": found,
            "cheap": conditional({"ai_basket": -0.15}, name="unwind"),
        },
    )
    np.testing.assert_allclose(losses(states), losses(plain), rtol=1e-12, atol=1e-15)
    assert resolved(states) is states


# Round trip -------------------------------------------------------------------

EVERY = [
    'kind = "replay"\nepisode = "tariffs-2025"\nname = "t"\ncitation = "c"\n',
    'kind = "replay"\nwindow = [2025-01-27, 2025-01-28]\nnote = "n"\n',
    f'kind = "conditional"\nknown_from = 2025-03-01\nhorizon = 5\n{BASKET}"0.HK" = 1',
    f'kind = "conditional"\ndistribution = "student_t"\n{BASKET}',
    'kind = "entropy"\nname = "é\\"\\\\"\nviews = ["mean(A) <= 0", "vol(B) == 0.1"]\n',
    'kind = "entropy"\nmethod = "one_step"\nviews = "prob(A <= 0 and B >= 0) >= 0.2"',
    'kind = "worst-case"\nradius = 3\nloss = "quadratic"\nsystematic = false\n',
    'kind = "worst-case"\ncoverage = 0.99\ndistribution = "student_t"\ndof = 3.5\n',
    'kind = "reverse"\nloss = 0.25\nhorizon = 21\napproximation = "linear"\n',
]


@pytest.mark.parametrize("text", EVERY)
def test_each_kind_reads_back(text, tmp_path):
    shock = one(text)
    written = shock.to_toml(tmp_path / "s.toml")
    again = type(shock).from_toml(tmp_path / "s.toml")
    for field in shock.__dataclass_fields__:
        mine, read = getattr(shock, field), getattr(again, field)
        if field == "where":
            assert read == f"{tmp_path / 's.toml'}: shock"
        elif isinstance(mine, np.datetime64) and np.isnat(mine):
            assert np.isnat(read)
        else:
            assert read == mine, field
    assert to_toml(again) == written
    assert repr(pickle.loads(pickle.dumps(shock))) == repr(shock)


def test_shocks_made_in_python_are_written_and_limits_with_them(tmp_path):
    made = [
        conditional({"ai_basket": -0.1}, name="drop", known_from="2025-03-01"),
        entropy_pool("mean(NVDX) <= -0.1", citation="ours"),
        CheapModelShock("jevons"),
    ]
    to_toml(made, tmp_path / "s.toml", limits={"drop": 0.05})
    found = read_scenarios(tmp_path / "s.toml")
    assert found.limits == {"drop": 0.05}
    assert [s.name for s in found.shocks] == [s.name for s in made]
    assert found.shocks[0].known_from == np.datetime64("2025-03-01")
    assert found.shocks[1].citation == "ours"
    with pytest.raises(UsageError, match="no kind of scenario file states this shock"):
        to_toml(replay("deepseek-monday"))
    with pytest.raises(UsageError, match="states no n_draws and no seed"):
        to_toml(conditional({"ai_basket": -0.1}, seed=3))


def test_a_file_with_a_mixture_reads_back(tmp_path):
    (tmp_path / "m.toml").write_text(MIXED)
    found = read_scenarios(tmp_path / "m.toml")
    assert [s.name for s in found.parts] == ["cheap-model:substitution"]
    text = to_toml(found, tmp_path / "again.toml", limits={"states": 0.1})
    again = read_scenarios(tmp_path / "again.toml")
    assert again.limits == {"states": 0.1} and to_toml(again) == text
    assert [s.name for s in again.parts] == ["cheap-model:substitution"]
    states = next(s for s in again.shocks if s.name == "states")
    np.testing.assert_array_equal(losses(states), losses(found.shocks[0]))
    copy = pickle.loads(pickle.dumps(states))
    np.testing.assert_array_equal(losses(copy), losses(states))
    alone = tmp_path / "alone.toml"
    states.to_toml(alone)  # brings the shocks of its states along
    assert read_shock(alone).name == "states"
    assert Mixture.from_toml(alone).coherent.events == ("cheap", "cut")
    with pytest.raises(DataError, match=r"another kind of shock; received Mixture"):
        BookSearch.from_toml(alone)


@PROPERTY
@given(st.data())
def test_any_file_of_kinds_reads_back(data):
    names = data.draw(
        st.lists(
            st.text(st.characters(codec="utf-8"), min_size=1).filter(
                lambda t: t not in ("base", "none")
            ),
            min_size=2,
            max_size=4,
            unique=True,
        )
    )
    rows = []
    for name in names:
        kind = data.draw(st.sampled_from(["replay", "moves", "worst", "views"]))
        episode = data.draw(st.sampled_from(list(library())))
        size = data.draw(st.floats(1e-6, 50.0))
        text = {
            "replay": f'kind = "replay"\nepisode = "{episode}"',
            "moves": f'kind = "conditional"\nmoves = {{ai_basket = {size!r}}}',
            "worst": f'kind = "worst-case"\nradius = {size!r}',
            "views": f'kind = "entropy"\nviews = ["mean(A) <= {size!r}"]',
        }[kind]
        rows.append(f"[[shock]]\nname = {quoted(name)}\n{text}\n")
    rows.append(
        "[[shock]]\nkind = 'mix'\nname = 'base'\nprobabilities = {a = 0.25}\n"
        f"states = {{a = {quoted(names[0])}}}\n"
    )
    shocks = from_toml("\n".join(rows))
    text = to_toml(shocks)
    again = from_toml(text)
    assert [s.name for s in again] == [*names, "base"]
    assert list(map(repr, again)) == list(map(repr, shocks))
    assert to_toml(again) == text


# What a wrong file is told ----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('kind = "cheap-model"\nseverty = 2', "unknown key 'severty'"),
        ('kind = "cheap-model"\nseverty = 2', "mean severity, in [shock.parameters]?"),
        ('kind = "cheap-model"\nk = 2', "It belongs in [shock.parameters]."),
        ('kind = "reply"', "unknown kind 'reply'"),
        ('kind = "reply"', "Did you mean replay?"),
        ('kind = "replay"', "give either episode or window"),
        ('kind = "replay"\nepisode = "deepseek-munday"', "episode: unknown episode"),
        ('kind = "replay"\nepisode = "deepseek-munday"', "you mean deepseek-monday?"),
        ('kind = "replay"\nepisode = 3', "episode is not text; received 3"),
        ('kind = "replay"\nwindow = 3', "window is no pair of dates; received 3"),
        ('kind = "replay"\nwindow = ["x", "y"]', "window is not a date; received 'x'"),
        ('kind = "replay"\nwindow = [2025-02-01, 2025-01-01]', "ends before it starts"),
        ('kind = "replay"\nknown_from = 2020-01-01', "unknown key 'known_from'"),
        ('kind = "conditional"', "no moves; expected moves = a table [shock.moves]"),
        ('kind = "conditional"\nmoves = 3', "moves is not a table; received 3"),
        ('kind = "conditional"\n[shock.moves]', "moves: no move is given"),
        (
            'kind = "conditional"\n[shock.moves]\nX = "a"',
            "moves.X is not a number; received 'a'",
        ),
        ('kind = "conditional"\n[shock.moves]\nX = -1', "the move of X is no simple"),
        (f'kind = "conditional"\ndof = 4\n{BASKET}', "dof goes with a Student-t"),
        (
            f'kind = "conditional"\ndistribution = "student"\n{BASKET}',
            "unknown distribution; received 'student'; expected normal, student_t. "
            "Did you mean student_t?",
        ),
        (f'kind = "conditional"\nhorizon = 1.5\n{BASKET}', "horizon is not a whole"),
        ('kind = "entropy"', "no views"),
        ('kind = "entropy"\nviews = []', "views is no list of text; received []"),
        ('kind = "entropy"\nviews = ["mean(A) <= 0", 3]', "entry 2 of views is not"),
        ('kind = "entropy"\nviews = "maen(A) <= 0"', "views: cannot read the view"),
        ('kind = "entropy"\nviews = "maen(A) <= 0"', "did you mean mean?"),
        (
            'kind = "entropy"\nviews = "mean(A) <= 0"\nmethod = "seqential"',
            "Did you mean sequential?",
        ),
        (
            'kind = "entropy"\nviews = "mean(A) <= 0"\nknown_from = "July"',
            "known_from is not a date; received 'July'; expected known_from = 2025",
        ),
        ('kind = "worst-case"', "give either radius or coverage"),
        ('kind = "worst-case"\nradius = 1\ncoverage = 0.9', "give either radius or c"),
        ('kind = "worst-case"\nradius = 0', "radius is out of range; received 0; e"),
        ('kind = "worst-case"\nradius = nan', "radius is out of range; received nan"),
        ('kind = "worst-case"\nradius = true', "radius is not a number; received True"),
        ('kind = "worst-case"\ncoverage = 1', "expected above 0 and below 1"),
        (
            'kind = "worst-case"\ncoverage = 0.9\nsystematic = false',
            "a coverage goes with systematic = true",
        ),
        ('kind = "worst-case"\nradius = 3\nsystematic = 1', "neither true nor false"),
        ('kind = "reverse"', "no loss; expected loss = 0.2"),
        ('kind = "reverse"\nloss = -0.2', "loss is out of range; received -0.2"),
        ('kind = "reverse"\nloss = 0.2\nlimt = 0.1', "Did you mean limit?"),
        ('kind = "reverse"\nloss = 0.2\nlimit = 8', "limit is out of range; rece"),
        ('kind = "reverse"\nloss = 0.2\nname = ""', "name is empty"),
        ('kind = "reverse"\nloss = 0.2\nalone = false', "not alone serves no mixture"),
        ('kind = "mix"\n[shock.states]', "no probabilities"),
        ('kind = "mix"\nprobabilities = 3\nstates = 3', "probabilities is not a table"),
        (
            'kind = "mix"\nprobabilities = {a = 0.2}\nstates = {a = "x"}',
            "states.a names no other shock of the file; received 'x'; expected none",
        ),
    ],
)
def test_wrong_shocks_name_the_place_and_the_key(text, words, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text("[shock]\n" + text)
    with pytest.raises(DataError) as caught:
        read_shock(path)
    assert words in str(caught.value)
    assert f"{path}: " in str(caught.value)


@pytest.mark.parametrize(
    ("probabilities", "states", "words"),
    [
        ('a = "x"', 'a = "w"', "shock 2: probabilities.a is no probability"),
        ("a = [0.1]", 'a = "w"', "probabilities.a is no probability; received [0.1]"),
        ("a = true", 'a = "w"', "probabilities.a is no probability; received True"),
        ("a = 1.5", 'a = "w"', "an impossible probability of 'a'"),
        ("a = 0.2", 'b = "w"', "no statement gives the event a probability"),
        ("a = 0.2", "a = 3", "states.a is no name of a shock; received 3"),
        ("a = 0.2", 'a = "states"', "states.a names no other shock of the file"),
        ("a = 0.2", 'a = "v"', "received 'v'; expected w, none"),
        (
            'a = 0.3\n"b | a" = 0.9\nb = 0.1',
            'a = "w"',
            "the probabilities contradict one another",
        ),
    ],
)
def test_wrong_mixtures_name_the_place_and_the_key(probabilities, states, words):
    text = '[[shock]]\nkind = "worst-case"\nname = "w"\nradius = 3\n'
    text += '[[shock]]\nkind = "mix"\nname = "states"\n'
    text += f"[shock.probabilities]\n{probabilities}\n[shock.states]\n{states}\n"
    with pytest.raises(DataError) as caught:
        from_toml(text)
    assert words in str(caught.value) and "scenarios: shock 2: " in str(caught.value)


def test_what_is_wrong_only_where_it_is_used_names_the_place_too():
    shock = one('kind = "entropy"\nviews = ["mean(NVDXX) <= -0.1"]\n')
    with pytest.raises(DataError) as caught:
        stress(WEIGHTS, SCENARIOS, shock)
    assert "scenarios: shock: views: " in str(caught.value)
    assert "NVDXX" in str(caught.value) and "NVDX" in caught.value.fix
    two = '["mean(NVDX) >= 0.05", "mean(NVDX) <= -0.05"]'
    with pytest.raises(InfeasibleError) as caught:
        stress(WEIGHTS, SCENARIOS, one(f'kind = "entropy"\nviews = {two}\n'))
    assert "scenarios: shock: views: " in str(caught.value)
    assert caught.value.conflict == ("mean(NVDX) >= 0.05", "mean(NVDX) <= -0.05")
    assert caught.value.relaxation
    shock = one('kind = "conditional"\n[shock.moves]\nai_basket = -0.1\nNETXX = -0.1\n')
    with pytest.raises(DataError) as caught:
        stress(WEIGHTS, SCENARIOS, shock)
    assert "scenarios: shock: moves: " in str(caught.value)
    assert caught.value.asset == "NETXX" and "NETX" in caught.value.fix


def test_a_lone_name_warns_with_its_place():
    with pytest.warns(UserWarning, match=r"scenarios: shock: conditioning on NVDX"):
        one('kind = "conditional"\n[shock.moves]\nNVDX = -0.1\n')


KEYS = st.sampled_from(
    "name views moves radius loss episode window dof horizon distribution "
    "systematic probabilities states limit alone x".split()
)
VALUES = st.one_of(
    st.integers(-3, 50),
    st.floats(),
    st.booleans(),
    st.sampled_from(["student_t", "deepseek-monday", "mean(A) <= 0", "", "none"]),
    st.lists(st.floats(0, 1), max_size=3),
    st.dictionaries(st.sampled_from(["a", "A", "a | b"]), st.floats(), max_size=2),
)
KIND = st.sampled_from(
    ["replay", "conditional", "entropy", "worst-case", "reverse", "mix"]
)


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{quoted(k)} = {toml(v)}" for k, v in value.items()) + "}"
        )
    return repr(value)


@pytest.mark.filterwarnings("ignore:scenarios")
@settings(PROPERTY, max_examples=300)
@given(KIND, st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_keys_give_a_shock_that_reads_back_or_a_typed_error(kind, keys):
    lines = [
        "[shock]",
        f'kind = "{kind}"',
        *(f"{k} = {toml(v)}" for k, v in keys.items()),
    ]
    try:
        (shock,) = from_toml("\n".join(lines))
    except DataError as error:
        assert str(error).startswith("scenarios: ")
    else:
        assert to_toml(from_toml(to_toml(shock))) == to_toml(shock)
